//! What the fuzz targets reach of the server's decoders (feature `fuzzing`, `fuzz/`): each function takes any bytes, and panics
//! only if the code under test is wrong.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;
use sempre_api::json::{self, Payloads};
use sempre_core::Timestamp;
use tonic::{Code, Status};

use crate::{
    ServerSettings,
    access::{jwt, settings::RulesFile},
    client_version, deadline,
    dynamic::DynamicConfig,
    nexus::{content, failure, routes as nexus_routes},
    web::api::{
        request,
        routes::{Found, Routes, query_pairs},
    },
};

/// The routes of the API over HTTP, made once.
pub struct Api(Routes);

impl Default for Api {
    fn default() -> Self {
        Self(Routes::new())
    }
}

impl Api {
    /// A verb, a path with its query, and a body: the request that they stand for is one that is written and read again as the same.
    pub fn request(&self, verb: &str, target: &str, body: &[u8], payloads: Payloads) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let Found::Route(route, fields) = self.0.find(verb, path) else { return };
        let Some(query) = query_pairs(query) else { return };
        match request::build(route, fields, &query, body, payloads) {
            Ok(message) => {
                let encoded = message.encode_to_vec();
                let again = json::reflect::DynamicMessage::decode(route.input.clone(), encoded.as_slice()).expect("what was encoded");
                assert_eq!(again.encoded_len(), encoded.len());
                // Maps are written in any order.
                let value = |message| json::dynamic_to_value(message, payloads);
                assert_eq!(value(&again), value(&message));
            }
            Err(status) => refused(&status),
        }
    }
}

fn refused(status: &Status) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
}

/// Lines `name: value`, as headers; lines that cannot be headers are left out.
fn headers(text: &str) -> HeaderMap {
    let line = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.parse::<HeaderName>().ok()?, value.trim().parse::<HeaderValue>().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// A path, headers and a body of Nexus over HTTP.
pub fn nexus(path: &str, lines: &str, body: &[u8]) {
    let headers = headers(lines);
    let _ = nexus_routes::route(path);
    if let Ok(payload) = content::to_payload(&headers, Bytes::copy_from_slice(body)) {
        let (bytes, told) = content::of_payload(&payload);
        // What a handler is given is what it would send.
        let again = content::to_payload(&told, bytes).expect("what was written");
        assert_eq!(again.data.len(), payload.data.len());
    }
    if let Some(links) = content::to_links(&headers) {
        let _ = (content::of_links(&links), sempre_core::nexus::link::all_from_nexus(&links));
    }
    if let Ok(failure) = failure::of_body(&headers, body) {
        let _ = failure::temporal(&failure);
        for state in ["canceled", "failed"] {
            let _ = failure::of_operation(&failure, state);
        }
    }
    let _ = (deadline::timeout(&headers), deadline::poll_timeout(&headers));
    let _ = client_version::check(&headers);
}

/// A file of rules of authentication, and a set of keys; and what an issuer may have signed.
pub fn access(text: &str) {
    let _ = RulesFile::parse(text);
    let _ = jwt::KeySet::parse(text.as_bytes());
    if let Ok(token) = jwt::Token::parse(text) {
        let _ = token.issuer();
    }
}

/// An issuer's rules, its keys and a token, apart: nobody is believed whom no key has signed for.
pub fn token(rules: &str, keys: &str, token: &str) {
    let (Ok(rules), Some(keys), Ok(token)) = (RulesFile::parse(rules), jwt::KeySet::parse(keys.as_bytes()), jwt::Token::parse(token))
    else {
        return;
    };
    for issuer in &rules.jwt {
        let _ = token.check(issuer, &keys, Timestamp(1_700_000_000_000_000_000));
    }
}

/// Lines as values of dynamic configuration.
pub fn dynamic(text: &str) {
    let Ok(config) = DynamicConfig::parse(text.lines()) else { return };
    let _ = config.apply(&mut ServerSettings::default());
}
