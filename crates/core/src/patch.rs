//! Markers of versioned code: `patched(id)` of the SDKs on the common core, `GetVersion` of Go and Java.
//!
//! | SDK | marker | id | version |
//! |---|---|---|---|
//! | Rust, Python, TypeScript, .NET, Ruby | `core_patch` | detail `patch-data`: JSON `{"id": …, "deprecated": …}`; in old histories details `patch_id` and `deprecated` | none |
//! | Go | `Version` | detail `change-id`: JSON string | detail `version`: JSON number |
//! | Java | `Version` | detail `changeId`: JSON string | detail `version`: JSON number |
//!
//! The search attribute `TemporalChangeVersion` of a run names the same: the id, for Go and Java with `-` and the version.

use alloc::{string::String, vec::Vec};

use sempre_api::v1::{
    common::{Payload, Payloads},
    history::MarkerRecordedEventAttributes,
};

use crate::visibility::{AttributeType, Value, decode_as, decode_object};

/// The search attribute in which SDKs note the patches that a run has met.
pub const ATTRIBUTE: &str = "TemporalChangeVersion";

/// A patch that a run has met.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Patch {
    /// Its id, as the code has it.
    pub id: String,
    /// The version of Go's and Java's `GetVersion`; -1 is the code before the first change.
    pub version: Option<i64>,
    /// Met by `deprecate_patch`: the run would go on without the call.
    pub deprecated: bool,
}

/// The patch of a marker; `None` when it is a marker of something else, or its details cannot be read (a codec may have
/// been over them).
pub fn of_marker(marker: &MarkerRecordedEventAttributes) -> Option<Patch> {
    let detail = |name: &str| first(marker.details.get(name)?);
    match marker.marker_name.as_str() {
        "core_patch" => match detail("patch-data") {
            Some(data) => of_core(data),
            None => {
                let id = core::str::from_utf8(&detail("patch_id")?.data).ok()?.into();
                let deprecated = detail("deprecated")?.data.first().is_some_and(|byte| *byte != 0);
                Some(Patch { id, version: None, deprecated })
            }
        },
        "Version" => {
            let id = detail("change-id").or_else(|| detail("changeId"))?;
            let Some(Value::Keyword(id)) = decode_as(id, AttributeType::Keyword) else { return None };
            let Some(Value::Int(version)) = decode_as(detail("version")?, AttributeType::Int) else { return None };
            Some(Patch { id, version: Some(version), deprecated: false })
        }
        _ => None,
    }
}

fn first(payloads: &Payloads) -> Option<&Payload> {
    payloads.payloads.first()
}

fn of_core(data: &Payload) -> Option<Patch> {
    let (mut id, mut deprecated) = (None, false);
    for (name, value) in decode_object(&data.data)? {
        match (name.as_str(), value) {
            ("id", Some(Value::Keyword(text))) => id = Some(text),
            ("deprecated", Some(Value::Bool(is))) => deprecated = is,
            _ => {}
        }
    }
    Some(Patch { id: id?, version: None, deprecated })
}

/// What an entry of [`ATTRIBUTE`] may mean: a patch by that name, and, where it ends with `-` and a number, the version of
/// a change. Which of the two it is, the entry does not say.
pub fn of_entry(entry: &str) -> Vec<Patch> {
    let patch = |id: &str, version| Patch { id: id.into(), version, deprecated: false };
    let mut meanings = Vec::from([patch(entry, None)]);
    if let Some((id, version)) = entry.rsplit_once('-')
        && let Ok(version) = version.parse::<u32>()
        && !id.is_empty()
    {
        // `id--1` is version -1 of `id`.
        let (id, version) = match id.strip_suffix('-') {
            Some(id) if !id.is_empty() => (id, -i64::from(version)),
            _ => (id, i64::from(version)),
        };
        meanings.push(patch(id, Some(version)));
    }
    meanings
}

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeMap, string::ToString};

    use super::*;

    fn marker(name: &str, details: &[(&str, &[u8])]) -> MarkerRecordedEventAttributes {
        let payloads = |data: &[u8]| Payloads { payloads: [Payload { data: data.to_vec().into(), ..Payload::default() }].into() };
        let details: BTreeMap<String, Payloads> = details.iter().map(|(name, data)| (name.to_string(), payloads(data))).collect();
        MarkerRecordedEventAttributes { marker_name: name.into(), details, ..MarkerRecordedEventAttributes::default() }
    }

    fn patch(id: &str, version: Option<i64>, deprecated: bool) -> Option<Patch> {
        Some(Patch { id: id.into(), version, deprecated })
    }

    #[test]
    fn markers_of_all_sdks() {
        let core = |data: &str| of_marker(&marker("core_patch", &[("patch-data", data.as_bytes())]));
        assert_eq!(core(r#"{"id":"new-fee","deprecated":false}"#), patch("new-fee", None, false));
        assert_eq!(core(r#" { "deprecated" : true , "id" : "a\"b" } "#), patch("a\"b", None, true));
        assert_eq!(of_marker(&marker("core_patch", &[("patch_id", b"old"), ("deprecated", &[1])])), patch("old", None, true));
        let go = marker("Version", &[("change-id", br#""fee""#), ("version", b"2"), ("version-search-attribute-updated", b"true")]);
        assert_eq!(of_marker(&go), patch("fee", Some(2), false));
        let java = marker("Version", &[("changeId", br#""fee""#), ("version", b"-1")]);
        assert_eq!(of_marker(&java), patch("fee", Some(-1), false));
    }

    #[test]
    fn what_is_no_marker_of_a_patch_or_cannot_be_read() {
        for (name, details) in [
            ("core_local_activity", &[("data", b"{}".as_slice())][..]),
            ("SideEffect", &[("change-id", br#""x""#), ("version", b"1")]),
            ("core_patch", &[]),
            ("core_patch", &[("patch-data", br#"{"deprecated":true}"#)]),
            ("core_patch", &[("patch-data", b"\x00\x01")]),
            ("core_patch", &[("patch-data", br#"{"id":"x""#)]),
            ("Version", &[("change-id", br#""x""#)]),
            ("Version", &[("change-id", b"x"), ("version", b"1")]),
        ] {
            assert_eq!(of_marker(&marker(name, details)), None, "{name} {details:?}");
        }
    }

    #[test]
    fn entries_may_be_ids_or_versions() {
        assert_eq!(of_entry("new-fee"), [patch("new-fee", None, false).unwrap()]);
        assert_eq!(of_entry("fee-2"), [patch("fee-2", None, false).unwrap(), patch("fee", Some(2), false).unwrap()]);
        assert_eq!(of_entry("fee--1"), [patch("fee--1", None, false).unwrap(), patch("fee", Some(-1), false).unwrap()]);
        assert_eq!(of_entry("-1"), [patch("-1", None, false).unwrap()]);
    }
}
