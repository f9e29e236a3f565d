//! What a call between nodes looks like: the public call as it is, and beside it what the first node has decided about it.
//!
//! | header | is |
//! |---|---|
//! | `sempre-hop` | how many nodes have sent the call on, this one included |
//! | `sempre-picture` | the version of the picture by which it was sent here; in an answer, of the one by which it was refused |
//! | `sempre-caller` | who calls, if callers are asked who they are; his credentials stay at the first node ([`STAY`]) |
//! | `grpc-timeout` | what is left of the caller's time |
//!
//! Path, other metadata and body are those of the caller, the body uncompressed. The answer is that of the owner: headers, body and trailers.
//! Two answers are of the node and not of the call: 421 says that the shard is elsewhere, 403 that whoever sends is no node (any more); in
//! both cases nothing was done.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, Version, header, request::Parts, uri};
use http_body_util::Full;
use prost::Message;
use sempre_core::Timestamp;
use sempre_engine::CallClass;

use crate::{
    access::{ByServer, Caller, Grants},
    classes::Kind,
    deadline::{self, POLL_SPAN_MIN},
    router::Response,
};

const HOP: HeaderName = HeaderName::from_static("sempre-hop");
const PICTURE: HeaderName = HeaderName::from_static("sempre-picture");
const CALLER: HeaderName = HeaderName::from_static("sempre-caller");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Of the connection to the first node, or for it alone, credentials first of all; and nobody else says what only nodes say.
static STAY: [HeaderName; 9] = [
    header::AUTHORIZATION,
    HeaderName::from_static("authorization-extras"),
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
    header::CONTENT_LENGTH,
    header::HOST,
    HOP,
    PICTURE,
    CALLER,
];
/// So begin headers of HTTP that are for the call; to a call itself they say nothing.
const OF_HTTP: &str = "grpc-metadata-";

/// What the first node has found out about the caller.
#[derive(Clone, PartialEq, Message)]
struct Claims {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, repeated, tag = "2")]
    grants: Vec<String>,
    /// Nanoseconds.
    #[prost(int64, optional, tag = "3")]
    expires: Option<i64>,
    /// There is no caller: the first node itself asks.
    #[prost(bool, tag = "4")]
    by_server: bool,
}

/// What a node says of the call that it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    /// Nodes that have sent it on.
    pub(crate) hop: u8,
    /// By this version of the picture.
    pub(crate) version: u64,
}

/// A call that goes on to another node. `left` of the caller's time, if he has said how much he has.
pub(crate) fn to_node(
    parts: &Parts,
    frame: Bytes,
    kind: Kind,
    sender: Sender,
    left: Option<Duration>,
) -> Result<http::Request<Full<Bytes>>, http::Error> {
    let mut request = http::Request::new(Full::new(frame));
    *request.method_mut() = parts.method.clone();
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = at_node(parts.uri.path_and_query().cloned())?;
    let headers = request.headers_mut();
    for (name, value) in &parts.headers {
        if !STAY.contains(name) && !name.as_str().starts_with(OF_HTTP) {
            headers.append(name.clone(), value.clone());
        }
    }
    say(headers, sender);
    let caller = parts.extensions.get::<Arc<Caller>>().map(|caller| Claims {
        name: caller.name.to_string(),
        grants: caller.grants.texts(),
        expires: caller.expires.map(|at| at.0),
        by_server: false,
    });
    let server = parts.extensions.get::<ByServer>().map(|ByServer| Claims { by_server: true, ..Claims::default() });
    if let Some(claims) = caller.or(server) {
        headers.insert(CALLER, HeaderValue::try_from(BASE64_STANDARD.encode(claims.encode_to_vec()))?);
    }
    if let Some(left) = left {
        take_time(headers, kind, left);
    }
    Ok(request)
}

/// A message of this node's engine to another's: nobody else calls.
pub(crate) fn between_nodes(path: &'static str, message: Bytes, sender: Sender) -> http::Request<Full<Bytes>> {
    let mut request = http::Request::new(Full::new(message));
    *request.method_mut() = http::Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = at_node(Some(uri::PathAndQuery::from_static(path))).expect("the path is a constant");
    say(request.headers_mut(), sender);
    request
}

/// What is called says the path; who is called, the connection.
fn at_node(path: Option<uri::PathAndQuery>) -> Result<Uri, http::Error> {
    let mut to = uri::Parts::default();
    to.scheme = Some(uri::Scheme::HTTPS);
    to.authority = Some(uri::Authority::from_static("node"));
    to.path_and_query = path;
    Ok(Uri::from_parts(to)?)
}

fn say(headers: &mut HeaderMap, sender: Sender) {
    headers.insert(HOP, HeaderValue::from(u16::from(sender.hop)));
    headers.insert(PICTURE, HeaderValue::from(sender.version));
}

