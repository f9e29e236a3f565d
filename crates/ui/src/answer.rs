//! Answers: pages, places to go on to, files; and what browsers are told never to do with them.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use maud::Markup;

use crate::{token, visit::Visit};

/// The cookie is not for scripts, and no other site has it sent.
const COOKIE_RULES: &str = "; Path=/; HttpOnly; SameSite=Strict; Max-Age=31536000";
/// Like the others, for what is only how things look.
const PREFERENCE_RULES: &str = "; Path=/; SameSite=Strict; Max-Age=31536000";

/// A page.
pub(crate) fn page(visit: &Visit, status: StatusCode, markup: Markup) -> Response<Bytes> {
    let mut answer = with_type(status, "text/html; charset=utf-8", markup.into_string());
    let policy = policy(codec_origin(visit).as_deref());
    let headers = answer.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("permissions-policy", HeaderValue::from_static("camera=(), microphone=(), geolocation=()"));
    if visit.token_is_new
        && let Ok(cookie) = HeaderValue::from_str(&format!("{}={}{COOKIE_RULES}", token::COOKIE, visit.token))
    {
        headers.append(header::SET_COOKIE, cookie);
    }
    answer
}

/// Go on to another page.
pub(crate) fn redirect(to: &str) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::new());
    *answer.status_mut() = StatusCode::SEE_OTHER;
    answer.headers_mut().insert(header::LOCATION, HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static("/")));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// Adds a cookie that says how things are to look.
pub(crate) fn prefer(answer: &mut Response<Bytes>, name: &str, value: &str) {
    let value = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
    if let Ok(cookie) = HeaderValue::from_str(&format!("{name}={value}{PREFERENCE_RULES}")) {
        answer.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

/// JSON for a script of a page.
pub(crate) fn json(value: &serde_json::Value) -> Response<Bytes> {
    let mut answer = with_type(StatusCode::OK, "application/json", value.to_string());
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// Anything, with its type.
pub(crate) fn with_type(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    answer
}

/// What a page may load and do: nothing but what this server serves, and ask the codec server.
fn policy(codec: Option<&str>) -> String {
    let connect = codec.map_or_else(String::new, |origin| format!(" {origin}"));
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'{connect}; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
}

/// The codec server of the viewer, or that of the settings.
pub(crate) fn codec(visit: &Visit) -> Option<String> {
    let own = visit.cookie("sempre_codec");
    let endpoint = if own.is_empty() { visit.ui.0.settings.codec_endpoint.clone()? } else { own.to_owned() };
    origin(&endpoint).is_some().then_some(endpoint)
}

/// The access token that came with the request, if the viewer wants the operator's codec server to have it, and uses that one.
///
/// Who may plant cookies (another port of this host, a neighbouring domain) can name a codec server: none that only a cookie
/// names gets the token.
pub(crate) fn codec_token<'v>(visit: &'v Visit<'_>) -> Option<&'v str> {
    let endpoint = visit.ui.0.settings.codec_endpoint.as_deref()?;
    let wanted = !visit.cookie("sempre_codec_token").is_empty() && codec(visit)? == endpoint;
    wanted.then(|| token_for(endpoint, visit.authorization()?)).flatten()
}

/// An access token, and no password: for where nobody on the way can read it.
fn token_for<'a>(codec: &str, authorization: &'a str) -> Option<&'a str> {
    let (scheme, _) = authorization.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && keeps_secrets(codec)).then_some(authorization)
}

/// What is sent there nobody reads on the way: it is encrypted, or does not leave this machine.
pub(crate) fn keeps_secrets(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default();
    let address: Option<std::net::IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let is_here = host == "localhost" || address.is_some_and(|address| address.is_loopback());
    matches!((uri.scheme_str(), is_here), (Some("https"), _) | (Some("http"), true))
}

fn codec_origin(visit: &Visit) -> Option<String> {
    origin(&codec(visit)?)
}

/// Scheme, host and port of an http URL; `None` if it is none. Nothing that could end a directive of the policy passes.
pub(crate) fn origin(url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let authority = uri.authority()?.as_str();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
    authority.bytes().all(plain).then(|| format!("{scheme}://{authority}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_token_goes_to_where_nobody_on_the_way_reads_it() {
        let token = "Bearer abc";
        for codec in ["https://codec.example", "http://localhost:8081", "http://127.0.0.2/{namespace}", "http://[::1]:1"] {
            assert_eq!(token_for(codec, token), Some(token), "{codec}");
        }
        for codec in ["http://codec.example", "http://localhost.example", "http://10.0.0.1", "localhost", ""] {
            assert_eq!(token_for(codec, token), None, "{codec}");
        }
        assert_eq!(token_for("https://codec.example", "Basic dTpw"), None, "a password is none");
    }

    #[test]
    fn a_codec_server_adds_its_origin_and_nothing_else() {
        assert_eq!(origin("https://codec.example:8080/x/{namespace}").as_deref(), Some("https://codec.example:8080"));
        assert_eq!(origin("https://codec.example:8080/decode?x=1").as_deref(), Some("https://codec.example:8080"));
        for url in ["javascript:alert(1)", "https://a;script-src *", "https://a b", "//a", "ftp://a", "https://u:p@a", ""] {
            assert_eq!(origin(url), None, "{url}");
        }
        assert!(policy(Some("http://c")).contains("connect-src 'self' http://c; "));
        assert!(!policy(None).contains("unsafe"));
    }
}
