//! One call of gRPC without a connection: through the same router as every other call, so through the same checks.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use http_body_util::{BodyExt, Full};
use tonic::{Code, Status};

use crate::{
    SERVER_VERSION, deadline,
    ports::Peer,
    router::{Inside, Router},
};

/// Flags and length before a message.
const PREFIX_BYTES: usize = 5;
/// Who calls, unless the caller says so; what Temporal's server calls its own HTTP API.
const CLIENT_NAME: &str = "temporal-server-http";
/// Headers that are handed on as they are.
const HANDED_ON: [&str; 8] = [
    "authorization",
    "authorization-extras",
    "client-name",
    "client-version",
    "grpc-timeout",
    "traceparent",
    "tracestate",
    "x-forwarded-for",
];
/// Headers with this before their name are handed on without it.
const METADATA: &str = "grpc-metadata-";

/// What a call gets of the request that it is made for.
#[derive(Clone, Debug)]
pub(crate) struct Metadata {
    pub(crate) headers: HeaderMap,
    pub(crate) peer: Option<Arc<Peer>>,
}

/// Who is at the other side of a request's connection, if anybody wanted to know.
pub(crate) fn peer(extensions: &Extensions) -> Option<Arc<Peer>> {
    extensions.get::<Arc<Peer>>().cloned()
}

/// What of a request's headers the call gets. Refuses a time limit that is none.
pub(crate) fn metadata(headers: &HeaderMap, peer: Option<Arc<Peer>>) -> Result<Metadata, Status> {
    let mut metadata = HeaderMap::new();
    for (name, value) in headers {
        let name = match name.as_str().strip_prefix(METADATA) {
            // Those of the call itself are not the caller's to set.
            Some(rest) if !rest.starts_with("grpc-") && !matches!(rest, "content-type" | "te") => {
                HeaderName::try_from(rest).map_err(|_| Status::invalid_argument(format!("{rest:?} is not a name of metadata")))?
            }
            None if HANDED_ON.contains(&name.as_str()) => name.clone(),
            _ => continue,
        };
        metadata.append(name, value.clone());
    }
    if let Some(given) = metadata.get("grpc-timeout").filter(|_| deadline::timeout(&metadata).is_none()) {
        return Err(Status::invalid_argument(format!("invalid grpc-timeout: {}", given.to_str().unwrap_or_default())));
    }
    metadata.entry("client-name").or_insert(HeaderValue::from_static(CLIENT_NAME));
    metadata.entry("client-version").or_insert(HeaderValue::from_static(SERVER_VERSION));
    Ok(Metadata { headers: metadata, peer })
}

/// Calls `method`, which is `/service/method`, with an encoded message; gives the encoded answer.
pub(crate) async fn unary(router: &Router, method: &str, metadata: Metadata, message: &[u8]) -> Result<Bytes, Status> {
    let Ok(length) = u32::try_from(message.len()) else { return Err(Status::out_of_range("the message is too large")) };
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    frame.put_u8(0);
    frame.put_u32(length);
    frame.put_slice(message);
    let mut request = http::Request::new(Full::new(frame.freeze()));
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = method.parse().map_err(|_| Status::internal("a method that is no path"))?;
    *request.headers_mut() = metadata.headers;
    request.extensions_mut().insert(Inside);
    if let Some(peer) = metadata.peer {
        request.extensions_mut().insert(peer);
    }
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let (parts, body) = router.call(request).await.into_parts();
    refused(&parts.headers)?;
    let body = body.collect().await?;
    if let Some(trailers) = body.trailers() {
        refused(trailers)?;
    }
    let mut bytes = body.to_bytes();
    if bytes.len() < PREFIX_BYTES {
        return Err(Status::internal("an answer without a message"));
    }
    Ok(bytes.split_off(PREFIX_BYTES))
}

fn refused(headers: &HeaderMap) -> Result<(), Status> {
    match Status::from_header_map(headers) {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed_on(given: &[(&'static str, &'static str)]) -> Result<Vec<String>, String> {
        let headers = given.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect();
        let metadata = metadata(&headers, None).map_err(|status| status.message().to_owned())?.headers;
        let mut all: Vec<_> = metadata.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap_or_default())).collect();
        all.sort();
        Ok(all)
    }

    #[test]
    fn only_what_is_for_the_call_is_handed_on() {
        let own = ["client-name=temporal-server-http".to_owned(), format!("client-version={SERVER_VERSION}")];
        assert_eq!(handed_on(&[("cookie", "a"), ("accept", "b"), ("grpc-metadata-grpc-timeout", "1S")]), Ok(own.to_vec()));
        let given = [
            ("client-name", "me"),
            ("client-version", "1"),
            ("authorization", "Bearer x"),
            ("grpc-metadata-supported-server-versions", ">=1.0.0"),
            ("grpc-timeout", "2S"),
            ("traceparent", "00-1-2-01"),
        ];
        let expected = [
            "authorization=Bearer x",
            "client-name=me",
            "client-version=1",
            "grpc-timeout=2S",
            "supported-server-versions=>=1.0.0",
            "traceparent=00-1-2-01",
        ];
        assert_eq!(handed_on(&given), Ok(expected.map(str::to_owned).to_vec()));
        assert_eq!(handed_on(&[("grpc-timeout", "2x")]), Err("invalid grpc-timeout: 2x".to_owned()));
    }
}
