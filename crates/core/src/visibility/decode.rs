//! What the payload of a search attribute says (spec 06 §5): JSON, with the type's name in the metadata.

use alloc::{string::String, vec::Vec};

use sempre_api::v1::common::Payload;

use super::{AttributeType, Value, parse_datetime};

/// The value of a payload by the type in its metadata. `None` for null, an empty list, and what is no value of the type:
/// a record with it is one without the attribute.
pub fn decode(payload: &Payload) -> Option<Value> {
    let name = payload.metadata.get("type")?;
    let kind = AttributeType::ALL
        .into_iter()
        .find(|kind| name.as_ref() == kind.name().as_bytes() || name.as_ref() == kind.to_api().as_str_name().as_bytes())?;
    decode_as(payload, kind)
}

/// The value of a payload as one of a given type.
pub fn decode_as(payload: &Payload, kind: AttributeType) -> Option<Value> {
    let mut reader = Reader { rest: core::str::from_utf8(&payload.data).ok()? };
    let json = reader.scalar_or_list()?;
    reader.space();
    if !reader.rest.is_empty() {
        return None;
    }
    match (json, kind) {
        (Json::List(list), AttributeType::KeywordList) => {
            let texts: Option<Vec<String>> = list.into_iter().map(Json::into_text).collect();
            texts.filter(|texts| !texts.is_empty()).map(Value::KeywordList)
        }
        (scalar, AttributeType::KeywordList) => Some(Value::KeywordList([scalar.into_text()?].into())),
        // A list of one stands for its element.
        (Json::List(mut list), kind) => match (list.pop(), list.is_empty()) {
            (Some(one), true) => of_scalar(one, kind),
            _ => None,
        },
        (scalar, kind) => of_scalar(scalar, kind),
    }
}

/// The members of a JSON object that has scalars only, in the order in which they are written; those that are null have no
/// value. `None` for anything else.
pub fn decode_object(data: &[u8]) -> Option<Vec<(String, Option<Value>)>> {
    let mut reader = Reader { rest: core::str::from_utf8(data).ok()? };
    let mut members = Vec::new();
    if !reader.take("{") {
        return None;
    }
    let mut ended = reader.take("}");
    while !ended {
        let name = reader.take("\"").then(|| reader.text()).flatten()?;
        if !reader.take(":") {
            return None;
        }
        let value = match reader.scalar()? {
            Json::Text(text) => Some(Value::Keyword(text)),
            Json::Bool(b) => Some(Value::Bool(b)),
            number @ Json::Number(_) => Some(of_scalar(number, AttributeType::Double)?),
            Json::Null | Json::List(_) => None,
        };
        members.push((name, value));
        ended = reader.take("}");
        if !ended && !reader.take(",") {
            return None;
        }
    }
    reader.space();
    reader.rest.is_empty().then_some(members)
}

fn of_scalar(json: Json<'_>, kind: AttributeType) -> Option<Value> {
    match (json, kind) {
        (Json::Text(text), AttributeType::Keyword) => Some(Value::Keyword(text)),
        (Json::Text(text), AttributeType::Text) => Some(Value::Text(text)),
        (Json::Text(text), AttributeType::Datetime) => parse_datetime(&text).map(Value::Datetime),
        (Json::Number(number), AttributeType::Int) => number.parse().ok().map(Value::Int),
        (Json::Number(number), AttributeType::Double) => number.parse::<f64>().ok().filter(|n| n.is_finite()).map(Value::Double),
        (Json::Bool(b), AttributeType::Bool) => Some(Value::Bool(b)),
        _ => None,
    }
}

