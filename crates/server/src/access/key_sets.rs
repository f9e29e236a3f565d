//! Where the public keys of an issuer come from: a file, or a URL that is asked again from time to time.
//!
//! | what | then |
//! |---|---|
//! | the keys are so old that they are looked at again | they are read again |
//! | a token names a key that is not there | they are read again at once, if they were not just now |
//! | they cannot be read | the old ones stay, for a day if they are of a URL; the log says why |
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
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::{jwt::KeySet, settings::AuthError};
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
    last: Option<Instant>,
    /// When it was answered.
    answered: Option<Instant>,
}

impl KeySource {
    /// A file must be readable at once; a URL is asked later, for its issuer may come after this server.
    pub(crate) fn new(place: &str) -> Result<Self, AuthError> {
        let (place, keys) = if place.starts_with("https://") || place.starts_with("http://") {
            let uri = place.parse().map_err(|error| AuthError(format!("{place} is no URL: {error}")))?;
            (Place::Url(uri), KeySet::default())
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
            Place::Url(_) if self.asked.lock().await.answered.is_none() => LOOK_AFTER,
            Place::Url(_) => OLD_AFTER,
        };
        self.refresh(old_after).await
    }

    /// The same, because a token is signed by a key that is not there.
    pub(crate) async fn refresh_for_unknown(&self) -> bool {
        let before = self.keys();
        let after = if matches!(self.place, Place::File(_)) { Duration::ZERO } else { UNKNOWN_AFTER };
        // Another may have asked meanwhile.
        self.refresh(after).await || !Arc::ptr_eq(&before, &self.keys())
    }

    async fn refresh(&self, old_after: Duration) -> bool {
        let mut asked = self.asked.lock().await;
        if asked.last.is_some_and(|last| last.elapsed() < old_after) {
            return false;
        }
        asked.last = Some(Instant::now());
        let answer = match &self.place {
            Place::File(path) => of_file(path),
            Place::Url(uri) => timeout(ANSWER_MAX, of_url(uri, &self.tls)).await.unwrap_or_else(|_| Err(format!("{uri} does not answer"))),
        };
        let keys = match answer {
            Ok(keys) => {
                asked.answered = Some(Instant::now());
                keys
            }
            Err(error) if matches!(self.place, Place::Url(_)) && asked.answered.is_some_and(|at| at.elapsed() > DEAD_AFTER) => {
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

async fn of_url(uri: &Uri, tls: &Tls) -> Result<KeySet, String> {
    let request = Request::get(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(header::HOST, uri.authority().map_or("", |authority| http_client::host_of(authority.as_str())))
        .header(header::ACCEPT, "application/json")
        .body(Full::new(Bytes::new()))
        .map_err(|error| error.to_string())?;
    let answer = http_client::send(uri, request, tls, SET_BYTES_MAX).await?;
    if answer.status != StatusCode::OK {
        return Err(format!("{uri} answers {}", answer.status));
    }
    KeySet::parse(answer.bytes()).ok_or_else(|| format!("{uri} gives no JSON Web Key Set with a key that can be used"))
}
