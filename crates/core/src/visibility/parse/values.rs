//! Values of a query as their field's type wants them (spec 06 §3.1).

use alloc::{format, string::String};

use sempre_api::v1::enums::WorkflowExecutionStatus;

use super::QueryError;
use crate::{
    Timestamp,
    visibility::{AttributeType, Field, SystemField, Value, datetime::parse_datetime},
};

/// A value as it is written.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Literal {
    Text(String),
    Int(i64),
    Double(f64),
    Bool(bool),
}

impl Literal {
    /// A number with its sign; whole numbers beyond 64 bits are floating-point numbers.
    pub(super) fn number(text: &str) -> Result<Self, QueryError> {
        if let Ok(int) = text.parse() {
            return Ok(Self::Int(int));
        }
        match text.parse::<f64>() {
            Ok(double) if double.is_finite() => Ok(Self::Double(double)),
            _ => Err(QueryError::Invalid(format!("unable to parse value {text:?}"))),
        }
    }

    /// The name of its form, in texts.
    fn form(&self) -> &'static str {
        match self {
            Self::Text(_) => "string",
            Self::Int(_) => "int64",
            Self::Double(_) => "float64",
            Self::Bool(_) => "bool",
        }
    }

    fn as_written(&self) -> String {
        match self {
            Self::Text(text) => format!("{text:?}"),
            Self::Int(n) => format!("{n}"),
            Self::Double(n) => format!("{n}"),
            Self::Bool(b) => format!("{b}"),
        }
    }
}

/// The value that `field` is compared with.
pub(super) fn convert(field: &Field, literal: Literal) -> Result<Value, QueryError> {
    match field {
        Field::System(SystemField::ExecutionStatus) => return status(literal),
        Field::System(SystemField::ExecutionDuration) => return duration(literal),
        _ => {}
    }
    let kind = field.kind();
    Ok(match (kind, literal) {
        (AttributeType::Keyword | AttributeType::KeywordList, Literal::Text(text)) => Value::Keyword(text),
        (AttributeType::Text, Literal::Text(text)) => Value::Text(text),
        (AttributeType::Int, Literal::Int(n)) => Value::Int(n),
        (AttributeType::Double, Literal::Int(n)) => Value::Double(n as f64),
        (AttributeType::Double, Literal::Double(n)) => Value::Double(n),
        (AttributeType::Bool, Literal::Bool(b)) => Value::Bool(b),
        (AttributeType::Datetime, Literal::Int(ns)) => Value::Datetime(Timestamp(ns)),
        (AttributeType::Datetime, Literal::Text(text)) => match parse_datetime(&text) {
            Some(time) => Value::Datetime(time),
            None => return Err(QueryError::Invalid(format!("unable to parse datetime '{text}'"))),
        },
        (kind, literal) => return number(kind, &literal).ok_or_else(|| wrong_type(field, &literal)),
    })
}

/// Forms of numbers beside the plain ones: in quotes, and whole ones written with a fraction.
fn number(kind: AttributeType, literal: &Literal) -> Option<Value> {
    let parsed = match literal {
        Literal::Text(text) => match Literal::number(text.trim()).ok()? {
            number @ (Literal::Int(_) | Literal::Double(_)) => number,
            _ => return None,
        },
        other => other.clone(),
    };
    match (kind, parsed) {
        (AttributeType::Int, Literal::Int(n)) => Some(Value::Int(n)),
        // Up to where doubles are dense enough to mean one integer.
        (AttributeType::Int, Literal::Double(n)) if n as i64 as f64 == n && n.abs() < (1i64 << 53) as f64 => Some(Value::Int(n as i64)),
        (AttributeType::Double, Literal::Int(n)) => Some(Value::Double(n as f64)),
        (AttributeType::Double, Literal::Double(n)) => Some(Value::Double(n)),
        _ => None,
    }
}

fn wrong_type(field: &Field, literal: &Literal) -> QueryError {
    QueryError::Invalid(format!(
        "invalid value type for search attribute {} of type {}: {} (type: {})",
        field.name(),
        field.kind().name(),
        literal.as_written(),
        literal.form()
    ))
}

/// Short names, enum names and numbers.
fn status(literal: Literal) -> Result<Value, QueryError> {
    let number = match &literal {
        Literal::Text(text) => {
            status_of_name(text).ok_or_else(|| QueryError::Invalid(format!("invalid ExecutionStatus value '{text}'")))?
        }
        Literal::Int(number) => i32::try_from(*number)
            .ok()
            .and_then(|n| WorkflowExecutionStatus::try_from(n).ok())
            .filter(|status| *status != WorkflowExecutionStatus::Unspecified)
            .ok_or_else(|| QueryError::Invalid(format!("invalid ExecutionStatus value {number}")))?,
        other => {
            let text = format!("unexpected value type {} for search attribute ExecutionStatus", other.form());
            return Err(QueryError::Invalid(text));
        }
    };
    Ok(Value::Int(i64::from(number as i32)))
}

