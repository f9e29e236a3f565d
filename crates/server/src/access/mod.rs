//! Who calls, and whether he may.
//!
//! ```text
//! headers, certificate ─► authenticate ─► Caller ─┐
//!                path ─► table ─► Need ───────────┴─► let through, or PERMISSION_DENIED
//!                                     the namespace is read out of the message before anything decodes it (check)
//! ```
//! Nothing of this is done, nor costs anything, where nobody is asked who he is.
//!
//! What is known of credentials is remembered until anything changes by which they were believed: a key, a set of keys of
//! an issuer, a rule. Open calls end when their caller is not believed any more, or may not make them any more.
#![expect(clippy::disallowed_methods, reason = "credentials expire by the wall clock")]

mod check;
pub(crate) mod jwt;
pub(crate) mod key_sets;
pub(crate) mod keys;
mod roles;
pub(crate) mod scan;
pub(crate) mod settings;
pub(crate) mod table;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use sempre_core::Timestamp;
use sempre_engine::{Engine, KeyHash};
use tokio::{sync::watch, time::sleep};
use tonic::Status;

pub use self::settings::{AuthError, AuthSettings};
pub(crate) use self::{
    check::Check,
    roles::{Grants, Roles},
    table::WORKFLOW,
};
use self::{
    jwt::{NotBelieved, Token},
    key_sets::KeySource,
    settings::{CertificateRule, Issuer, RulesFile},
    table::{Need, Rule, Rules},
};
use crate::{
    ports::{Names, Peer},
    reload::{Print, Reloaded},
    status,
};

/// What a caller is told who has called another node, which did not ask.
const NOT_TOLD: &str = "the node that was called asks nobody who he is";
/// Credentials that are remembered; beyond, all are forgotten and believed anew.
const KNOWN_MAX: usize = 16_384;
/// The longest wait of a timer.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// A caller who is believed.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Such as `key:0123456789ab ci`.
    pub(crate) name: Arc<str>,
    pub(crate) grants: Grants,
    /// Not believed any more from then on.
    pub(crate) expires: Option<Timestamp>,
    /// What it was believed by.
    version: Version,
}

/// Beside a call that nobody makes: the server itself asks, and it may.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByServer;

/// Changes of API keys, changes of everything else.
type Version = (u64, u64);

/// See the module; cheap to clone.
#[derive(Clone)]
pub(crate) struct Access(Arc<Inner>);

struct Inner {
    engine: Engine,
    settings: AuthSettings,
    rules: Rules,
    basis: RwLock<Arc<Basis>>,
    /// Of the files that were looked at last.
    seen: Mutex<Print>,
    known: RwLock<HashMap<KeyHash, Arc<Caller>>>,
    key_changes: watch::Receiver<u64>,
    changes: watch::Sender<u64>,
    refused: AtomicU64,
}

/// What callers are believed by, beside API keys.
struct Basis {
    admin_key: Option<KeyHash>,
    issuers: Vec<(Issuer, Arc<KeySource>)>,
    certificates: Vec<CertificateRule>,
}

/// Who was let in, and by what it is told that he is not any more.
pub(crate) struct Pass {
    access: Access,
    given: Given,
    peer: Option<Arc<Peer>>,
    pub(crate) caller: Option<Arc<Caller>>,
    still: Still,
}

/// What the caller must be allowed for the call to go on.
enum Still {
    Need(Need),
    Within(String, Roles),
    /// What the call's message says, once it has come.
    Message(Arc<Rule>, Seen),
}

/// The message of a call, once it was looked at.
pub(crate) type Seen = Arc<OnceLock<Bytes>>;

impl Basis {
    /// Reads the files. Key sets of before are kept where their place is the same.
    fn read(settings: &AuthSettings, before: Option<&Self>) -> Result<Self, AuthError> {
        let rules = settings.rules_file.as_deref().map(RulesFile::read).transpose()?.unwrap_or_default();
        let admin_key = settings.admin_key_file.as_deref().map(|path| {
            let make = || keys::new_key().ok_or_else(|| AuthError("the system gives no random bits".into()));
            // One that is taken away later is not made anew behind the admin's back.
            settings::admin_key(path, before.is_none().then_some(make))
        });
        let admin_key = admin_key.transpose()?.map(|key| keys::hash(&key));
        let issuers = rules.jwt.into_iter().map(|issuer| {
            let known = before
                .and_then(|basis| basis.issuers.iter().find(|(known, _)| (&known.keys, &known.issuer) == (&issuer.keys, &issuer.issuer)));
            let source =
                known.map_or_else(|| KeySource::new(&issuer.keys, &issuer.issuer).map(Arc::new), |(_, source)| Ok(source.clone()))?;
            Ok((issuer, source))
        });
        Ok(Self { admin_key, issuers: issuers.collect::<Result<_, AuthError>>()?, certificates: rules.certificates })
    }
}

