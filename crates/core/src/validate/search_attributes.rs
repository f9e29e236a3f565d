//! Checks of search attributes, and their normal form: each value carries the name of its type (spec 06 §5).

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
};

use bytes::Bytes;
use prost::Message;
use sempre_api::v1::common::{Payload, SearchAttributes};

use crate::{
    NamespaceView,
    state::derived::is_nil,
    visibility::{AttributeType, SetBy, SystemField, Value, decode_as, predefined},
};

/// Search attributes of a run (`frontend.searchAttributesNumberOfKeysLimit`).
pub const SEARCH_ATTRIBUTES_MAX: usize = 100;
/// Bytes of one search attribute's value (`frontend.searchAttributesSizeOfValueLimit`).
pub const SEARCH_ATTRIBUTE_BYTES_MAX: usize = 2 << 10;
/// Bytes of all search attributes (`frontend.searchAttributesTotalSizeLimit`).
pub const SEARCH_ATTRIBUTES_BYTES_MAX: usize = 40 << 10;
/// Bytes of a value that is shown in a refusal.
const SHOWN_MAX: usize = 200;

/// Names that the namespace does not define, unless the run has `carried` them so far: what commands are refused for
/// before anything else about them.
pub fn search_attribute_names(
    attributes: Option<&SearchAttributes>,
    namespace: &NamespaceView,
    carried: &BTreeMap<String, Payload>,
) -> Result<(), String> {
    let fields = attributes.into_iter().flat_map(|a| a.indexed_fields.keys());
    let unknown = |name: &&String| predefined(name).is_none() && SystemField::from_name(name).is_none() && !carried.contains_key(*name);
    for name in fields.filter(unknown) {
        kind_of(name, namespace)?;
    }
    Ok(())
}

/// Number and sizes of search attributes.
pub fn search_attributes(attributes: Option<&SearchAttributes>) -> Result<(), String> {
    attributes.map_or(Ok(()), |a| search_fields(&a.indexed_fields))
}

/// As [`search_attributes`], of the bare fields (texts of spec 06).
pub fn search_fields(fields: &BTreeMap<String, Payload>) -> Result<(), String> {
    search_attribute_count(fields)?;
    search_attribute_sizes(fields)
}

/// Number of search attributes.
fn search_attribute_count(fields: &BTreeMap<String, Payload>) -> Result<(), String> {
    if fields.len() > SEARCH_ATTRIBUTES_MAX {
        return Err(format!("number of search attributes {} exceeds limit {SEARCH_ATTRIBUTES_MAX}", fields.len()));
    }
    Ok(())
}

/// Sizes of search attributes, each and all.
pub fn search_attribute_sizes(fields: &BTreeMap<String, Payload>) -> Result<(), String> {
    let mut total = 0;
    for (name, payload) in fields {
        let bytes = payload.data.len();
        if bytes > SEARCH_ATTRIBUTE_BYTES_MAX {
            return Err(format!("search attribute {name} value size {bytes} exceeds size limit {SEARCH_ATTRIBUTE_BYTES_MAX}"));
        }
        total += name.len() + payload.encoded_len();
    }
    if total > SEARCH_ATTRIBUTES_BYTES_MAX {
        return Err(format!("total size of search attributes {total} exceeds size limit {SEARCH_ATTRIBUTES_BYTES_MAX}"));
    }
    Ok(())
}

/// Number, names and types, once a user has set them: the namespace must define the name, and the value must be of its type or
/// mean "none". Writes the type into the values. What the run has `carried` so far may be said again even if the
/// namespace does not define it any more, so that removing an attribute stops no chain of runs.
pub fn search_attribute_types(
    attributes: Option<&mut SearchAttributes>,
    namespace: &NamespaceView,
    carried: &BTreeMap<String, Payload>,
) -> Result<(), String> {
    let Some(attributes) = attributes else { return Ok(()) };
    search_attribute_count(&attributes.indexed_fields)?;
    for (name, payload) in &mut attributes.indexed_fields {
        let kind = match kind_of(name, namespace) {
            Ok(kind) => kind,
            Err(refused) => match carried.get(name).and_then(|payload| payload.metadata.get(TYPE)) {
                Some(kind) => {
                    payload.metadata.insert(TYPE.to_string(), kind.clone());
                    continue;
                }
                None => return Err(refused),
            },
        };
        if !is_nil(payload) && decode_as(payload, kind).is_none() {
            let name = namespace.search_attribute_name(name);
            return Err(format!("invalid value for search attribute {name} of type {}: {}", kind.name(), shown(payload)));
        }
        payload.metadata.insert(TYPE.to_string(), Bytes::from_static(kind.name().as_bytes()));
    }
    Ok(())
}

/// The metadata that names a value's type.
const TYPE: &str = "type";

fn kind_of(name: &str, namespace: &NamespaceView) -> Result<AttributeType, String> {
    match predefined(name) {
        Some((kind, SetBy::Anyone)) => return Ok(kind),
        Some((_, SetBy::Server)) => return Err(format!("{name} attribute can't be set in SearchAttributes")),
        None if SystemField::from_name(name).is_some() => return Err(format!("{name} attribute can't be set in SearchAttributes")),
        None => {}
    }
    let kind = namespace.search_attributes.get(name).copied();
    kind.ok_or_else(|| format!("Namespace {} has no mapping defined for search attribute {name}", namespace.name))
}

