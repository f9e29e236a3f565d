//! Sends messages to a receiver of OTLP, on one connection that is kept: gRPC, or protobuf over HTTP/1.
#![expect(clippy::disallowed_methods, reason = "a receiver answers by the wall clock")]

use std::{io::Write, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use http::{HeaderValue, Method, Request, Response, Uri, Version, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};
use tonic::{Code, Status};

use super::{
    messages::Exported,
    settings::{Certificates, Protocol, Target},
};
use crate::{
    frames::PREFIX_BYTES,
    http_client::{authorize, host_of},
};

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
const USER_AGENT: &str = concat!("OTel-OTLP-Exporter-Sempre/", env!("CARGO_PKG_VERSION"));

/// What is sent.
#[derive(Clone, Copy)]
pub(super) enum Signal {
    Traces,
    Metrics,
}

/// Why a message was not taken. The text is for an operator and holds no header of the settings.
pub(super) struct Failed {
    pub(super) text: String,
    /// It may be taken later.
    pub(super) again: bool,
}

/// See the module.
pub(super) struct Sender {
    target: Target,
    connector: Option<TlsConnector>,
    open: Option<Open>,
}

/// A connection, and the task that moves its bytes.
struct Open {
    requests: Requests,
    _connection: JoinSet<()>,
}

enum Requests {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

fn later(text: impl Into<String>) -> Failed {
    Failed { text: text.into(), again: true }
}

fn never(text: impl Into<String>) -> Failed {
    Failed { text: text.into(), again: false }
}

impl Sender {
    pub(super) fn new(target: Target) -> Self {
        Self { target, connector: None, open: None }
    }

    /// Where it sends to, without what may be secret.
    pub(super) fn receiver(&self) -> &str {
        &self.target.shown
    }

    /// Sends a message within the time that the settings allow.
    pub(super) async fn send(&mut self, signal: Signal, message: &impl Message) -> Result<(), Failed> {
        let within = self.target.timeout;
        let sent = timeout(within, self.exchange(signal, message.encode_to_vec())).await;
        let sent = sent.unwrap_or_else(|_| Err(later(format!("no answer within {} milliseconds", within.as_millis()))));
        if sent.is_err() {
            // Whatever it was, the next one begins anew.
            self.open = None;
        }
        sent
    }

    async fn exchange(&mut self, signal: Signal, message: Vec<u8>) -> Result<(), Failed> {
        let request = self.request(signal, message)?;
        let is_kept = self.open.is_some();
        let answer = match self.answer(request.clone()).await {
            // A connection that was kept may have been closed meanwhile.
            Err(_) if is_kept => {
                self.open = None;
                self.answer(request).await
            }
            answer => answer,
        };
        let (parts, body) = answer.map_err(later)?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|_| later("the answer broke off"))?;
        let trailers = body.trailers().cloned();
        let body = body.to_bytes();
        let taken = match self.target.protocol {
            Protocol::Grpc => {
                let status = trailers.as_ref().and_then(Status::from_header_map).or_else(|| Status::from_header_map(&parts.headers));
                let Some(status) = status else {
                    return Err(later(format!("the receiver has answered {} without a status of gRPC", parts.status)));
                };
                if status.code() != Code::Ok {
                    let text = format!("the receiver has answered {:?}: {}", status.code(), status.message());
                    return Err(if is_temporary(status.code()) { later(text) } else { never(text) });
                }
                body.get(PREFIX_BYTES..).unwrap_or_default()
            }
            Protocol::Http => {
                if !parts.status.is_success() {
                    let text = format!("the receiver has answered {}", parts.status);
                    return Err(if matches!(parts.status.as_u16(), 429 | 502 | 503 | 504) { later(text) } else { never(text) });
                }
                &body[..]
            }
        };
        // Some answer an empty object of JSON; what cannot be read says nothing.
        let refused = Exported::decode(taken).ok().and_then(|taken| taken.partial_success).filter(|refused| refused.rejected > 0);
        match refused {
            Some(refused) => Err(never(format!("the receiver has refused {} of them: {}", refused.rejected, refused.error_message))),
            None => Ok(()),
        }
    }

    fn request(&self, signal: Signal, message: Vec<u8>) -> Result<Request<Full<Bytes>>, Failed> {
        let Target { uri, protocol, headers, gzip, .. } = &self.target;
        let message = if *gzip { packed(&message) } else { message };
        let mut told = headers.clone();
        told.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        authorize(uri, &mut told);
        let host = uri.authority().map_or("", |authority| host_of(authority.as_str()));
        let (path, body, version) = match protocol {
            Protocol::Grpc => {
                told.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
                told.insert(header::TE, HeaderValue::from_static("trailers"));
                if *gzip {
                    told.insert("grpc-encoding", HeaderValue::from_static("gzip"));
                }
                let Ok(length) = u32::try_from(message.len()) else { return Err(never("the message is too large")) };
                let mut frame = BytesMut::with_capacity(PREFIX_BYTES + message.len());
                frame.put_u8(u8::from(*gzip));
                frame.put_u32(length);
                frame.put_slice(&message);
                let service = match signal {
                    Signal::Traces => "trace.v1.TraceService",
                    Signal::Metrics => "metrics.v1.MetricsService",
                };
                let scheme = uri.scheme_str().unwrap_or("http");
                let path = format!("{scheme}://{host}/opentelemetry.proto.collector.{service}/Export");
                (path, frame.freeze(), Version::HTTP_2)
            }
            Protocol::Http => {
                told.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
                if *gzip {
                    told.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                }
                told.insert(header::HOST, HeaderValue::from_str(host).map_err(|_| never("the endpoint's host cannot be named"))?);
                (uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(), message.into(), Version::HTTP_11)
            }
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.version_mut() = version;
        *request.uri_mut() = path.parse::<Uri>().map_err(|_| never("the endpoint is no URL"))?;
        *request.headers_mut() = told;
        Ok(request)
    }

    async fn answer(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String> {
        let open = match self.open.take() {
            Some(open) => open,
            None => self.connect().await?,
        };
        let open = self.open.insert(open);
        let answer = match &mut open.requests {
            Requests::Http1(requests) => {
                requests.ready().await.map_err(|error| error.to_string())?;
                requests.send_request(request).await
            }
            Requests::Http2(requests) => {
                requests.ready().await.map_err(|error| error.to_string())?;
                requests.send_request(request).await
            }
        };
        answer.map_err(|error| format!("no answer: {error}"))
    }

    async fn connect(&mut self) -> Result<Open, String> {
        let uri = &self.target.uri;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|e| format!("cannot connect to {host}:{port}: {e}"))?;
        if !secure {
            return self.open(stream).await;
        }
        let connector = self.connector(Certificates::config)?;
        let name = ServerName::try_from(host.clone()).map_err(|e| format!("{host} is no name of a server: {e}"))?;
        let stream = connector.connect(name, stream).await.map_err(|e| format!("no secure connection to {host}:{port}: {e}"))?;
        self.open(stream).await
    }

    /// Made with the first connection. One that cannot be made, as the files of the system's authorities may be away for a moment, is
    /// made with a later one.
    fn connector(&mut self, config: impl FnOnce(&Certificates) -> Result<ClientConfig, String>) -> Result<TlsConnector, String> {
        if let Some(made) = &self.connector {
            return Ok(made.clone());
        }
        let mut config = config(&self.target.tls)?;
        let protocol: &[u8] = match self.target.protocol {
            Protocol::Grpc => b"h2",
            Protocol::Http => b"http/1.1",
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(self.connector.insert(TlsConnector::from(Arc::new(config))).clone())
    }

    async fn open(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Open, String> {
        let (io, mut task) = (TokioIo::new(stream), JoinSet::new());
        let requests = match self.target.protocol {
            Protocol::Grpc => {
                let (requests, connection) = http2::handshake(TokioExecutor::new(), io).await.map_err(|error| error.to_string())?;
                // Its end is told through the requests, here and below.
                task.spawn(async move { drop(connection.await) });
                Requests::Http2(requests)
            }
            Protocol::Http => {
                let (requests, connection) = http1::handshake(io).await.map_err(|error| error.to_string())?;
                task.spawn(async move { drop(connection.await) });
                Requests::Http1(requests)
            }
        };
        Ok(Open { requests, _connection: task })
    }
}

/// As OTLP has it: these may be tried again.
fn is_temporary(code: Code) -> bool {
    use Code::{Aborted, Cancelled, DataLoss, DeadlineExceeded, OutOfRange, ResourceExhausted, Unavailable};
    matches!(code, Cancelled | DeadlineExceeded | ResourceExhausted | Aborted | OutOfRange | Unavailable | DataLoss)
}

fn packed(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(message.len() / 4), Compression::fast());
    // Memory takes everything.
    encoder.write_all(message).and_then(|()| encoder.finish()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::{RootCertStore, crypto::ring};

    use super::{super::settings::OtlpSettings, *};

    #[test]
    fn what_secures_connections_is_made_again_until_it_can_be() {
        let settings = OtlpSettings::read(&|_| None, Some("https://receiver"), None).unwrap().unwrap();
        let mut sender = Sender::new(settings.traces.unwrap());
        let no_files = "the system has no root certificates";
        let failed = sender.connector(|_| Err(no_files.into()));
        assert_eq!(failed.err().as_deref(), Some(no_files));
        let made = sender.connector(|_| {
            let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
            let builder = builder.with_safe_default_protocol_versions().unwrap();
            Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
        });
        assert_eq!(made.unwrap().config().alpn_protocols, [b"http/1.1".to_vec()]);
        sender.connector(|_| panic!("it is there")).expect("it is kept");
    }
}