impl AuthSettings {
    /// Reads the files and tells what is wrong with them; makes the admin's key if it is not there.
    pub fn check(&self) -> Result<(), AuthError> {
        Basis::read(self, None).map(drop)
    }
}

impl Access {
    pub(crate) fn new(engine: Engine, settings: AuthSettings) -> Result<Self, AuthError> {
        let basis = RwLock::new(Arc::new(Basis::read(&settings, None)?));
        let key_changes = engine.api_key_changes();
        let seen = Mutex::new(settings.print());
        Ok(Self(Arc::new(Inner {
            engine,
            settings,
            seen,
            rules: Rules::new(),
            basis,
            known: RwLock::default(),
            key_changes,
            changes: watch::Sender::new(0),
            refused: AtomicU64::new(0),
        })))
    }

    /// Calls that were refused.
    pub(crate) fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Reads the files again. What cannot be used changes nothing, and is told once, unless somebody has `asked`.
    pub(crate) fn reload(&self, asked: bool) -> Reloaded<AuthError> {
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let print = self.0.settings.print();
        if std::mem::replace(&mut *seen, print) == print && !asked {
            return Reloaded::Unchanged;
        }
        match Basis::read(&self.0.settings, Some(&self.basis())) {
            Ok(basis) => {
                *self.0.basis.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(basis);
                self.changed();
                Reloaded::Changed
            }
            Err(error) => Reloaded::Refused(error),
        }
    }

    /// What callers were believed by has changed.
    fn changed(&self) {
        self.0.changes.send_modify(|count| *count += 1);
    }

    fn basis(&self) -> Arc<Basis> {
        self.0.basis.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn version(&self) -> Version {
        (*self.0.key_changes.borrow(), *self.0.changes.borrow())
    }

    /// Looks at the key sets of issuers until it is dropped.
    pub(crate) async fn watch_key_sets(self) {
        loop {
            let sources: Vec<_> = self.basis().issuers.iter().map(|(_, source)| source.clone()).collect();
            for source in sources {
                if source.refresh_if_old().await {
                    self.changed();
                }
            }
            sleep(key_sets::LOOK_AFTER).await;
        }
    }

    /// A method's call begins: whoever may not call it, whatever the request says, is refused. The rest of the check is for
    /// the request's message.
    pub(crate) async fn enter(&self, path: &str, headers: &HeaderMap, peer: Option<&Arc<Peer>>) -> Result<(Pass, Option<Check>), Status> {
        let rule = self.0.rules.of(path);
        // What is not in the table is not there: whoever is known is told so.
        let need = rule.map_or(Need::Caller, |rule| rule.need);
        let pass = self.require(need, headers, peer).await?;
        let check = rule.zip(pass.caller.clone()).filter(|(rule, _)| matches!(rule.need, Need::Namespace(_)));
        let Some((rule, caller)) = check else { return Ok((pass, None)) };
        let seen = Seen::default();
        let pass = Pass { still: Still::Message(rule.clone(), seen.clone()), ..pass };
        Ok((pass, Some(Check::new(self.clone(), rule.clone(), caller, seen))))
    }

    /// Whether a method's caller is known, where he must be: whoever is not needs not say more. Counts nothing, as the call itself
    /// is refused then.
    pub(crate) async fn knows(&self, path: &str, headers: &HeaderMap, peer: Option<&Arc<Peer>>) -> bool {
        let need = self.0.rules.of(path).map_or(Need::Caller, |rule| rule.need);
        need == Need::Nothing || self.authenticate(&Given::of(headers), peer).await.is_ok()
    }

    /// A call that another node has sent must say who makes it, where he has to be known: a node that asks nobody is no way round this one.
    pub(crate) fn told<B>(&self, request: &http::Request<B>) -> Result<(), Status> {
        let need = self.0.rules.of(request.uri().path()).map_or(Need::Caller, |rule| rule.need);
        let (caller, server) = (request.extensions().get::<Arc<Caller>>(), request.extensions().get::<ByServer>());
        let told = need == Need::Nothing || caller.is_some() || server.is_some();
        if told { Ok(()) } else { Err(self.refuse(NOT_TOLD)) }
    }

    /// Whoever is let through by this need. Of a namespace's roles nothing is checked here.
    pub(crate) async fn require(&self, need: Need, headers: &HeaderMap, peer: Option<&Arc<Peer>>) -> Result<Pass, Status> {
        let given = Given::of(headers);
        let caller = match need {
            Need::Nothing => None,
            _ => Some(self.authenticate(&given, peer).await.map_err(|why| self.refuse(why))?),
        };
        match (need, &caller) {
            (Need::System(roles), Some(caller)) if !caller.grants.everywhere(roles) => Err(self.refuse("")),
            _ => Ok(Pass { access: self.clone(), given, peer: peer.cloned(), caller, still: Still::Need(need) }),
        }
    }

    /// Whoever has one of the roles in a namespace.
    pub(crate) async fn require_in(
        &self,
        namespace: &str,
        roles: Roles,
        headers: &HeaderMap,
        peer: Option<&Arc<Peer>>,
    ) -> Result<Pass, Status> {
        let pass = self.require(Need::Caller, headers, peer).await?;
        let allowed = pass.caller.as_ref().is_some_and(|caller| caller.grants.within(namespace, roles));
        if allowed { Ok(Pass { still: Still::Within(namespace.to_owned(), roles), ..pass }) } else { Err(self.refuse("")) }
    }

    /// Whoever may call a Nexus endpoint, by its id. One that is not there is told by whoever looks for it.
    pub(crate) async fn require_endpoint(&self, id: &str, headers: &HeaderMap, peer: Option<&Arc<Peer>>) -> Result<(), Status> {
        let pass = self.require(Need::Caller, headers, peer).await?;
        let (Some(caller), Some((name, to))) = (pass.caller, self.0.engine.endpoint_with_id(id)) else { return Ok(()) };
        let allowed = caller.grants.endpoint(&name)
            || matches!(to, sempre_engine::LeadsTo::Namespace(namespace) if caller.grants.within(&namespace, Roles::WRITE));
        if allowed { Ok(()) } else { Err(self.refuse("")) }
    }

    fn refuse(&self, why: &str) -> Status {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
        status::unauthorized(why)
    }

    async fn authenticate(&self, given: &Given, peer: Option<&Arc<Peer>>) -> Result<Arc<Caller>, &'static str> {
        match self.believe(given, peer) {
            Err((NotBelieved::UnknownKey, Some(source))) => {
                // The issuer may have new keys; it is asked at most so often.
                if source.refresh_for_unknown().await {
                    self.changed();
                }
                self.believe(given, peer).map_err(|(why, _)| why.text())
            }
            told => told.map_err(|(why, _)| why.text()),
        }
    }

