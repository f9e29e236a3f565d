//! Whether a form was sent from a page of this server.
//!
//! Every form carries a token that the browser also has as a cookie, which no other site can read or have sent
//! (`SameSite=Strict`). Neighbours (another port of this host, a sibling domain) may set it; but browsers say where a form was
//! sent from, and anything but this very origin is refused, so that one who plants cookies gets no further.

use http::{HeaderMap, header};
use tonic::Status;
use uuid::Uuid;

use crate::visit::Visit;

pub(crate) const COOKIE: &str = "sempre_token";
pub(crate) const FIELD: &str = "_token";
/// Letters of a token.
const LENGTH: usize = 32;

/// A new token: 122 random bits of the system.
pub(crate) fn fresh() -> String {
    Uuid::new_v4().simple().to_string()
}

/// It looks like one of ours.
pub(crate) fn is_whole(token: &str) -> bool {
    token.len() == LENGTH && token.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Refuses forms that no page of this server has sent.
pub(crate) fn check(visit: &Visit, headers: &HeaderMap) -> Result<(), Status> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let origin = text(header::ORIGIN.as_str());
    let same = origin.split_once("://").is_some_and(|(_, origin)| !origin.is_empty() && origin == text(header::HOST.as_str()));
    if !same || !matches!(text("sec-fetch-site"), "" | "same-origin") {
        return Err(Status::permission_denied("This form was not sent from a page of this server, so nothing was done."));
    }
    if visit.token_is_new || !equal(visit.sent_token(), &visit.token) {
        return Err(Status::permission_denied(
            "The page this form was on is out of date or cookies are blocked, so nothing was done. Go back, load the page again, and send the form anew.",
        ));
    }
    Ok(())
}

/// Takes as long for every token of the right length.
fn equal(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}