/// So much is left of the time of the caller of such headers.
pub(crate) fn take_time(headers: &mut HeaderMap, kind: Kind, left: Duration) {
    let left = timeout_of(left.max(least(kind, headers)));
    headers.insert(TIMEOUT, left);
}

/// A poll that the first node takes is not refused by who answers it because a little of its time has gone meanwhile.
fn least(kind: Kind, headers: &HeaderMap) -> Duration {
    let given = deadline::timeout(headers).filter(|_| kind.class == CallClass::Poll);
    given.map_or(Duration::ZERO, |given| Duration::from_nanos(given.min(POLL_SPAN_MIN).0.unsigned_abs()))
}

/// Has at most eight digits.
fn timeout_of(left: Duration) -> HeaderValue {
    let micros = left.as_micros();
    let text = match micros {
        0..=99_999_999 => format!("{micros}u"),
        100_000_000..=99_999_999_999 => format!("{}m", micros / 1000),
        _ => format!("{}S", (micros / 1_000_000).min(99_999_999)),
    };
    HeaderValue::try_from(text).expect("digits and a letter")
}

/// What the sender says of a call that has come from a node; who calls is put beside the call. `None`: no node sends it so.
pub(crate) fn from_node<B>(request: &mut http::Request<B>) -> Option<Sender> {
    let headers = request.headers_mut();
    let number = |value: Option<HeaderValue>| value?.to_str().ok()?.parse::<u64>().ok();
    let hop = number(headers.remove(HOP)).and_then(|hop| u8::try_from(hop).ok()).filter(|hop| *hop > 0)?;
    let version = number(headers.remove(PICTURE))?;
    if let Some(claims) = headers.remove(CALLER) {
        let claims = BASE64_STANDARD.decode(claims.as_bytes()).ok().and_then(|bytes| Claims::decode(&bytes[..]).ok())?;
        let mut grants = Grants::default();
        for grant in &claims.grants {
            // Of a newer version of this program, perhaps: what is not understood grants nothing.
            let _ = grants.add(grant);
        }
        if claims.by_server {
            request.extensions_mut().insert(ByServer);
        } else {
            let caller = Caller::decided_elsewhere(claims.name.into(), grants, claims.expires.map(Timestamp));
            request.extensions_mut().insert(Arc::new(caller));
        }
    }
    Some(Sender { hop, version })
}

/// The answer of a node that has not the shard.
pub(crate) fn elsewhere(version: u64) -> Response {
    let mut answer = http::Response::new(tonic::body::Body::empty());
    *answer.status_mut() = StatusCode::MISDIRECTED_REQUEST;
    answer.headers_mut().insert(PICTURE, HeaderValue::from(version));
    answer
}

/// The answer to who is no node.
pub(crate) fn no_node() -> Response {
    let mut answer = http::Response::new(tonic::body::Body::empty());
    *answer.status_mut() = StatusCode::FORBIDDEN;
    answer
}

/// What a node has answered.
#[derive(Debug)]
pub(crate) enum Answered<B> {
    /// It has done the call, or refused it.
    Call(http::Response<B>),
    /// It has not the shard, by a picture of this version.
    Elsewhere(u64),
    /// It does not take this node for one.
    NoNode,
    /// Something that no node says.
    Junk(StatusCode),
}