    /// Whose credentials these are. With an unknown key comes the set in which it was looked for.
    fn believe(&self, given: &Given, peer: Option<&Arc<Peer>>) -> Result<Arc<Caller>, (NotBelieved, Option<Arc<KeySource>>)> {
        let (version, now) = (self.version(), self.0.engine.wall_now());
        match given {
            Given::Nothing => {
                let by_certificate = peer.and_then(|peer| self.by_certificate(peer, version));
                by_certificate.ok_or((NotBelieved::NoCredentials, None))
            }
            Given::One(given) => {
                let secret = given.to_str().ok().and_then(bearer).filter(|secret| secret.len() <= jwt::TOKEN_BYTES_MAX);
                let secret = secret.ok_or((NotBelieved::NoToken, None))?;
                let hash = keys::hash(secret);
                let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner).get(&hash).cloned();
                if let Some(caller) = known.filter(|caller| caller.version == version && caller.is_live(now)) {
                    return Ok(caller);
                }
                let caller = Arc::new(self.by_secret(secret, &hash, version, now)?);
                let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
                if known.len() >= KNOWN_MAX {
                    known.clear();
                }
                known.insert(hash, caller.clone());
                Ok(caller)
            }
            Given::Several => Err((NotBelieved::NoToken, None)),
        }
    }

    fn by_secret(
        &self,
        secret: &str,
        hash: &KeyHash,
        version: Version,
        now: Timestamp,
    ) -> Result<Caller, (NotBelieved, Option<Arc<KeySource>>)> {
        let basis = self.basis();
        if basis.admin_key.as_ref() == Some(hash) {
            let grants = Grants::of(["*:admin"]).unwrap_or_default();
            return Ok(Caller { name: "admin key".into(), grants, expires: None, version });
        }
        if let Some(key) = self.0.engine.api_key(hash) {
            let expires = (key.expires_at != 0).then_some(Timestamp(key.expires_at));
            let mut grants = Grants::default();
            for grant in &key.grants {
                // Of a newer version of this program, perhaps: what is not understood grants nothing.
                let _ = grants.add(grant);
            }
            let name = format!("key:{} {}", sempre_engine::key_id(hash), key.name);
            let caller = Caller { name: name.trim_end().into(), grants, expires, version };
            return if caller.is_live(now) { Ok(caller) } else { Err((NotBelieved::KeyExpired, None)) };
        }
        if basis.issuers.is_empty() {
            return Err((NotBelieved::NoToken, None));
        }
        let token = Token::parse(secret).map_err(|why| (why, None))?;
        let found = basis.issuers.iter().find(|(issuer, _)| issuer.issuer == token.issuer());
        let (issuer, source) = found.ok_or((NotBelieved::Issuer, None))?;
        let claimed = token.check(issuer, &source.keys(), now).map_err(|why| (why, Some(source.clone())))?;
        let name = format!("jwt:{} {}", issuer.issuer, claimed.subject);
        Ok(Caller { name: name.trim_end().into(), grants: claimed.grants, expires: Some(claimed.expires), version })
    }

    fn by_certificate(&self, peer: &Peer, version: Version) -> Option<Arc<Caller>> {
        let names = peer.certificate.as_ref()?;
        let mut known = peer.caller.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(caller) = known.as_ref().filter(|caller| caller.version == version) {
            return Some(caller.clone());
        }
        let basis = self.basis();
        let mut grants = Grants::default();
        let mut fitting = basis.certificates.iter().filter(|rule| rule.fits(names)).peekable();
        // A certificate without a rule is for the connection alone.
        fitting.peek()?;
        fitting.for_each(|rule| grants.join(&rule.granted));
        let caller = Arc::new(Caller { name: format!("certificate:{}", names.subject).into(), grants, expires: None, version });
        *known = Some(caller.clone());
        Some(caller)
    }
}

