//! `sempre-echo FILE PORT`: a gRPC server that does nothing but decode requests and encode recorded answers.
//!
//! What its calls cost is what those of a real server cost at least, in the same library and with the same messages.

#![allow(clippy::disallowed_methods, reason = "a server without a clock to be moved")]

use std::{
    collections::HashMap,
    convert::Infallible,
    error::Error,
    marker::PhantomData,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use sempre_api::v1::workflowservice::{
    PollActivityTaskQueueRequest, PollActivityTaskQueueResponse, PollWorkflowTaskQueueRequest, PollWorkflowTaskQueueResponse,
    RespondActivityTaskCompletedRequest, RespondActivityTaskCompletedResponse, RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskCompletedResponse, StartWorkflowExecutionRequest, StartWorkflowExecutionResponse,
};
use sempre_bench::recording::{self, Recorded};
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    body::Body,
    codec::{EncodeBuf, Encoder},
    server::{Grpc, UnaryService},
};

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn Error + Send + Sync>;

/// A method: from a request to its answer.
trait Method: Send + Sync {
    fn answer(&self, request: http::Request<Incoming>) -> futures::future::BoxFuture<'static, http::Response<Body>>;
}

/// Answers of one method, in turn.
struct Answers<Q, A> {
    answers: Arc<Vec<Arc<A>>>,
    next: Arc<AtomicUsize>,
    request: PhantomData<fn(Q)>,
}

impl<Q, A> Clone for Answers<Q, A> {
    fn clone(&self) -> Self {
        Self { answers: self.answers.clone(), next: self.next.clone(), request: PhantomData }
    }
}

impl<Q: Message + Default + 'static, A: Message + Default + 'static> Answers<Q, A> {
    fn method(calls: &[&Recorded]) -> Result<Arc<dyn Method>, Failure> {
        let answers = calls.iter().map(|call| Ok(Arc::new(A::decode(call.answer.clone())?))).collect::<Result<Vec<_>, Failure>>()?;
        Ok(Arc::new(Self { answers: Arc::new(answers), next: Arc::default(), request: PhantomData }))
    }
}

impl<Q: Message + Default + 'static, A: Message + 'static> UnaryService<Q> for Answers<Q, A> {
    type Response = Arc<A>;
    type Future = std::future::Ready<Result<Response<Arc<A>>, Status>>;

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        std::hint::black_box(request.into_inner());
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.answers.len().max(1);
        std::future::ready(self.answers.get(at).cloned().map(Response::new).ok_or_else(|| Status::unimplemented("not recorded")))
    }
}

impl<Q: Message + Default + 'static, A: Message + 'static> Method for Answers<Q, A> {
    fn answer(&self, request: http::Request<Incoming>) -> futures::future::BoxFuture<'static, http::Response<Body>> {
        let service = self.clone();
        Box::pin(async move { Grpc::new(Codec::<Q, A>(PhantomData)).unary(service, request).await })
    }
}

/// Decodes as the server does; encodes an answer that is shared.
struct Codec<Q, A>(PhantomData<fn(Q) -> A>);

impl<Q: Message + Default + 'static, A: Message + 'static> tonic::codec::Codec for Codec<Q, A> {
    type Encode = Arc<A>;
    type Decode = Q;
    type Encoder = Shared<A>;
    type Decoder = <tonic_prost::ProstCodec<Q, Q> as tonic::codec::Codec>::Decoder;

    fn encoder(&mut self) -> Shared<A> {
        Shared(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        tonic_prost::ProstCodec::<Q, Q>::default().decoder()
    }
}

struct Shared<A>(PhantomData<fn(A)>);

impl<A: Message> Encoder for Shared<A> {
    type Item = Arc<A>;
    type Error = Status;

    fn encode(&mut self, item: Arc<A>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }
}

fn methods(calls: &[Recorded]) -> Result<HashMap<String, Arc<dyn Method>>, Failure> {
    let mut by_path: HashMap<&str, Vec<&Recorded>> = HashMap::new();
    for call in calls {
        by_path.entry(&call.path).or_default().push(call);
    }
    let mut methods = HashMap::new();
    for (path, calls) in by_path {
        let method = match path.rsplit('/').next().unwrap_or_default() {
            "StartWorkflowExecution" => Answers::<StartWorkflowExecutionRequest, StartWorkflowExecutionResponse>::method(&calls)?,
            "PollWorkflowTaskQueue" => Answers::<PollWorkflowTaskQueueRequest, PollWorkflowTaskQueueResponse>::method(&calls)?,
            "RespondWorkflowTaskCompleted" => {
                Answers::<RespondWorkflowTaskCompletedRequest, RespondWorkflowTaskCompletedResponse>::method(&calls)?
            }
            "PollActivityTaskQueue" => Answers::<PollActivityTaskQueueRequest, PollActivityTaskQueueResponse>::method(&calls)?,
            "RespondActivityTaskCompleted" => {
                Answers::<RespondActivityTaskCompletedRequest, RespondActivityTaskCompletedResponse>::method(&calls)?
            }
            other => return Err(format!("{other} is no call of a short workflow").into()),
        };
        methods.insert(path.to_owned(), method);
    }
    Ok(methods)
}

fn main() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1);
    let (Some(file), Some(port), None) = (words.next(), words.next(), words.next()) else {
        return Err("usage: sempre-echo FILE PORT (`sempre-bench bare` starts it)".into());
    };
    let methods = Arc::new(methods(&recording::read(Path::new(&file))?)?);
    let address = SocketAddr::from(([127, 0, 0, 1], port.parse()?));
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(address, methods))
}

async fn serve(address: SocketAddr, methods: Arc<HashMap<String, Arc<dyn Method>>>) -> Result<(), Failure> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let methods = methods.clone();
        let service = service_fn(move |request: http::Request<Incoming>| {
            let method = methods.get(request.uri().path()).cloned();
            async move {
                Ok::<_, Infallible>(match method {
                    Some(method) => method.answer(request).await,
                    None => Status::unimplemented("not recorded").into_http(),
                })
            }
        });
        // The numbers of the server (`connection.rs`).
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(10_000)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(8 << 20)
            .max_frame_size(64 << 10)
            .max_send_buf_size(1 << 20)
            .serve_connection(TokioIo::new(stream), service);
        // A client that breaks off is none of our business.
        tokio::spawn(async move { drop(connection.await) });
    }
}
