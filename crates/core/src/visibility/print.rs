//! Queries as text that [`super::parse`] reads back to an equal query.

use core::fmt::{Display, Formatter, Result, Write};

use super::{
    AttributeType, Comparison, Field, Filter, Query, SystemField, Value,
    datetime::format_datetime,
    parse::{KEYWORDS, status_name},
};

impl Comparison {
    /// As it is written.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    /// By what is written.
    pub fn from_sign(sign: &str) -> Option<Self> {
        Some(match sign {
            "=" => Self::Equal,
            "!=" | "<>" => Self::NotEqual,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            _ => return None,
        })
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let name = self.name();
        let plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !KEYWORDS.iter().any(|keyword| name.eq_ignore_ascii_case(keyword));
        if plain { f.write_str(name) } else { quoted(f, name, '`') }
    }
}

fn quoted(f: &mut Formatter<'_>, text: &str, quote: char) -> Result {
    f.write_char(quote)?;
    for c in text.chars() {
        if c == quote || (c == '\\' && quote != '`') {
            f.write_char(c)?;
        }
        f.write_char(c)?;
    }
    f.write_char(quote)
}

/// A value as the type of its field writes it.
struct Written<'a>(&'a Field, &'a Value);

impl Display for Written<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.1 {
            Value::Int(n) if *self.0 == Field::System(SystemField::ExecutionStatus) => match i32::try_from(*n).ok().and_then(status_name) {
                Some(name) => quoted(f, name, '\''),
                None => write!(f, "{n}"),
            },
            Value::Text(text) | Value::Keyword(text) => quoted(f, text, '\''),
            Value::Int(n) => write!(f, "{n}"),
            Value::Double(n) => write!(f, "{n:?}"),
            Value::Bool(b) => write!(f, "{b}"),
            Value::Datetime(time) => quoted(f, &format_datetime(*time), '\''),
            Value::KeywordList(all) => {
                let field = Field::Attribute { name: self.0.name().into(), kind: AttributeType::Keyword };
                f.write_char('(')?;
                for (at, text) in all.iter().enumerate() {
                    f.write_str(if at == 0 { "" } else { ", " })?;
                    write!(f, "{}", Written(&field, &Value::Keyword(text.clone())))?;
                }
                f.write_char(')')
            }
        }
    }
}

/// The parts of an `AND` or `OR`.
fn joined(f: &mut Formatter<'_>, all: &[Filter], word: &str, empty: &str) -> Result {
    if all.is_empty() {
        return f.write_str(empty);
    }
    for (at, part) in all.iter().enumerate() {
        if at > 0 {
            write!(f, " {word} ")?;
        }
        inner(f, part)?;
    }
    Ok(())
}

/// A part of a larger condition.
fn inner(f: &mut Formatter<'_>, filter: &Filter) -> Result {
    match filter {
        Filter::And(_) | Filter::Or(_) => write!(f, "({filter})"),
        other => write!(f, "{other}"),
    }
}

impl Display for Filter {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let not = |negated: &bool| if *negated { "NOT " } else { "" };
        match self {
            Self::And(all) => joined(f, all, "AND", "TRUE"),
            Self::Or(all) => joined(f, all, "OR", "FALSE"),
            Self::Not(filter) => {
                f.write_str("NOT ")?;
                inner(f, filter)
            }
            Self::Compare(field, comparison, value) => write!(f, "{field} {} {}", comparison.sign(), Written(field, value)),
            Self::In { field, values, negated } => {
                write!(f, "{field} {}IN (", not(negated))?;
                for (at, value) in values.iter().enumerate() {
                    f.write_str(if at == 0 { "" } else { ", " })?;
                    write!(f, "{}", Written(field, value))?;
                }
                f.write_char(')')
            }
            Self::Between { field, low, high, negated } => {
                write!(f, "{field} {}BETWEEN {} AND {}", not(negated), Written(field, low), Written(field, high))
            }
            Self::IsNull { field, negated } => write!(f, "{field} IS {}NULL", not(negated)),
            Self::StartsWith { field, prefix, negated } => {
                write!(f, "{field} {}STARTS_WITH ", not(negated))?;
                quoted(f, prefix, '\'')
            }
        }
    }
}

impl Display for Query {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if let Some(filter) = &self.filter {
            write!(f, "{filter}")?;
        }
        if let Some(field) = &self.group_by {
            let space = if self.filter.is_some() { " " } else { "" };
            write!(f, "{space}GROUP BY {field}")?;
        }
        Ok(())
    }
}
