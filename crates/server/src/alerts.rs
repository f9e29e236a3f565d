//! Alerts over HTTP, as Standard Webhooks (standardwebhooks.com): a signed POST of JSON.
//!
//! | header | |
//! |---|---|
//! | `webhook-id` | the alert's id: the same when it is sent again |
//! | `webhook-timestamp` | when it was sent, seconds since 1970 |
//! | `webhook-signature` | `v1,` and base64 of HMAC-SHA256 over id, timestamp and body, with dots between |
//!
//! 2xx takes it; everything else, a redirect too, does not. Neither secrets nor the URL are in what is told of a failure.
#![expect(clippy::disallowed_methods, reason = "the other side answers by the wall clock")]

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use sempre_api::{
    json::{self, Payloads},
    sempre::v1::{Alert, AlertState},
};
use sempre_core::Refusal;
use sempre_engine::{AlertCall, AlertSender};
use serde_json::json;
use tokio::time::timeout;

use crate::http_client::{self, Permits, Tls, authorize, host_of};

/// What secrets begin with.
const PREFIX: &str = "whsec_";
/// Bytes of a secret.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Time for one attempt.
const ATTEMPT_MAX: Duration = Duration::from_secs(10);
/// Bytes of an answer's body that are read: nothing in it counts.
const ANSWER_BYTES_MAX: usize = 16 << 10;
const USER_AGENT: &str = concat!("sempre/", env!("CARGO_PKG_VERSION"));

/// See the module.
pub(crate) struct HttpAlerts {
    permits: Arc<Permits>,
    tls: Arc<Tls>,
}

impl HttpAlerts {
    pub(crate) fn new() -> Self {
        Self { permits: Arc::new(Permits::new()), tls: Arc::default() }
    }
}

/// A new secret of 256 random bits. `None`: the system gives no random bits.
pub(crate) fn new_secret() -> Option<String> {
    let mut bits = [0; 32];
    SystemRandom::new().fill(&mut bits).ok()?;
    Some(format!("{PREFIX}{}", BASE64_STANDARD.encode(bits)))
}

/// Refuses what is no secret.
pub(crate) fn check_secret(secret: &str) -> Result<(), Refusal> {
    key(secret)
        .map(drop)
        .ok_or_else(|| Refusal::invalid("alert rule: a secret is whsec_ and base64 of 24 to 64 bytes; leave it out to have one made"))
}

fn key(secret: &str) -> Option<hmac::Key> {
    let bytes = BASE64_STANDARD.decode(secret.strip_prefix(PREFIX)?).ok()?;
    SECRET_BYTES.contains(&bytes.len()).then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

fn signature(key: &hmac::Key, id: &str, seconds: i64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(key);
    context.update(format!("{id}.{seconds}.").as_bytes());
    context.update(body);
    format!("v1,{}", BASE64_STANDARD.encode(context.sign()))
}

/// What is sent: the alert, with what it is about.
fn body(alert: &Alert) -> Vec<u8> {
    let kind = match alert.state() {
        AlertState::Resolved => "alert.resolved",
        AlertState::Test => "alert.test",
        AlertState::LeftOut => "alert.left_out",
        AlertState::Firing | AlertState::Unspecified => "alert.firing",
    };
    let data = json::to_value(alert, Payloads::Shorthand);
    json!({ "type": kind, "timestamp": data["time"], "data": data }).to_string().into_bytes()
}

fn request(call: &AlertCall) -> Result<(Uri, Request<Full<Bytes>>), String> {
    let uri: Uri = call.url.parse().map_err(|_| "the webhook's URL cannot be used")?;
    let host = host_of(uri.authority().ok_or("the webhook's URL names no host")?.as_str()).to_owned();
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let key = key(&call.secret).ok_or("the webhook's secret cannot be used")?;
    let (body, seconds) = (body(&call.alert), call.now.millis() / 1000);
    let headers = [
        (header::HOST, host),
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::USER_AGENT, USER_AGENT.to_owned()),
        (header::CONNECTION, "close".to_owned()),
        (HeaderName::from_static("webhook-id"), call.alert.id.clone()),
        (HeaderName::from_static("webhook-timestamp"), seconds.to_string()),
        (HeaderName::from_static("webhook-signature"), signature(&key, &call.alert.id, seconds, &body)),
    ];
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path.parse().map_err(|_| "the webhook's URL cannot be used")?;
    for (name, value) in headers {
        request.headers_mut().insert(name, HeaderValue::from_str(&value).map_err(|_| "the webhook's URL cannot be used")?);
    }
    authorize(&uri, request.headers_mut());
    Ok((uri, request))
}

impl AlertSender for HttpAlerts {
    fn send(&self, call: AlertCall) -> BoxFuture<'static, Result<(), String>> {
        let (permits, tls) = (self.permits.clone(), self.tls.clone());
        async move {
            let (uri, request) = request(&call)?;
            // Waiting for it is no part of the attempt.
            let _permit = permits.of(&uri).await;
            match timeout(ATTEMPT_MAX, http_client::send(&uri, request, &tls, ANSWER_BYTES_MAX)).await {
                Ok(Ok(answer)) if answer.status.is_success() => Ok(()),
                Ok(Ok(answer)) => Err(format!("the webhook has answered {}", answer.status)),
                Ok(Err(text)) => Err(text),
                Err(_) => Err(format!("no answer within {} seconds", ATTEMPT_MAX.as_secs())),
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use sempre_core::Timestamp;

    use super::*;

    /// The example of the specification's own libraries.
    #[test]
    fn signatures_are_those_of_standard_webhooks() {
        let key = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secrets_are_checked_and_new_ones_differ() {
        let (a, b) = (new_secret().unwrap(), new_secret().unwrap());
        assert!(a != b && check_secret(&a).is_ok());
        for bad in ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_*"] {
            assert!(check_secret(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_request_has_all_that_its_receiver_checks() {
        let alert = Alert { id: "c-7".into(), state: AlertState::Resolved as i32, rule: "r".into(), ..Default::default() };
        let call = AlertCall {
            url: "https://me:p@hooks.test:1/a?b=c".into(),
            secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into(),
            alert,
            now: Timestamp::from_millis(5_999),
        };
        let (_, request) = request(&call).unwrap();
        assert_eq!((request.uri().to_string().as_str(), request.method()), ("/a?b=c", &Method::POST));
        let headers = request.headers();
        assert_eq!(
            (&headers["webhook-id"], &headers["webhook-timestamp"], &headers["host"]),
            (&"c-7".parse().unwrap(), &"5".parse().unwrap(), &"hooks.test:1".parse().unwrap())
        );
        assert!(headers["webhook-signature"].to_str().unwrap().starts_with("v1,") && headers.contains_key("authorization"));
        let told: serde_json::Value = serde_json::from_slice(&body(&call.alert)).unwrap();
        assert_eq!((told["type"].as_str(), told["data"]["rule"].as_str()), (Some("alert.resolved"), Some("r")));
        let odd = AlertCall { secret: "whsec_secret".into(), ..call };
        assert_eq!(super::request(&odd).unwrap_err(), "the webhook's secret cannot be used");
    }
}
