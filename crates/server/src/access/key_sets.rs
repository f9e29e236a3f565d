//! Where the public keys of an issuer come from: a file, or a URL that is asked again from time to time. A URL that ends as that of an
//! issuer's configuration does (OpenID Connect Discovery 1.0) gives that, which names the URL of the keys; it is read each time before them.
//!
//! | what | then |
//! |---|---|
//! | the keys are so old that they are looked at again | they are read again |
//! | a token names a key that is not there | they are read again at once, if they were not just now |
//! | they cannot be read, or the configuration is not the issuer's | the old ones stay, for a day if they are of a URL; the log says why |
#![expect(clippy::disallowed_methods, reason = "keys are asked for by the wall clock")]

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::Full;
use serde::Deserialize;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::{
    jwt::KeySet,
    settings::{AuthError, CONFIGURATION, is_in_the_clear, is_loopback},
};
use crate::http_client::{self, Tls};

/// How often keys are looked at: files each time, URLs when theirs are old.
pub(super) const LOOK_AFTER: Duration = Duration::from_secs(5);
/// Keys of a URL are asked for again after this.
const OLD_AFTER: Duration = Duration::from_secs(300);
/// Keys of a URL that nobody has confirmed for so long count no more.
const DEAD_AFTER: Duration = Duration::from_secs(24 * 3600);
/// An issuer is asked for a key that it did not have at most so often.
const UNKNOWN_AFTER: Duration = Duration::from_secs(5);
/// How long an issuer may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
const SET_BYTES_MAX: usize = 1 << 20;

enum Place {
    File(PathBuf),
    Url(Uri),
    /// The URL of the configuration of this issuer.
    Configuration(Uri, String),
}

/// What an issuer says of itself, as far as it is asked for.
#[derive(Deserialize)]
struct Configuration {
    issuer: String,
    jwks_uri: String,
}

/// See the module.
pub(crate) struct KeySource {
    place: Place,
    tls: Tls,
    keys: RwLock<Arc<KeySet>>,
    /// One asks at a time.
    asked: Mutex<Asked>,
}

#[derive(Default)]
struct Asked {
    /// When it was asked, by whomever: a caller may have gone before there was an answer.
    last: Option<Instant>,
    /// When that came to an end, well or not.
    ended: Option<Instant>,
    /// When it was answered.
    answered: Option<Instant>,
}

impl KeySource {
    /// Of an issuer's keys. A file must be readable at once; a URL is asked later, for its issuer may come after this server.
    pub(crate) fn new(place: &str, issuer: &str) -> Result<Self, AuthError> {
        let (place, keys) = if place.starts_with("https://") || place.starts_with("http://") {
            let uri = place.parse::<Uri>().map_err(|error| AuthError(format!("{place} is no URL: {error}")))?;
            let place = if place.ends_with(CONFIGURATION) { Place::Configuration(uri, issuer.to_owned()) } else { Place::Url(uri) };
            (place, KeySet::default())
        } else {
            let path = PathBuf::from(place);
            let keys = of_file(&path).map_err(AuthError)?;
            (Place::File(path), keys)
        };
        Ok(Self { place, tls: Tls::default(), keys: RwLock::new(Arc::new(keys)), asked: Mutex::default() })
    }

    pub(crate) fn keys(&self) -> Arc<KeySet> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// True if there are other keys now.
    pub(crate) async fn refresh_if_old(&self) -> bool {
        let old_after = match self.place {
            Place::File(_) => Duration::ZERO,
            // What was never answered is asked for soon.
            Place::Url(_) | Place::Configuration(..) if self.asked.lock().await.answered.is_none() => LOOK_AFTER,
            Place::Url(_) | Place::Configuration(..) => OLD_AFTER,
        };
        // Only what came to an end counts: callers who leave must not keep the keys from being looked at.
        self.refresh(old_after, |asked| asked.ended).await
    }

    /// The same, because a token is signed by a key that is not there.
    pub(crate) async fn refresh_for_unknown(&self) -> bool {
        let before = self.keys();
        let after = if matches!(self.place, Place::File(_)) { Duration::ZERO } else { UNKNOWN_AFTER };
        // Another may have asked meanwhile.
        self.refresh(after, |asked| asked.ended.max(asked.last)).await || !Arc::ptr_eq(&before, &self.keys())
    }

    async fn refresh(&self, old_after: Duration, since: fn(&Asked) -> Option<Instant>) -> bool {
        let mut asked = self.asked.lock().await;
        if since(&asked).is_some_and(|last| last.elapsed() < old_after) {
            return false;
        }
        asked.last = Some(Instant::now());
        let answer = match &self.place {
            Place::File(path) => of_file(path),
            Place::Url(uri) => timely(uri, of_url(uri, &self.tls)).await,
            Place::Configuration(uri, issuer) => timely(uri, of_issuer(uri, issuer, &self.tls)).await,
        };
        asked.ended = Some(Instant::now());
        let keys = match answer {
            Ok(keys) => {
                asked.answered = Some(Instant::now());
                keys
            }
            Err(error) if !matches!(self.place, Place::File(_)) && asked.answered.is_some_and(|at| at.elapsed() > DEAD_AFTER) => {
                tracing::error!(error, "the keys of an issuer were not to be had for a day and count no more");
                KeySet::default()
            }
            Err(error) => {
                tracing::warn!(error, "the keys of an issuer cannot be read; the old ones stay in force");
                return false;
            }
        };
        let mut known = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if **known == keys {
            return false;
        }
        *known = Arc::new(keys);
        true
    }
}

