//! One HTTP request on a connection of its own, for what this server tells others.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
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
    /// `None`: it is larger than was allowed, or broke off.
    pub(crate) body: Option<Bytes>,
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
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(format!("the system has no root certificates to check https addresses with: {:?}", found.errors));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
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
        let body = Limited::new(body, answer_bytes_max).collect().await.map(|body| body.to_bytes()).ok();
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