impl<B> Answered<B> {
    pub(crate) fn of(answer: http::Response<B>) -> Self {
        match answer.status() {
            StatusCode::OK => Self::Call(answer),
            StatusCode::FORBIDDEN => Self::NoNode,
            StatusCode::MISDIRECTED_REQUEST => {
                let version = answer.headers().get(PICTURE).and_then(|version| version.to_str().ok()?.parse().ok());
                version.map_or(Self::Junk(StatusCode::MISDIRECTED_REQUEST), Self::Elsewhere)
            }
            other => Self::Junk(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use sempre_core::Span;

    use super::*;
    use crate::access::Roles;

    const POLL: Kind = Kind { class: CallClass::Poll, waits: true, by_anybody: false };
    const LOOK: Kind = Kind { class: CallClass::Look, waits: false, by_anybody: false };
    const SENDER: Sender = Sender { hop: 1, version: 7 };

    fn parts(headers: &[(&'static str, &'static str)]) -> Parts {
        let mut request = http::Request::post("/service/Method").body(()).unwrap();
        request.headers_mut().extend(headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())));
        request.into_parts().0
    }

    fn sent(parts: &Parts, kind: Kind, left: Option<Duration>) -> http::Request<Full<Bytes>> {
        to_node(parts, Bytes::from_static(b"\0\0\0\0\0"), kind, SENDER, left).unwrap()
    }

    #[test]
    fn metadata_goes_with_the_call_and_credentials_stay() {
        let given = parts(&[
            ("authorization", "Bearer secret"),
            ("authorization-extras", "secret"),
            ("proxy-authorization", "Basic secret"),
            ("cookie", "session=secret"),
            ("grpc-metadata-authorization", "Bearer secret"),
            ("client-name", "temporal-go"),
            ("content-length", "9"),
            ("sempre-hop", "9"),
            ("sempre-caller", "Zm9yZ2Vk"),
            ("te", "trailers"),
            ("x-own", "a"),
            ("x-own", "b"),
        ]);
        let mut request = sent(&given, LOOK, None);
        assert_eq!(request.uri().path(), "/service/Method");
        assert_eq!(request.headers().get_all("x-own").iter().count(), 2);
        assert_eq!(request.headers()["client-name"], "temporal-go");
        assert_eq!(request.headers()["te"], "trailers");
        for gone in ["content-length", "sempre-caller", "grpc-timeout"] {
            assert!(!request.headers().contains_key(gone), "{gone}");
        }
        assert!(request.headers().values().all(|value| !value.to_str().unwrap().contains("secret")), "{:?}", request.headers());
        assert_eq!(from_node(&mut request), Some(SENDER));
        assert!(request.extensions().get::<Arc<Caller>>().is_none());
        assert!(!request.headers().keys().any(|name| name.as_str().starts_with("sempre-")));
        assert_eq!(from_node(&mut request), None, "no node has sent this");
    }

    #[test]
    fn who_calls_goes_with_the_call() {
        let mut given = parts(&[]);
        let grants = Grants::of(["orders:write", "*:read", "pay:nexus"]).unwrap();
        let caller = Caller::decided_elsewhere("jwt:https://é Ü".into(), grants, Some(Timestamp(5)));
        given.extensions.insert(Arc::new(caller));
        let mut request = sent(&given, LOOK, None);
        assert_eq!(from_node(&mut request), Some(SENDER));
        let told = request.extensions().get::<Arc<Caller>>().unwrap();
        assert_eq!((&*told.name, told.expires), ("jwt:https://é Ü", Some(Timestamp(5))));
        assert!(told.grants.within("orders", Roles::WRITE) && !told.grants.within("other", Roles::WRITE) && told.grants.endpoint("pay"));
        // What the server asks for itself, it asks for itself there too.
        let mut given = parts(&[]);
        given.extensions.insert(ByServer);
        let mut by_server = sent(&given, LOOK, None);
        assert_eq!(from_node(&mut by_server), Some(SENDER));
        assert!(by_server.extensions().get::<ByServer>().is_some() && by_server.extensions().get::<Arc<Caller>>().is_none());
        request.headers_mut().insert(HOP, HeaderValue::from(1));
        request.headers_mut().insert(PICTURE, HeaderValue::from(1));
        request.headers_mut().insert(CALLER, HeaderValue::from_static("%"));
        assert_eq!(from_node(&mut request), None, "who calls cannot be read");
    }

    #[test]
    fn what_is_left_of_the_time_goes_with_the_call() {
        let told = |kind, given, left| deadline::timeout(sent(&parts(&[("grpc-timeout", given)]), kind, Some(left)).headers()).unwrap();
        assert_eq!(told(LOOK, "10S", Duration::from_micros(1_234_567)), Span(1_234_567_000));
        assert_eq!(told(LOOK, "70S", Duration::from_secs(1)), Span::seconds(1));
        assert_eq!(told(LOOK, "300S", Duration::from_millis(299_999)), Span::millis(299_999));
        assert_eq!(told(LOOK, "99999999H", Duration::MAX), Span::seconds(99_999_999));
        // Polls with less than two seconds are refused; this one had them when it came.
        assert_eq!(told(POLL, "2S", Duration::from_millis(1990)), Span::seconds(2));
        assert_eq!(told(POLL, "70S", Duration::from_millis(1500)), Span::seconds(2));
        assert_eq!(told(POLL, "1500m", Duration::from_millis(1490)), Span::millis(1500));
        assert_eq!(told(POLL, "70S", Duration::from_secs(60)), Span::seconds(60));
    }

    #[test]
    fn answers_of_nodes_are_told_from_answers_of_calls() {
        assert!(matches!(Answered::of(elsewhere(12)), Answered::Elsewhere(12)));
        assert!(matches!(Answered::of(no_node()), Answered::NoNode));
        assert!(matches!(Answered::of(http::Response::new(())), Answered::Call(_)));
        let junk = |status: u16| http::Response::builder().status(status).body(()).unwrap();
        assert!(matches!(Answered::of(junk(421)), Answered::Junk(_)));
        assert!(matches!(Answered::of(junk(502)), Answered::Junk(_)));
    }
}
