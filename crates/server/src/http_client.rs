//! One HTTP request on a connection of its own, for what this server tells others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use sempre_core::nexus::link::unescaped;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};

/// How `https` is spoken. Made when it first is: reading the system's certificates takes a while.
pub(crate) type Tls = OnceLock<Result<TlsConnector, String>>;

/// An answer, as far as it matters.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Result<Bytes, Cut>,
}

impl Answer {
    /// What there is of the body.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.body.as_deref().unwrap_or_default()
    }
}

/// Why a body is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It is larger than was allowed.
    TooLarge,
    /// The connection ended within it.
    Broken,
}

/// Requests to one host under way at once; more wait.
const REQUESTS_MAX: usize = 64;
/// Hosts that have room of their own; all others share that of one.
const HOSTS_MAX: usize = 1024;

/// Room for requests: a host that is slow to answer takes none from the others.
pub(crate) struct Permits {
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
    others: Arc<Semaphore>,
}

impl Permits {
    pub(crate) fn new() -> Self {
        Self { hosts: Mutex::default(), others: Arc::new(Semaphore::new(REQUESTS_MAX)) }
    }

    /// Waits for room at the host of a URL; it is given back when what is returned is dropped.
    pub(crate) async fn of(&self, uri: &Uri) -> Option<OwnedSemaphorePermit> {
        // The semaphores are never closed.
        self.host(uri).acquire_owned().await.ok()
    }

    fn host(&self, uri: &Uri) -> Arc<Semaphore> {
        let name = uri.authority().map_or("", |authority| host_of(authority.as_str())).to_ascii_lowercase();
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if !hosts.contains_key(&name) && hosts.len() >= HOSTS_MAX {
            // Those that nobody uses: permits hold their semaphore, as those do that wait.
            hosts.retain(|_, room| Arc::strong_count(room) > 1);
            if hosts.len() >= HOSTS_MAX {
                return self.others.clone();
            }
        }
        hosts.entry(name).or_insert_with(|| Arc::new(Semaphore::new(REQUESTS_MAX))).clone()
    }
}

/// Host and port of an authority.
pub(crate) fn host_of(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// The user and password that a URL names, as a header; one that is there stays.
pub(crate) fn authorize(uri: &Uri, headers: &mut HeaderMap) {
    let Some((user, _)) = uri.authority().and_then(|authority| authority.as_str().rsplit_once('@')) else { return };
    if headers.contains_key(header::AUTHORIZATION) {
        return;
    }
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let plain = |text: &str| unescaped(text).unwrap_or_else(|| text.to_owned());
    let encoded = BASE64_STANDARD.encode(format!("{}:{}", plain(name), plain(password)));
    if let Ok(value) = HeaderValue::from_str(&format!("Basic {encoded}")) {
        headers.insert(header::AUTHORIZATION, value);
    }
}

/// True for headers that belong to the connection: they are set here, or not at all.
pub(crate) fn is_of_connection(name: &HeaderName) -> bool {
    let ours =
        [header::CONNECTION, header::CONTENT_LENGTH, header::HOST, header::TE, header::TRAILER, header::TRANSFER_ENCODING, header::UPGRADE];
    ours.contains(name) || ["keep-alive", "proxy-connection"].contains(&name.as_str())
}

/// Sends a request to the host of a URL and reads at most so many bytes of the answer.
pub(crate) async fn send(uri: &Uri, request: Request<Full<Bytes>>, tls: &Tls, answer_bytes_max: usize) -> Result<Answer, String> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|e| format!("cannot connect to {host}:{port}: {e}"))?;
    if !secure {
        return exchange(stream, request, answer_bytes_max).await;
    }
    let connector = tls.get_or_init(connector).clone()?;
    let name = ServerName::try_from(host.clone()).map_err(|e| format!("{host} is no name of a server: {e}"))?;
    let stream = connector.connect(name, stream).await.map_err(|e| format!("no secure connection to {host}:{port}: {e}"))?;
    exchange(stream, request, answer_bytes_max).await
}

fn connector() -> Result<TlsConnector, String> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(system_roots()?)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The authorities that the system trusts.
pub(crate) fn system_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(format!("the system has no root certificates to check https addresses with: {:?}", found.errors));
    }
    Ok(roots)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    answer_bytes_max: usize,
) -> Result<Answer, String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(|e| format!("no answer: {e}"))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, answer_bytes_max).collect().await.map(|body| body.to_bytes());
        let body = body.map_err(|error| if error.is::<LengthLimitError>() { Cut::TooLarge } else { Cut::Broken });
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    };
    tokio::pin!(answer, connection);
    let mut connected = true;
    loop {
        tokio::select! {
            answer = &mut answer => return answer,
            // Its end is told through the answer.
            _ = &mut connection, if connected => connected = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn a_host_has_room_of_its_own() {
        let permits = Permits::new();
        let first = permits.host(&uri("http://A:1/x"));
        assert!(Arc::ptr_eq(&first, &permits.host(&uri("https://me:x@a:1/y"))));
        assert!(!Arc::ptr_eq(&first, &permits.host(&uri("http://a:2/x"))));
        // Only the first is in use: the others make room when it is needed.
        let held: Vec<_> = (0..HOSTS_MAX).map(|n| permits.host(&uri(&format!("http://h{n}/")))).collect();
        assert_eq!(permits.hosts.lock().unwrap().len(), HOSTS_MAX);
        assert!(Arc::ptr_eq(held.last().unwrap(), &permits.others), "all are in use, this was one too many");
        assert!(Arc::ptr_eq(&first, &permits.host(&uri("http://a:1/"))));
        drop(held);
        permits.host(&uri("http://new/"));
        assert_eq!(permits.hosts.lock().unwrap().len(), 2);
    }

    #[test]
    fn user_and_password_of_a_url_are_told() {
        let mut headers = HeaderMap::new();
        authorize(&uri("http://host/x@y"), &mut headers);
        assert!(headers.is_empty());
        authorize(&uri("http://me:p%40ss@host/"), &mut headers);
        assert_eq!(headers["authorization"], "Basic bWU6cEBzcw==");
        authorize(&uri("http://you@host/"), &mut headers);
        assert_eq!(headers["authorization"], "Basic bWU6cEBzcw==", "what is there stays");
    }
}
