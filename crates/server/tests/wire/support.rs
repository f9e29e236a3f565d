//! A server in this process, and raw calls to it.
#![expect(clippy::disallowed_methods, reason = "the server under test runs beside the test")]

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use prost::Message;
use sempre_api::{
    google,
    v1::{
        operatorservice::operator_service_client::OperatorServiceClient, workflowservice::workflow_service_client::WorkflowServiceClient,
    },
};
use sempre_engine::Engine;
use sempre_server::{Server, ServerError, ServerSettings};
use sempre_store::memory::MemoryStore;
use tokio::{sync::oneshot, task::JoinHandle};
use tonic::{
    Request, Response, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};

/// A running server; stops when told to or dropped.
pub(crate) struct TestServer {
    pub(crate) engine: Engine,
    pub(crate) channel: Channel,
    pub(crate) url: String,
    /// Where it answers HTTP.
    pub(crate) http: Option<SocketAddr>,
    /// Where it tells metrics and nothing else.
    pub(crate) metrics: Option<SocketAddr>,
    /// Where it serves the web UI.
    #[cfg(feature = "ui")]
    pub(crate) ui: Option<SocketAddr>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), ServerError>>,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(ServerSettings::default()).await
    }

    pub(crate) async fn start_with(mut settings: ServerSettings) -> Self {
        settings.address.set_port(0);
        Self::serve(Server::bind(settings, Arc::new(MemoryStore::new())).await.expect("the server starts")).await
    }

    /// Lets a server that listens answer.
    pub(crate) async fn serve(server: Server) -> Self {
        let engine = server.engine().clone();
        let url = format!("http://{}", server.local_addr());
        let http = server.http_addr();
        let metrics = server.metrics_addr();
        #[cfg(feature = "ui")]
        let ui = server.ui_addr();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(server.serve(async {
            // A dropped sender stops the server too.
            let _ = stopped.await;
        }));
        let channel = Endpoint::new(url.clone()).expect("a URL").connect().await.expect("the server answers");
        Self {
            engine,
            channel,
            url,
            http,
            metrics,
            #[cfg(feature = "ui")]
            ui,
            stop,
            served,
        }
    }

    pub(crate) fn workflow(&self) -> WorkflowServiceClient<Channel> {
        WorkflowServiceClient::new(self.channel.clone())
    }

    pub(crate) fn operator(&self) -> OperatorServiceClient<Channel> {
        OperatorServiceClient::new(self.channel.clone())
    }

    /// Tells the server to stop; the handle resolves when it has.
    pub(crate) fn stop(self) -> JoinHandle<Result<(), ServerError>> {
        self.stop.send(()).expect("the server runs");
        self.served
    }
}

/// Waits until `condition` holds, and fails when that does not come.
#[expect(clippy::disallowed_methods, reason = "a test that waits for what never comes ends by the wall clock")]
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(120), "what is waited for does not come");
        tokio::task::yield_now().await;
    }
}

/// One call with bytes for a request; gives the first message of the answer.
pub(crate) async fn raw_call(channel: &Channel, path: &str, body: &[u8], compress: bool) -> Result<Option<Bytes>, Status> {
    raw_call_as(channel, path, body, compress, None).await
}

/// The same with credentials.
pub(crate) async fn raw_call_as(
    channel: &Channel,
    path: &str,
    body: &[u8],
    compress: bool,
    authorization: Option<&str>,
) -> Result<Option<Bytes>, Status> {
    let mut client = Grpc::new(channel.clone());
    if compress {
        client = client.send_compressed(tonic::codec::CompressionEncoding::Gzip);
    }
    client.ready().await.expect("connected");
    let path = PathAndQuery::try_from(path).expect("a path");
    let mut request = Request::new(Bytes::copy_from_slice(body));
    if let Some(authorization) = authorization {
        request.metadata_mut().insert("authorization", authorization.parse().expect("a header"));
    }
    let answer: Response<tonic::Streaming<Bytes>> = client.server_streaming(request, path, RawCodec).await?;
    answer.into_inner().message().await
}

/// Code, text and the only detail's type and value.
pub(crate) fn read(status: &Status) -> (tonic::Code, String, Option<(String, Bytes)>) {
    let details = google::rpc::Status::decode(status.details()).expect("details decode").details;
    assert!(details.len() <= 1);
    let detail = details.into_iter().next().map(|any| {
        let name = any.type_url.strip_prefix("type.googleapis.com/temporal.api.errordetails.v1.").expect("an error detail");
        (name.to_owned(), any.value.into())
    });
    (status.code(), status.message().to_owned(), detail)
}

struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put(buffer, item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = bytes::Buf::remaining(buffer);
        Ok(Some(bytes::Buf::copy_to_bytes(buffer, length)))
    }
}
