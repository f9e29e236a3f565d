//! What whoever schedules an operation may say of it: a command of a workflow, or a client.

use alloc::{
    collections::BTreeMap,
    string::{String, ToString},
};

/// Bytes of the name of a service or an operation (`nexusoperation.limit.service.name.length`, `…operation.name.length`).
pub(crate) const NAME_MAX: usize = 1000;
/// Bytes of names and values of the header (`nexusoperation.limit.header.size`).
const HEADER_MAX: usize = 8192;
/// Names in the header that are the server's (lower case).
const HEADERS_RESERVED: [&str; 8] = [
    "request-timeout",
    "xdc-redirection-api",
    "xdc-redirection",
    "caller-name",
    "caller-type",
    "call-initiation",
    "temporal-principal-type",
    "temporal-principal-name",
];

/// Why a header is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// This name is the server's.
    Reserved(String),
    /// It is too large.
    TooLarge,
}

/// The header with its names in lower case.
pub(crate) fn header(given: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, BadHeader> {
    let mut header = BTreeMap::new();
    let mut bytes = 0;
    for (name, value) in given {
        let lower = name.to_lowercase();
        bytes += lower.len() + value.len();
        if HEADERS_RESERVED.contains(&lower.as_str()) {
            return Err(BadHeader::Reserved(name.clone()));
        }
        header.insert(lower, value.to_string());
    }
    if bytes > HEADER_MAX { Err(BadHeader::TooLarge) } else { Ok(header) }
}