fn of_file(path: &PathBuf) -> Result<KeySet, String> {
    let bytes = fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    KeySet::parse(&bytes).ok_or_else(|| format!("{} holds no JSON Web Key Set with a key that can be used", path.display()))
}

async fn timely(uri: &Uri, answer: impl Future<Output = Result<KeySet, String>>) -> Result<KeySet, String> {
    timeout(ANSWER_MAX, answer).await.unwrap_or_else(|_| Err(format!("{uri} does not answer")))
}

/// Keys that an issuer's configuration names. It must be that of the issuer itself: who can put another one there names keys of his own.
async fn of_issuer(uri: &Uri, issuer: &str, tls: &Tls) -> Result<KeySet, String> {
    let answer = get(uri, tls).await?;
    let configuration: Configuration =
        serde_json::from_slice(answer.bytes()).map_err(|error| format!("{uri} gives no configuration of an issuer: {error}"))?;
    if configuration.issuer != issuer {
        return Err(format!("{uri} is of the issuer {:?}, not of {issuer:?}", configuration.issuer));
    }
    let keys = configuration.jwks_uri;
    if is_loopback(&keys) && !is_loopback(&uri.to_string()) {
        return Err(format!("{uri} leads to {keys:?}, which is of this machine"));
    }
    if is_in_the_clear(&keys) {
        return Err(format!("{uri} has its keys at {keys:?}, where anybody on the way can change them"));
    }
    let keys = keys.parse::<Uri>().ok().filter(|keys| matches!(keys.scheme_str(), Some("https" | "http")));
    of_url(&keys.ok_or_else(|| format!("{uri} names no URL of keys"))?, tls).await
}

async fn of_url(uri: &Uri, tls: &Tls) -> Result<KeySet, String> {
    let answer = get(uri, tls).await?;
    KeySet::parse(answer.bytes()).ok_or_else(|| format!("{uri} gives no JSON Web Key Set with a key that can be used"))
}

async fn get(uri: &Uri, tls: &Tls) -> Result<http_client::Answer, String> {
    let request = Request::get(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(header::HOST, uri.authority().map_or("", |authority| http_client::host_of(authority.as_str())))
        .header(header::ACCEPT, "application/json")
        .body(Full::new(Bytes::new()))
        .map_err(|error| error.to_string())?;
    let answer = http_client::send(uri, request, tls, SET_BYTES_MAX).await?;
    if answer.status != StatusCode::OK {
        return Err(format!("{uri} answers {}", answer.status));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::sleep,
    };

    use super::*;

    const SET: &str =
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","alg":"EdDSA","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    fn answer(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    /// A caller who gives up while the issuer thinks must not keep others from learning its keys.
    #[tokio::test]
    async fn who_leaves_does_not_keep_keys_from_being_looked_at() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let source = KeySource::new(&format!("http://{}/keys", listener.local_addr().unwrap()), "i").unwrap();
        // The issuer takes the connection and says nothing: the caller goes.
        assert!(timeout(Duration::from_millis(50), source.refresh_for_unknown()).await.is_err());
        let answers = async {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                // The first is of the one who has gone.
                let _ = stream.write_all(answer(SET).as_bytes()).await;
                sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            changed = source.refresh_if_old() => assert!(changed),
            () = answers => {}
        }
    }

    /// What the keys are read as, of an issuer that gives this configuration (`{base}` is its own URL) and its keys at `/some/keys`.
    async fn of_configured(configuration: &str) -> Result<KeySet, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let source = KeySource::new(&format!("{base}{CONFIGURATION}"), &base).unwrap();
        let Place::Configuration(uri, issuer) = &source.place else { panic!("not taken for a configuration") };
        let answers = async {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") {
                    asked.push(stream.read_u8().await.unwrap());
                }
                let body = match String::from_utf8(asked).unwrap().split(' ').nth(1).unwrap() {
                    "/some/keys" => SET.to_owned(),
                    CONFIGURATION => configuration.replace("{base}", &base),
                    other => panic!("{other} was asked for"),
                };
                stream.write_all(answer(&body).as_bytes()).await.unwrap();
            }
        };
        tokio::select! {
            keys = of_issuer(uri, issuer, &source.tls) => keys,
            () = answers => unreachable!("it answers for ever"),
        }
    }

    #[tokio::test]
    async fn an_issuer_says_where_its_keys_are() {
        let keys = of_configured(r#"{"issuer":"{base}","jwks_uri":"{base}/some/keys","scopes_supported":["openid"]}"#).await;
        assert_eq!(keys, KeySet::parse(SET.as_bytes()).ok_or_else(String::new));
    }

    #[tokio::test]
    async fn a_configuration_that_is_not_the_issuers_or_leads_astray_gives_no_keys() {
        for (configuration, why) in [
            (r#"{"issuer":"https://other.example","jwks_uri":"{base}/some/keys"}"#, "is of the issuer \"https://other.example\""),
            (r#"{"issuer":"{base}/","jwks_uri":"{base}/some/keys"}"#, "is of the issuer"),
            (r#"{"issuer":"{base}","jwks_uri":"http://id.example/keys"}"#, "anybody on the way"),
            (r#"{"issuer":"{base}","jwks_uri":"HTTP://id.example/keys"}"#, "anybody on the way"),
            (r#"{"issuer":"{base}","jwks_uri":"file:///etc/keys"}"#, "names no URL of keys"),
            (r#"{"issuer":"{base}","jwks_uri":"keys"}"#, "names no URL of keys"),
            (r#"{"issuer":"{base}"}"#, "no configuration of an issuer"),
            (SET, "no configuration of an issuer"),
        ] {
            let told = of_configured(configuration).await.unwrap_err();
            assert!(told.contains(why), "{configuration}: {told}");
        }
    }
}