/// Every status but "unspecified", with its short name.
const STATUSES: [(&str, WorkflowExecutionStatus); 8] = [
    ("Running", WorkflowExecutionStatus::Running),
    ("Completed", WorkflowExecutionStatus::Completed),
    ("Failed", WorkflowExecutionStatus::Failed),
    ("Canceled", WorkflowExecutionStatus::Canceled),
    ("Terminated", WorkflowExecutionStatus::Terminated),
    ("ContinuedAsNew", WorkflowExecutionStatus::ContinuedAsNew),
    ("TimedOut", WorkflowExecutionStatus::TimedOut),
    ("Paused", WorkflowExecutionStatus::Paused),
];

fn status_of_name(name: &str) -> Option<WorkflowExecutionStatus> {
    let short = STATUSES.iter().find(|(short, _)| *short == name).map(|(_, status)| *status);
    short.or_else(|| WorkflowExecutionStatus::from_str_name(name).filter(|status| *status != WorkflowExecutionStatus::Unspecified))
}

/// The short name of a status, as queries and groups show it; `None` for numbers that mean none.
pub fn status_name(status: i32) -> Option<&'static str> {
    STATUSES.iter().find(|(_, known)| *known as i32 == status).map(|(name, _)| *name)
}

/// Nanoseconds, `1h30m` or `hh:mm:ss`.
fn duration(literal: Literal) -> Result<Value, QueryError> {
    let field = Field::System(SystemField::ExecutionDuration);
    match &literal {
        Literal::Int(ns) => Ok(Value::Int(*ns)),
        Literal::Text(text) => {
            let ns = text.parse().ok().or_else(|| units(text)).or_else(|| clock(text));
            ns.map(Value::Int).ok_or_else(|| QueryError::Invalid(format!("unable to parse value {text:?}")))
        }
        _ => Err(wrong_type(&field, &literal)),
    }
}

const UNITS: [(&str, i128); 9] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Numbers with units, `1h30m`, `-1.5s`, `2d`.
fn units(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return None;
    }
    let mut total = 0i128;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (whole, fraction) = rest[..number].split_once('.').unwrap_or((&rest[..number], ""));
        if whole.is_empty() && fraction.is_empty() || whole.len() > 19 {
            return None;
        }
        rest = &rest[number..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == &rest[..unit_end])?;
        rest = &rest[unit_end..];
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(*unit)?)?;
        if !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        // Further digits are below a nanosecond of every unit.
        let fraction = &fraction[..fraction.len().min(15)];
        if !fraction.is_empty() {
            total += fraction.parse::<i128>().ok()? * unit / 10i128.pow(fraction.len() as u32);
        }
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// `hh:mm:ss`; hours may have more digits.
fn clock(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if parts.next().is_some() || minutes.len() != 2 || seconds.len() != 2 || ![hours, minutes, seconds].into_iter().all(digits) {
        return None;
    }
    let (hours, minutes, seconds): (i64, i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?, seconds.parse().ok()?);
    if minutes > 59 || seconds > 59 {
        return None;
    }
    hours.checked_mul(3600)?.checked_add(minutes * 60 + seconds)?.checked_mul(1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let ns = |text: &str| match duration(Literal::Text(text.into())) {
            Ok(Value::Int(ns)) => Some(ns),
            _ => None,
        };
        const S: i64 = 1_000_000_000;
        assert_eq!(ns("1h30m"), Some(5400 * S));
        assert_eq!(ns("1.5s"), Some(S * 3 / 2));
        assert_eq!(ns("2d"), Some(2 * 86_400 * S));
        assert_eq!(ns(".5h"), Some(1800 * S));
        assert_eq!(ns("1m0.000000001s"), Some(60 * S + 1));
        assert_eq!(ns("-3ms"), Some(-3_000_000));
        assert_eq!(ns("5us"), Some(5_000));
        assert_eq!(ns("5µs"), Some(5_000));
        assert_eq!(ns("01:02:03"), Some(3723 * S));
        assert_eq!(ns("100:00:00"), Some(360_000 * S));
        assert_eq!(ns("1234"), Some(1234));
        for text in
            ["", "h", "1", "1x", "1h30", "1..5s", "1.2.3s", "01:60:00", "1:2:3", "01:02", "a:b:c", "99999999999h", "1h-2m", "1 h", "."]
        {
            let expected = text.parse().ok();
            assert_eq!(ns(text), expected, "{text}");
        }
    }

    #[test]
    fn statuses_have_names_and_numbers() {
        for (name, status) in STATUSES {
            assert_eq!(status_of_name(name), Some(status));
            assert_eq!(status_of_name(status.as_str_name()), Some(status));
            assert_eq!(status_name(status as i32), Some(name));
        }
        assert_eq!(
            STATUSES.len(),
            (1..100).filter(|n| WorkflowExecutionStatus::try_from(*n).is_ok()).count(),
            "every status has a short name"
        );
        assert_eq!(status_name(0), None);
    }
}
