//! Clients of the official SDK whose calls go straight to the services: no socket, no HTTP/2.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures::{FutureExt, future::BoxFuture};
use http_body_util::{BodyExt, Full};
use sempre_core::Span;
use sempre_server::{Service, status};
use temporalio_client::{
    Client, ClientOptions, Connection, ConnectionOptions, Url,
    callback_based::{CallbackBasedGrpcService, GrpcRequest, GrpcSuccessResponse},
    errors::{ClientConnectError, ClientNewError},
};
use tonic::Status;

use crate::Sempre;

/// What the client is told to connect to. Nobody does.
const NOWHERE: &str = "http://sempre.invalid";
/// Retention of a namespace that is made for a client.
const RETENTION: Span = Span::seconds(24 * 3600);
/// The flag and the length before each message of gRPC.
const PREFIX_BYTES: usize = 5;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The namespace cannot be made.
    #[error("namespace `{name}`: {reason}")]
    Namespace {
        /// Its name.
        name: String,
        /// What the server said.
        reason: String,
    },
    /// The client did not connect.
    #[error(transparent)]
    Connect(#[from] ClientConnectError),
    /// The client did not take its options.
    #[error(transparent)]
    Options(#[from] ClientNewError),
}

/// Gives a call to the server, and its answer.
pub type Carry = Box<dyn FnOnce(GrpcRequest) -> Answer + Send>;
/// What stands between a client and the server: it sees each call and may lose it, or its answer, or hold it back.
pub type Wire = Arc<dyn Fn(GrpcRequest, Carry) -> Answer + Send + Sync>;
/// An answer, once it is there.
pub type Answer = BoxFuture<'static, Result<GrpcSuccessResponse, Status>>;

/// Told of a call that begins; what it gives is kept until the call ends.
pub(crate) type OnCall<G> = Arc<dyn Fn(&GrpcRequest) -> G + Send + Sync>;

impl Sempre {
    /// A client of a namespace, which is made if it is not there. Workers take it too.
    pub async fn client(&self, namespace: &str) -> Result<Client, ClientError> {
        self.client_with(namespace, Arc::new(|_| ())).await
    }

    /// A client whose calls go over a wire of the caller's: for tests of what happens when calls or answers are lost, or a worker
    /// is cut off at a chosen moment.
    pub async fn client_over(&self, namespace: &str, wire: Wire) -> Result<Client, ClientError> {
        self.ensure(namespace).await?;
        let service = self.service().clone();
        let connection = connect(move |request| {
            let service = service.clone();
            wire(request, Box::new(move |request| async move { call(&service, request).await }.boxed()))
        });
        Ok(Client::new(connection.await?, ClientOptions::new(namespace).build())?)
    }

    /// A connection, for clients with options of their own. The namespaces they name must be there.
    pub async fn connection(&self) -> Result<Connection, ClientError> {
        Ok(connect(straight(self.service().clone(), Arc::new(|_| ()))).await?)
    }

    pub(crate) async fn client_with<G: Send + 'static>(&self, namespace: &str, on_call: OnCall<G>) -> Result<Client, ClientError> {
        self.ensure(namespace).await?;
        let connection = connect(straight(self.service().clone(), on_call)).await?;
        Ok(Client::new(connection, ClientOptions::new(namespace).build())?)
    }

    async fn ensure(&self, namespace: &str) -> Result<(), ClientError> {
        let made = self.engine().ensure_namespace(namespace, RETENTION).await;
        made.map_err(|refusal| ClientError::Namespace {
            name: namespace.to_owned(),
            reason: status::from_refusal(refusal).message().to_owned(),
        })
    }
}

fn straight<G: Send + 'static>(service: Service, on_call: OnCall<G>) -> impl Fn(GrpcRequest) -> Answer + Send + Sync + 'static {
    move |request| {
        let (service, guard) = (service.clone(), on_call(&request));
        async move {
            let answer = call(&service, request).await;
            drop(guard);
            answer
        }
        .boxed()
    }
}

async fn connect(callback: impl Fn(GrpcRequest) -> Answer + Send + Sync + 'static) -> Result<Connection, ClientConnectError> {
    let target = Url::parse(NOWHERE).expect("it is a URL");
    let options = ConnectionOptions::new(target)
        .identity(format!("{}@embedded", std::process::id()))
        .service_override(CallbackBasedGrpcService { callback: Arc::new(callback) })
        // There is no host to look up, and no connection to keep alive.
        .dns_load_balancing(None)
        .keep_alive(None)
        .build();
    Connection::connect(options).await
}

/// One call with one answer: what the SDK makes.
pub(crate) async fn call(service: &Service, request: GrpcRequest) -> Result<GrpcSuccessResponse, Status> {
    let GrpcRequest { service: name, rpc, headers, proto } = request;
    let response = service.call(framed(&name, &rpc, headers, &proto)?).await;
    let (parts, body) = response.into_parts();
    let body = body.collect().await?;
    let told = body.trailers().and_then(Status::from_header_map).or_else(|| Status::from_header_map(&parts.headers));
    match told {
        Some(status) if status.code() != tonic::Code::Ok => return Err(status),
        Some(_) => {}
        None => return Err(Status::internal("the answer has no status")),
    }
    let bytes = body.to_bytes();
    let proto = bytes.get(PREFIX_BYTES..).ok_or_else(|| Status::internal("the answer has no message"))?;
    Ok(GrpcSuccessResponse { headers: parts.headers, proto: proto.to_vec() })
}

fn framed(service: &str, rpc: &str, headers: http::HeaderMap, proto: &Bytes) -> Result<http::Request<Full<Bytes>>, Status> {
    let length = u32::try_from(proto.len()).map_err(|_| Status::resource_exhausted("the message is too large"))?;
    let mut body = BytesMut::with_capacity(PREFIX_BYTES + proto.len());
    body.put_u8(0);
    body.put_u32(length);
    body.put_slice(proto);
    let request = http::Request::post(format!("{NOWHERE}/{service}/{rpc}")).version(http::Version::HTTP_2);
    let mut request = request.body(Full::new(body.freeze())).map_err(|error| Status::internal(error.to_string()))?;
    *request.headers_mut() = headers;
    Ok(request)
}