enum Json<'a> {
    Null,
    Bool(bool),
    /// As it is written.
    Number(&'a str),
    Text(String),
    /// Of scalars.
    List(Vec<Json<'a>>),
}

impl Json<'_> {
    fn into_text(self) -> Option<String> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

/// Reads the JSON that search attributes are made of: scalars, and lists of them.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn take(&mut self, text: &str) -> bool {
        self.space();
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn scalar_or_list(&mut self) -> Option<Json<'a>> {
        if !self.take("[") {
            return self.scalar();
        }
        let mut list = Vec::new();
        if self.take("]") {
            return Some(Json::List(list));
        }
        loop {
            list.push(self.scalar()?);
            if self.take("]") {
                return Some(Json::List(list));
            }
            if !self.take(",") {
                return None;
            }
        }
    }

    fn scalar(&mut self) -> Option<Json<'a>> {
        if self.take("\"") {
            return self.text().map(Json::Text);
        }
        for (word, json) in [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))] {
            if self.take(word) {
                return Some(json);
            }
        }
        let end = self.rest.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E')).unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at(end);
        self.rest = rest;
        number.starts_with(|c: char| c == '-' || c.is_ascii_digit()).then_some(Json::Number(number))
    }

    /// The rest of a text, behind its first quote.
    fn text(&mut self) -> Option<String> {
        let mut text = String::new();
        loop {
            let at = self.rest.find(['"', '\\'])?;
            text.push_str(&self.rest[..at]);
            let quote = self.rest.as_bytes()[at] == b'"';
            self.rest = &self.rest[at + 1..];
            if quote {
                return Some(text);
            }
            let escape = self.rest.chars().next()?;
            self.rest = &self.rest[escape.len_utf8()..];
            text.push(match escape {
                '"' | '\\' | '/' => escape,
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => self.escaped()?,
                _ => return None,
            });
        }
    }

    /// The character behind `\u`; two escapes for those beyond 16 bits, and U+FFFD for half of one.
    fn escaped(&mut self) -> Option<char> {
        let unit = self.unit()?;
        if !(0xd800..0xdc00).contains(&unit) {
            return Some(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let before = self.rest;
        if let Some(rest) = self.rest.strip_prefix("\\u") {
            self.rest = rest;
            let low = self.unit()?;
            if (0xdc00..0xe000).contains(&low) {
                return char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00));
            }
            self.rest = before;
        }
        Some(char::REPLACEMENT_CHARACTER)
    }

    fn unit(&mut self) -> Option<u32> {
        let digits = self.rest.get(..4)?;
        self.rest = &self.rest[4..];
        digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;
    use alloc::{borrow::ToOwned, string::ToString};

    fn value(kind: &str, data: &str) -> Option<Value> {
        let metadata = [("type".to_owned(), kind.as_bytes().to_vec().into())].into();
        decode(&Payload { metadata, data: data.as_bytes().to_vec().into(), ..Payload::default() })
    }

    fn keyword(text: &str) -> Option<Value> {
        Some(Value::Keyword(text.into()))
    }

    #[test]
    fn values_of_every_type() {
        assert_eq!(value("Keyword", "\"a\""), keyword("a"));
        assert_eq!(value("Text", " \"a b\" "), Some(Value::Text("a b".into())));
        assert_eq!(value("Int", "-9223372036854775808"), Some(Value::Int(i64::MIN)));
        assert_eq!(value("Double", "1e3"), Some(Value::Double(1000.0)));
        assert_eq!(value("Double", "1"), Some(Value::Double(1.0)));
        assert_eq!(value("Bool", "true"), Some(Value::Bool(true)));
        assert_eq!(value("Datetime", "\"1970-01-01T00:00:01Z\""), Some(Value::Datetime(Timestamp(1_000_000_000))));
        assert_eq!(value("KeywordList", "[\"a\", \"b\"]"), Some(Value::KeywordList(["a".to_string(), "b".to_string()].into())));
        assert_eq!(value("INDEXED_VALUE_TYPE_INT", "1"), Some(Value::Int(1)));
    }

    #[test]
    fn a_list_of_one_stands_for_its_element_and_an_element_for_the_list() {
        assert_eq!(value("Int", "[1]"), Some(Value::Int(1)));
        assert_eq!(value("Int", "[1,2]"), None);
        assert_eq!(value("KeywordList", "\"a\""), Some(Value::KeywordList(["a".to_string()].into())));
    }

    #[test]
    fn what_is_no_value_of_the_type() {
        for (kind, data) in [
            ("Keyword", "null"),
            ("Keyword", ""),
            ("Keyword", "a"),
            ("Keyword", "1"),
            ("Keyword", "\"a"),
            ("Keyword", "\"a\" b"),
            ("Keyword", "\"\\x\""),
            ("Keyword", "\"\\u12\""),
            ("KeywordList", "[]"),
            ("KeywordList", "[1]"),
            ("KeywordList", "[\"a\""),
            ("KeywordList", "[\"a\",]"),
            ("Int", "1.5"),
            ("Int", "9223372036854775808"),
            ("Int", "\"1\""),
            ("Double", "1e999"),
            ("Double", "NaN"),
            ("Bool", "1"),
            ("Datetime", "\"yesterday\""),
            ("Unknown", "1"),
        ] {
            assert_eq!(value(kind, data), None, "{kind} {data}");
        }
    }

    #[test]
    fn escapes() {
        assert_eq!(value("Keyword", r#""\"\\\/\n\t\u00e9\u0000\ud83d\ude00""#), keyword("\"\\/\n\té\0😀"));
        assert_eq!(value("Keyword", r#""\ud83d!\udc00""#), keyword("\u{fffd}!\u{fffd}"));
    }
}