impl CertificateRule {
    fn fits(&self, names: &Names) -> bool {
        let is = |wanted: &Option<String>, found: &[String]| wanted.as_ref().is_none_or(|wanted| found.contains(wanted));
        is(&self.common_name, names.common_name.as_slice()) && is(&self.dns, &names.dns) && is(&self.uri, &names.uris)
    }
}

impl Caller {
    /// One who is believed because another node does: it looks after how long.
    pub(crate) fn decided_elsewhere(name: Arc<str>, grants: Grants, expires: Option<Timestamp>) -> Self {
        Self { name, grants, expires, version: Version::default() }
    }

    fn is_live(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| expires > now)
    }
}

impl Pass {
    /// Whether this is still allowed to the caller, as he is known now.
    fn allows(&self, caller: &Arc<Caller>) -> bool {
        match &self.still {
            Still::Need(Need::System(roles)) => caller.grants.everywhere(*roles),
            Still::Need(_) => true,
            Still::Within(namespace, roles) => caller.grants.within(namespace, *roles),
            Still::Message(rule, seen) => match seen.get() {
                Some(message) => Check::new(self.access.clone(), rule.clone(), caller.clone(), seen.clone()).allows(message) == Ok(true),
                // It would be looked at with the grants of before.
                None => self.caller.as_ref().is_some_and(|before| before.grants == caller.grants),
            },
        }
    }

    /// Resolves when the caller is not believed any more, or may not do this any more; gives what he is told.
    pub(crate) async fn gone(&self) -> Status {
        let Some(caller) = &self.caller else { return std::future::pending().await };
        let inner = &self.access.0;
        let (mut keys, mut others) = (inner.key_changes.clone(), inner.changes.subscribe());
        let mut expires = caller.expires;
        keys.mark_unchanged();
        others.mark_unchanged();
        // What has changed since he came.
        if self.access.version() != caller.version {
            keys.mark_changed();
        }
        loop {
            let left = expires.map(|at| Duration::from_nanos((at.0 - inner.engine.wall_now().0).max(0).unsigned_abs()));
            let expiry = async {
                match left {
                    Some(left) => sleep(left.min(WAIT_MAX)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = keys.changed() => if changed.is_err() { return std::future::pending().await },
                changed = others.changed() => if changed.is_err() { return std::future::pending().await },
                () = expiry => {}
            }
            match self.access.believe(&self.given, self.peer.as_ref()) {
                Ok(caller) if self.allows(&caller) => expires = caller.expires,
                Ok(_) => return self.access.refuse(""),
                Err((why, _)) => return self.access.refuse(why.text()),
            }
        }
    }
}

/// What a request's headers say of its caller.
enum Given {
    Nothing,
    One(HeaderValue),
    /// Which of them counts is not for us to guess.
    Several,
}

impl Given {
    fn of(headers: &HeaderMap) -> Self {
        let mut all = headers.get_all(header::AUTHORIZATION).iter();
        match (all.next(), all.next()) {
            (None, _) => Self::Nothing,
            (Some(one), None) => Self::One(one.clone()),
            _ => Self::Several,
        }
    }
}

/// What follows `Bearer`; upper and lower case are the same there.
fn bearer(given: &str) -> Option<&str> {
    let (scheme, secret) = given.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim()).filter(|secret| !secret.is_empty())
}

/// Who a certificate says that its owner is, remembered for a connection.
pub(crate) type KnownByCertificate = Mutex<Option<Arc<Caller>>>;