/// A text without its quotes, a list without quotes and commas, anything else as it was sent.
fn shown(payload: &Payload) -> String {
    let mut text = match (decode_as(payload, AttributeType::Keyword), decode_as(payload, AttributeType::KeywordList)) {
        (Some(Value::Keyword(text)), _) => text,
        (_, Some(Value::KeywordList(texts))) => format!("[{}]", texts.join(" ")),
        _ => {
            let text = String::from_utf8_lossy(&payload.data).to_string();
            if text.starts_with('[') && !text.contains('"') { text.replace(", ", " ").replace(',', " ") } else { text }
        }
    };
    if text.len() > SHOWN_MAX {
        text.truncate(text.floor_char_boundary(SHOWN_MAX));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NamespaceId, Span};

    fn namespace() -> NamespaceView {
        let types = AttributeType::ALL.into_iter().map(|kind| (format!("Custom{}", kind.name()), kind));
        NamespaceView {
            id: NamespaceId::default(),
            name: "ns".into(),
            retention: Span::ZERO,
            search_attributes: types.collect(),
            deployments: Default::default(),
            flow: crate::flow::rule::no_rules(),
            rules: crate::rules::no_rules(),
            search_attribute_names: BTreeMap::new(),
            bad_binaries: Default::default(),
        }
    }

    fn payload(json: &str) -> Payload {
        let metadata = [("encoding".to_string(), Bytes::from_static(b"json/plain"))].into();
        Payload { metadata, data: json.as_bytes().to_vec().into(), ..Payload::default() }
    }

    /// The type that is noted, or the refusal.
    fn set(name: &str, payload: Payload, carried: &BTreeMap<String, Payload>) -> Result<String, String> {
        let mut attributes = Some(SearchAttributes { indexed_fields: [(name.to_string(), payload.clone())].into() });
        search_attribute_types(attributes.as_mut(), &namespace(), carried)?;
        let set = attributes.unwrap().indexed_fields.remove(name).unwrap();
        assert_eq!(set.data, payload.data, "values stay as they were sent");
        Ok(String::from_utf8(set.metadata[TYPE].to_vec()).unwrap())
    }

    #[test]
    fn values_of_their_type_get_its_name() {
        for (kind, values) in [
            ("Keyword", ["\"a\"", "[\"a\"]", "null", "[]"]),
            ("Text", ["\"a b\"", "\"\"", "null", "[]"]),
            ("Int", ["-9223372036854775808", "[7]", "null", "[]"]),
            ("Double", ["1.5", "1", "null", "[]"]),
            ("Bool", ["true", "[false]", "null", "[]"]),
            ("Datetime", ["\"2026-01-01T00:00:00.5+01:00\"", "[\"2026-01-01T00:00:00Z\"]", "null", "[]"]),
            ("KeywordList", ["[\"a\",\"b\"]", "\"a\"", "null", "[]"]),
        ] {
            for value in values {
                assert_eq!(set(&format!("Custom{kind}"), payload(value), &BTreeMap::new()).as_deref(), Ok(kind), "{value}");
            }
        }
        assert_eq!(set("TemporalChangeVersion", payload("[\"a\"]"), &BTreeMap::new()).as_deref(), Ok("KeywordList"));
        let mut claims = payload("1");
        claims.metadata.insert(TYPE.into(), Bytes::from_static(b"Keyword"));
        assert_eq!(set("CustomInt", claims, &BTreeMap::new()).as_deref(), Ok("Int"), "the namespace decides, not the client");
    }

    #[test]
    fn values_of_another_type_are_refused() {
        for (kind, value, text) in [
            ("Int", "\"text\"", "text"),
            ("Int", "1.5", "1.5"),
            ("Int", "9223372036854775808", "9223372036854775808"),
            ("Int", "[1,2]", "[1 2]"),
            ("Int", "[\"a\",\"b\"]", "[a b]"),
            ("Keyword", "1", "1"),
            ("Keyword", "{\"a\":1}", "{\"a\":1}"),
            ("KeywordList", "[1]", "[1]"),
            ("Bool", "\"true\"", "true"),
            ("Double", "\"1\"", "1"),
            ("Datetime", "\"yesterday\"", "yesterday"),
            ("Datetime", "0", "0"),
        ] {
            let expected = format!("invalid value for search attribute Custom{kind} of type {kind}: {text}");
            assert_eq!(set(&format!("Custom{kind}"), payload(value), &BTreeMap::new()), Err(expected));
        }
        let long = format!("\"{}\"", "ä".repeat(300));
        let refused = set("CustomInt", payload(&long), &BTreeMap::new()).unwrap_err();
        assert!(refused.ends_with(&format!(": {}…", "ä".repeat(100))), "{refused}");
    }

    #[test]
    fn names_that_cannot_be_set() {
        let refused = |name: &str| set(name, payload("\"a\""), &BTreeMap::new()).unwrap_err();
        assert_eq!(refused("Nobody"), "Namespace ns has no mapping defined for search attribute Nobody");
        assert_eq!(refused("TemporalNobody"), "Namespace ns has no mapping defined for search attribute TemporalNobody");
        for name in ["ExecutionStatus", "WorkflowId", "CloseTime", "TemporalWorkerDeployment", "TemporalExternalPayloadCount"] {
            assert_eq!(refused(name), format!("{name} attribute can't be set in SearchAttributes"));
        }
    }

    #[test]
    fn what_a_run_carries_may_be_said_again() {
        let mut had = payload("\"old\"");
        had.metadata.insert(TYPE.into(), Bytes::from_static(b"Keyword"));
        let carried = [("Removed".to_string(), had)].into();
        assert_eq!(set("Removed", payload("\"new\""), &carried).as_deref(), Ok("Keyword"));
        assert!(set("Nobody", payload("1"), &carried).is_err());
    }
}
