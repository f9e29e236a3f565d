//! Payloads as bodies of HTTP requests and answers, with a content type of their own where their metadata says all there is
//! to say; and links as headers.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_LENGTH};
use prost::Message;
use sempre_api::v1::{common::Payload, nexus};

/// A payload that no other type fits.
const PAYLOAD: &str = "application/x-temporal-payload";
/// Encoding of content that is none of ours.
const UNKNOWN: &str = "unknown/nexus-content";

/// Body and headers of its content. What is none of ours leaves as it came; what cannot be a header is left out.
pub(crate) fn of_payload(payload: &Payload) -> (Bytes, HeaderMap) {
    let mut headers = HeaderMap::new();
    let mut set = |name: &str, value: &[u8]| {
        let name = HeaderName::try_from(format!("content-{name}")).ok().filter(|name| name != CONTENT_LENGTH);
        if let (Some(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.insert(name, value);
        }
    };
    if payload.metadata.get("encoding").is_some_and(|encoding| encoding == UNKNOWN) {
        payload.metadata.iter().filter(|(name, _)| *name != "encoding").for_each(|(name, value)| set(name, value));
        return (payload.data.clone(), headers);
    }
    let (body, kind) = typed(payload);
    if !kind.is_empty() {
        set("type", kind.as_bytes());
    }
    (body, headers)
}

/// Body and content type (empty: none).
fn typed(payload: &Payload) -> (Bytes, String) {
    let of = |name: &str| payload.metadata.get(name).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
    let (encoding, message_type, count) = (of("encoding"), of("messageType"), payload.metadata.len());
    let kind = match encoding {
        "json/plain" => "application/json".to_owned(),
        "json/protobuf" if count == 2 && !message_type.is_empty() => {
            format!("application/json; format=protobuf; message-type={message_type:?}")
        }
        "binary/protobuf" if count == 2 && !message_type.is_empty() => {
            format!("application/x-protobuf; message-type={message_type:?}")
        }
        "binary/plain" if count == 1 => "application/octet-stream".to_owned(),
        "binary/null" if count == 1 => String::new(),
        _ => return (payload.encode_to_vec().into(), PAYLOAD.into()),
    };
    (payload.data.clone(), kind)
}

/// The payload of a body with these headers. `Err`: it says that it is a payload, and is none.
pub(crate) fn to_payload(headers: &HeaderMap, body: Bytes) -> Result<Payload, String> {
    // Of the content's own headers. Its length says nothing, and its encoding is the transport's.
    let own: BTreeMap<String, String> = headers
        .keys()
        .filter_map(|name| Some((name.as_str().strip_prefix("content-")?.to_owned(), headers.get(name)?.to_str().ok()?.to_owned())))
        .filter(|(name, _)| name != "length" && name != "encoding")
        .collect();
    let kind = own.get("type").map(String::as_str).unwrap_or_default();
    let (media, parameters) = media_type(kind);
    let parameter = |name: &str| parameters.get(name).map(String::as_str);
    let pairs: Vec<(&str, &str)> = match (own.len(), media.as_str(), parameters.len()) {
        (0, ..) if body.is_empty() => vec![("encoding", "binary/null")],
        (1, PAYLOAD, _) => return Payload::decode(body).map_err(|error| error.to_string()),
        (1, "application/json", 0) => vec![("encoding", "json/plain")],
        (1, "application/json", 2) if parameter("format") == Some("protobuf") && parameter("message-type").is_some() => {
            vec![("encoding", "json/protobuf"), ("messageType", parameter("message-type").unwrap_or_default())]
        }
        (1, "application/x-protobuf", 1) if parameter("message-type").is_some() => {
            vec![("encoding", "binary/protobuf"), ("messageType", parameter("message-type").unwrap_or_default())]
        }
        (1, "application/octet-stream", 0) => vec![("encoding", "binary/plain")],
        _ => own.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain([("encoding", UNKNOWN)]).collect(),
    };
    let metadata = pairs.into_iter().map(|(name, value)| (name.to_owned(), Bytes::copy_from_slice(value.as_bytes()))).collect();
    Ok(Payload { metadata, data: body, ..Payload::default() })
}

/// A media type in lower case, and its parameters without their quotation marks.
fn media_type(text: &str) -> (String, BTreeMap<String, String>) {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default().to_ascii_lowercase();
    let parameter = |part: &str| part.split_once('=').map(|(name, value)| (name.to_ascii_lowercase(), value.trim_matches('"').to_owned()));
    (media, parts.filter_map(parameter).collect())
}

/// Value of a `Nexus-Link` header; empty without links.
pub(crate) fn of_links(links: &[nexus::Link]) -> String {
    let one = |link: &nexus::Link| format!("<{}>; type={:?}", link.url, link.r#type);
    links.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Links of the `Nexus-Link` headers. `None`: they are not well formed.
pub(crate) fn to_links(headers: &HeaderMap) -> Option<Vec<nexus::Link>> {
    let values = headers.get_all("nexus-link").iter().map(|value| value.to_str().ok()).collect::<Option<Vec<_>>>()?;
    let all = values.join(",");
    if all.trim().is_empty() {
        return Some(Vec::new());
    }
    all.split(',').map(to_link).collect()
}

fn to_link(text: &str) -> Option<nexus::Link> {
    let (url, parameters) = text.trim().strip_prefix('<')?.split_once('>')?;
    let kind = parameters.split(';').filter_map(|part| part.trim().strip_prefix("type=")).next()?;
    Some(nexus::Link { url: url.to_owned(), r#type: kind.trim_matches('"').to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(metadata: &[(&str, &str)]) -> Payload {
        let metadata = metadata.iter().map(|(k, v)| (k.to_string(), Bytes::copy_from_slice(v.as_bytes()))).collect();
        let data = if metadata == [("encoding".to_string(), Bytes::from_static(b"binary/null"))].into() { "" } else { "x" };
        Payload { metadata, data: Bytes::from_static(data.as_bytes()), ..Default::default() }
    }

    #[test]
    fn payloads_have_types_of_their_own_and_read_back() {
        for (metadata, expected) in [
            (&[("encoding", "json/plain")][..], "application/json"),
            (&[("encoding", "json/protobuf"), ("messageType", "a.B")], "application/json; format=protobuf; message-type=\"a.B\""),
            (&[("encoding", "binary/protobuf"), ("messageType", "a.B")], "application/x-protobuf; message-type=\"a.B\""),
            (&[("encoding", "binary/plain")], "application/octet-stream"),
            (&[("encoding", "binary/null")], ""),
            (&[("encoding", "binary/encrypted")], PAYLOAD),
            (&[("encoding", "binary/plain"), ("note", "x")], PAYLOAD),
            (&[], PAYLOAD),
        ] {
            let payload = payload(metadata);
            let (body, mut headers) = of_payload(&payload);
            assert_eq!(headers.get("content-type").map_or("", |kind| kind.to_str().unwrap()), expected);
            headers.insert("content-length", HeaderValue::from(body.len()));
            headers.insert("host", HeaderValue::from_static("h"));
            assert_eq!(to_payload(&headers, body), Ok(payload), "{expected}");
        }
        let json = of_payload(&payload(&[("encoding", "json/plain"), ("note", "x")])).1;
        assert_eq!(json.len(), 1);
        assert_eq!(json["content-type"], "application/json", "what else is said of JSON is left out");
    }

    #[test]
    fn content_that_is_not_known_keeps_its_headers() {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("text/plain"));
        headers.insert("content-language", HeaderValue::from_static("en"));
        let read = to_payload(&headers, Bytes::from_static(b"hi")).unwrap();
        let metadata = [("encoding", UNKNOWN), ("language", "en"), ("type", "text/plain")];
        assert_eq!(read.metadata.iter().map(|(k, v)| (k.as_str(), std::str::from_utf8(v).unwrap())).collect::<Vec<_>>(), metadata);
        assert_eq!(of_payload(&read), (Bytes::from_static(b"hi"), headers.clone()), "and leaves as it came");
        headers.remove("content-language");
        headers.insert("content-type", HeaderValue::from_static(PAYLOAD));
        assert!(to_payload(&headers, Bytes::from_static(b"\xff")).is_err());
    }

    #[test]
    fn links_read_back() {
        let link = |url: &str| nexus::Link { url: url.into(), r#type: "a.B".into() };
        let links = [link("temporal:///a?b=c"), link("temporal:///d")];
        let text = of_links(&links);
        assert_eq!(text, "<temporal:///a?b=c>; type=\"a.B\", <temporal:///d>; type=\"a.B\"");
        let mut headers = HeaderMap::new();
        assert_eq!(to_links(&headers), Some(vec![]));
        headers.insert("nexus-link", HeaderValue::from_str(&text).unwrap());
        assert_eq!(to_links(&headers).as_deref(), Some(&links[..]));
        headers.insert("nexus-link", HeaderValue::from_static("nothing"));
        assert_eq!(to_links(&headers), None);
    }
}
