//! From an HTTP request to the service it names; what holds for every call is done here.
//!
//! Bounds the message (`frames`), keeps to the caller's deadline, and turns a panic into a masked
//! INTERNAL instead of a broken connection. Knows no method.
#![expect(clippy::disallowed_methods, reason = "a caller's deadline is counted by the wall clock")]

use std::{panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt;
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited};
use sempre_api::{
    grpc::health::v1::health_server::HealthServer,
    sempre::v1::{
        access_service_server::AccessServiceServer, alert_service_server::AlertServiceServer, flow_service_server::FlowServiceServer,
        inspect_service_server::InspectServiceServer, operate_service_server::OperateServiceServer,
        steer_service_server::SteerServiceServer, storage_service_server::StorageServiceServer,
        version_service_server::VersionServiceServer,
    },
    v1::{
        operatorservice::operator_service_server::OperatorServiceServer, testservice::test_service_server::TestServiceServer,
        workflowservice::workflow_service_server::WorkflowServiceServer,
    },
};
use sempre_core::{Refusal, Span};
use sempre_engine::{CallClass, Engine};
use serde_json::Value;
use tokio::time::Instant;
use tonic::{Code, Status, codegen::Service};

use crate::{
    access::{Access, ByServer, Caller, scan},
    audit::{self, Act, Audit, Pending},
    deadline,
    forward::{Forward, Sender, Until},
    frames::{BoundedMessages, MESSAGE_BYTES_MAX, PREFIX_BYTES},
    frontend::Frontend,
    health::HealthService,
    long_calls::LongCalls,
    meter::Meter,
    ports::Peer,
    reflection::{self, Reflection},
    requests::{MethodStats, Requests},
    room::{Held, Over, Room, Waiter, told_after},
    start_gate::StartGate,
    status,
    telemetry::trace::Tracer,
    test_service::TimeService,
    unread::{self, HasRoom},
    worlds::Worlds,
};

/// A call that comes from this process, for a client whose call waits for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inside;

/// What it is counted as until then: its task and its stream, and nothing of what came.
const TURNED_AWAY_BYTES: u64 = 2 << 10;

pub(crate) type Response = http::Response<tonic::body::Body>;

/// All services of one server; cheap to clone.
#[derive(Clone)]
pub(crate) struct Router {
    workflow: WorkflowServiceServer<Frontend>,
    operator: OperatorServiceServer<Frontend>,
    test: TestServiceServer<TimeService>,
    alert: AlertServiceServer<Frontend>,
    flow: FlowServiceServer<Frontend>,
    inspect: InspectServiceServer<Frontend>,
    steer: SteerServiceServer<Frontend>,
    storage: StorageServiceServer<Frontend>,
    operate: OperateServiceServer<Frontend>,
    version: VersionServiceServer<Frontend>,
    health: HealthServer<HealthService>,
    reflection: Arc<Reflection>,
    access_keys: AccessServiceServer<Frontend>,
    requests: Arc<Requests>,
    room: Arc<Room>,
    start_gate: Arc<StartGate>,
    /// Calls are counted by namespace.
    metered: bool,
    long_calls: Arc<LongCalls>,
    /// `None`: nobody is asked who he is.
    access: Option<Access>,
    /// `None`: nothing is written down.
    audit: Option<Audit>,
    /// `None`: calls have no spans.
    tracer: Option<Tracer>,
    engine: Engine,
    /// `None`: all namespaces are in this engine.
    worlds: Option<Arc<Worlds>>,
    /// `None`: all shards are.
    forward: Option<Arc<Forward>>,
}

impl Router {
    pub(crate) fn new(frontend: Frontend, tracer: Option<Tracer>, worlds: Option<Arc<Worlds>>, forward: Option<Arc<Forward>>) -> Self {
        let time = TimeService::new(frontend.engine.virtual_time().cloned());
        let health = HealthService { engine: frontend.engine.clone() };
        let long_calls = Arc::clone(&frontend.long_calls);
        let (access, audit, engine) = (frontend.access.clone(), frontend.audit.clone(), frontend.engine.clone());
        let (room, metered) = (Arc::clone(&frontend.room), engine.has_rates());
        let counted = frontend.engine.clone();
        let tasks = move || (counted.stats().tasks_left.get(), counted.stats().tasks_caught_up.get());
        let start_gate = StartGate::beside(room.waiting_starts_max(), tasks);
        let frontend = Arc::new(frontend);
        // The codec's own limit must not be the one that refuses: it would do so with the wrong code.
        let decode_max = MESSAGE_BYTES_MAX + 1;
        Self {
            workflow: WorkflowServiceServer::from_arc(Arc::clone(&frontend)).max_decoding_message_size(decode_max),
            operator: OperatorServiceServer::from_arc(Arc::clone(&frontend)).max_decoding_message_size(decode_max),
            steer: SteerServiceServer::from_arc(Arc::clone(&frontend)).max_decoding_message_size(decode_max),
            storage: StorageServiceServer::from_arc(Arc::clone(&frontend)).max_decoding_message_size(decode_max),
            alert: AlertServiceServer::from_arc(Arc::clone(&frontend)).max_decoding_message_size(decode_max),
            flow: FlowServiceServer::from_arc(Arc::clone(&frontend)).max_decoding_message_size(decode_max),
            inspect: InspectServiceServer::from_arc(Arc::clone(&frontend)).max_decoding_message_size(decode_max),
            access_keys: AccessServiceServer::from_arc(Arc::clone(&frontend)).max_decoding_message_size(decode_max),
            version: VersionServiceServer::from_arc(Arc::clone(&frontend)).max_decoding_message_size(decode_max),
            operate: OperateServiceServer::from_arc(frontend).max_decoding_message_size(decode_max),
            test: TestServiceServer::new(time),
            health: HealthServer::new(health),
            reflection: Arc::default(),
            requests: Arc::new(Requests::new()),
            room,
            start_gate,
            metered,
            long_calls,
            access,
            audit,
            tracer,
            engine,
            worlds,
            forward,
        }
    }

    /// What knows where this node does not have everything.
    pub(crate) fn forward(&self) -> Option<&Arc<Forward>> {
        self.forward.as_ref()
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Where it is written down what callers do.
    pub(crate) fn audit(&self) -> Option<&Audit> {
        self.audit.as_ref()
    }

    /// Where namespaces have engines of their own.
    pub(crate) fn worlds(&self) -> Option<&Arc<Worlds>> {
        self.worlds.as_ref()
    }

    /// Who decides whether callers may call. `None`: they may.
    pub(crate) fn access(&self) -> Option<&Access> {
        self.access.as_ref()
    }

    /// Calls that may take long, whichever way they come.
    pub(crate) fn long_calls(&self) -> &Arc<LongCalls> {
        &self.long_calls
    }

    /// Memory for calls.
    pub(crate) fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// Where starts wait.
    pub(crate) fn start_gate(&self) -> &Arc<StartGate> {
        &self.start_gate
    }

    /// What has been called.
    pub(crate) fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Answers one call. Dropping the future gives the call up.
    pub(crate) async fn call<B>(&self, mut request: http::Request<B>) -> Response
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<tonic::codegen::StdError> + Send + 'static,
    {
        let count = self.requests.begin(request.uri().path());
        let begun = Instant::now();
        let span = match &self.tracer {
            None => None,
            Some(tracer) => {
                let mut extensions = std::mem::take(request.extensions_mut());
                let span = tracer.begin(&count.method().path, request.headers(), &mut extensions);
                *request.extensions_mut() = extensions;
                span
            }
        };
        let timeout = deadline::timeout(request.headers()).map(to_duration);
        // What is refused here costs nothing more: nothing of its body is kept, nor is it looked who calls.
        let mut response = match self.room.enter(count.method().kind, header_bytes(request.headers())) {
            Ok(held) => {
                // Boxed, so that a call that is turned away holds little.
                let answer = Box::pin(self.answer(request, count.method(), &held, timeout, None)).await;
                held.give_turn_back();
                answer
            }
            Err(refused) => {
                Box::pin(self.turn_away(request, count.method(), timeout)).await;
                refused.into_http()
            }
        };
        // What nodes tell each other.
        response.headers_mut().remove(status::ELSEWHERE_HEADER);
        let code = code_of(&response);
        count.end(code, begun.elapsed());
        if let Some(span) = span {
            span.end(response.headers());
        }
        response
    }

    /// Answers a call that another node has sent: who calls is decided, and it is counted there; what it costs this server is bounded
    /// here as of any other.
    pub(crate) async fn call_of_node<B>(&self, request: http::Request<B>, sender: Sender) -> Response
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<tonic::codegen::StdError> + Send + 'static,
    {
        let method = self.requests.method(request.uri().path());
        let timeout = deadline::timeout(request.headers()).map(to_duration);
        match self.room.enter(method.kind, header_bytes(request.headers())) {
            Ok(held) => {
                let answer = self.answer(request, method, &held, timeout, Some(sender)).await;
                held.give_turn_back();
                answer
            }
            // The other node waits with its client's call.
            Err(refused) => refused.into_http(),
        }
    }

    /// Waits until a call may be told that there is no room for it, and reads what comes of it meanwhile. Whoever is told at once comes
    /// again at once, and the server would do little but refuse. Completions are told at once: what they end is work done.
    async fn turn_away<B>(&self, request: http::Request<B>, method: &MethodStats, timeout: Option<Duration>)
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        if method.kind.class == CallClass::Complete {
            return;
        }
        // What is asked on a client's behalf in this process holds the client's call meanwhile.
        if request.extensions().get::<Inside>().is_some() {
            return;
        }
        let Some(stays) = self.room.stay(Over::TurnedAway, TURNED_AWAY_BYTES) else { return };
        let mut body = request.into_body();
        let mut told = pin!(tokio::time::sleep(told_after(timeout)));
        tokio::select! {
            () = &mut told => (),
            () = unread::read(&mut body) => told.await,
        }
        drop(stays);
    }

    /// `timeout`: how long the caller waits; `sender`: the node that has sent the call.
    async fn answer<B>(
        &self,
        mut request: http::Request<B>,
        method: &MethodStats,
        held: &Arc<Held>,
        timeout: Option<Duration>,
        sender: Option<Sender>,
    ) -> Response
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<tonic::codegen::StdError> + Send + 'static,
    {
        // What nobody waits for is not done; waiting for it with such a timeout would do what is done at once.
        if timeout == Some(Duration::ZERO) {
            return too_late();
        }
        if let (Some(left), Some(_)) = (timeout, &self.forward) {
            request.extensions_mut().insert(Until(Instant::now() + left));
        }
        if self.forward.is_none() {
            // Of several nodes the owner has the gate, and who that is the message says.
            held.stand_before(&self.start_gate, timeout);
        }
        let mut request = BoundedMessages::new(request);
        request.body_mut().hold(Arc::clone(held));
        if method.kind.by_anybody {
            request.body_mut().is_by_anybody();
        }
        if let Some(field) = method.namespace_field.filter(|_| self.metered && sender.is_none()) {
            request.body_mut().meter(Meter::new(self.engine.clone(), method.kind.class, field));
        }
        if let (CallClass::Start, Some(field)) = (method.kind.class, method.namespace_field) {
            let engine = self.engine.clone();
            let named = move |message: &[u8]| engine.namespace_named(std::str::from_utf8(scan::last(message, &[field]).ok()?).ok()?);
            request.body_mut().stand_in_line(named);
            if method.kind.waits {
                // Its handler knows when the start is made, and the rest is waiting.
                request.extensions_mut().insert(Waiter { held: Arc::clone(held), came: Instant::now() });
            }
        }
        let answer = async {
            match (&self.access, &self.audit, &self.worlds) {
                (access, ..) if sender.is_some() => match access.as_ref().map_or(Ok(()), |access| access.told(&request)) {
                    Ok(()) => self.dispatch_of(request, sender).await,
                    Err(refused) => refused.into_http(),
                },
                (None, None, None) => self.dispatch(request).await,
                // Boxed, as all calls would have to carry it along.
                (None, None, Some(worlds)) => Box::pin(worlds.answer(self, request)).await,
                _ => Box::pin(self.admit(request)).await,
            }
        };
        // Pinned here: moved into the timeout it would be twice in the future of each call.
        let answer = pin!(AssertUnwindSafe(answer).catch_unwind());
        let answer = match timeout {
            None => answer.await,
            Some(left) => match tokio::time::timeout(left, answer).await {
                Ok(answer) => answer,
                Err(_) => return too_late(),
            },
        };
        answer.unwrap_or_else(|panic| status::masked(&method.path, panic_text(panic.as_ref())).into_http())
    }

    /// Answers a call if its caller may make it, for as long as he may, and writes down what is to be.
    async fn admit<B>(&self, mut request: http::Request<BoundedMessages<B>>) -> Response
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<tonic::codegen::StdError> + Send + 'static,
    {
        let peer = request.extensions().get::<Arc<Peer>>().cloned();
        let path = request.uri().path().to_owned();
        let mut pass = None;
        if let Some(access) = &self.access {
            match access.enter(&path, request.headers(), peer.as_ref()).await {
                Ok((entered, check)) => {
                    if let Some(check) = check {
                        request.body_mut().check(check);
                    }
                    pass = Some(entered);
                }
                Err(refused) => {
                    self.write_down(&path, None, peer.as_deref(), Code::PermissionDenied);
                    return refused.into_http();
                }
            }
        }
        let caller = pass.as_ref().and_then(|pass| pass.caller.clone());
        if let Some(caller) = &caller {
            request.extensions_mut().insert(caller.clone());
        }
        if let Some(act) = self.audit.as_ref().and_then(|audit| audit.act(&path)) {
            return Box::pin(self.follow(&act, &path, request, caller, peer)).await;
        }
        let answer = match &pass {
            None => self.dispatch(request).await,
            Some(pass) => tokio::select! {
                biased;
                answer = self.dispatch(request) => answer,
                refused = pass.gone() => refused.into_http(),
            },
        };
        if code_of(&answer) == Code::PermissionDenied {
            self.write_down(&path, caller.as_deref(), peer.as_deref(), Code::PermissionDenied);
        }
        answer
    }

    /// A line of which nothing but the call is known.
    fn write_down(&self, path: &str, caller: Option<&Caller>, peer: Option<&Peer>, code: Code) {
        if let Some(audit) = &self.audit {
            audit.tell_refusal(&Value::Object(audit::line(&self.time(), path, caller, peer, &format!("{code:?}"))));
        }
    }

    fn time(&self) -> String {
        self.engine.wall_now().to_api().to_string()
    }

    /// Answers a call and writes down what was asked, and how the settings were before and are after it.
    async fn follow<B>(
        &self,
        act: &Act,
        path: &str,
        request: http::Request<BoundedMessages<B>>,
        caller: Option<Arc<Caller>>,
        peer: Option<Arc<Peer>>,
    ) -> Response
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<tonic::codegen::StdError> + Send + 'static,
    {
        let Some(audit) = &self.audit else { return self.dispatch(request).await };
        let mut pending = Pending::new(audit.clone(), audit::line(&self.time(), path, caller.as_deref(), peer.as_deref(), "given up"));
        let (parts, body) = request.into_parts();
        let frame = match whole(body).await {
            Ok(frame) => frame,
            Err(refused) => {
                pending.line.insert("result".into(), format!("{:?}", refused.code()).into());
                if refused.code() == Code::PermissionDenied {
                    pending.refused();
                }
                return refused.into_http();
            }
        };
        let message = frame.get(PREFIX_BYTES..).map(|message| frame.slice_ref(message)).unwrap_or_default();
        pending.line.extend(act.request(message.clone()).map(|asked| ("request".to_owned(), asked)));
        let before = self.look(act, &message).await;
        let answer = self.dispatch(BoundedMessages::new(http::Request::from_parts(parts, Full::new(frame)))).await;
        let code = code_of(&answer);
        pending.line.insert("result".into(), format!("{code:?}").into());
        if act.looks() {
            let after = if code == Code::Ok { self.look(act, &message).await } else { before.clone() };
            let (before, after) = audit::differing(before, after);
            pending.line.insert("before".into(), before);
            pending.line.insert("after".into(), after);
        }
        answer
    }

    /// How the settings are that a call changes.
    async fn look(&self, act: &Act, message: &Bytes) -> Value {
        let Some((path, asked)) = act.look(message.clone()) else { return Value::Null };
        match self.ask(path, &asked).await {
            Ok(answer) => act.told(answer).unwrap_or_default(),
            Err(_) => Value::Null,
        }
    }

    /// Asks in this server's own name, wherever what it is about is; gives the message of the answer.
    pub(crate) async fn ask(&self, path: &str, message: &[u8]) -> Result<Bytes, Status> {
        let request = http::Request::post(path).version(http::Version::HTTP_2).header("content-type", "application/grpc");
        let request = request.body(audit::framed(message)).map_err(|error| Status::internal(error.to_string()));
        let mut request = request?;
        request.extensions_mut().insert(ByServer);
        let (parts, body) = self.dispatch(BoundedMessages::new(request)).await.into_parts();
        let said = |headers: &http::HeaderMap| Status::from_header_map(headers).filter(|status| status.code() != Code::Ok);
        if let Some(refused) = said(&parts.headers) {
            return Err(refused);
        }
        let body = body.collect().await?;
        if let Some(refused) = body.trailers().and_then(said) {
            return Err(refused);
        }
        let body = body.to_bytes();
        Ok(body.slice(PREFIX_BYTES.min(body.len())..))
    }

    /// Gives a call to its service, here or at the node that has its shard.
    pub(crate) fn dispatch<B>(&self, request: http::Request<BoundedMessages<B>>) -> impl Future<Output = Response> + Send
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<tonic::codegen::StdError> + Send + 'static,
    {
        self.dispatch_of(request, None)
    }

    async fn dispatch_of<B>(&self, request: http::Request<BoundedMessages<B>>, sender: Option<Sender>) -> Response
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<tonic::codegen::StdError> + Send + 'static,
    {
        if let Some(forward) = &self.forward {
            return Box::pin(forward.answer(self, request, sender)).await;
        }
        // One kind of body for all services: their two hundred methods are compiled once, not again for each kind.
        self.serve(request.map(tonic::body::Body::new)).await
    }

    /// Gives a call to its service here.
    pub(crate) async fn serve(&self, request: http::Request<tonic::body::Body>) -> Response {
        let path = request.uri().path();
        let service = path.strip_prefix('/').and_then(|path| path.split_once('/')).map_or("", |(service, _)| service);
        // The generated services keep their settings in themselves; a clone is a few words.
        let answer = match service {
            "temporal.api.workflowservice.v1.WorkflowService" => self.workflow.clone().call(request).await,
            "temporal.api.operatorservice.v1.OperatorService" => self.operator.clone().call(request).await,
            "temporal.api.testservice.v1.TestService" => self.test.clone().call(request).await,
            "sempre.v1.AlertService" => self.alert.clone().call(request).await,
            "sempre.v1.FlowService" => self.flow.clone().call(request).await,
            "sempre.v1.InspectService" => self.inspect.clone().call(request).await,
            "sempre.v1.SteerService" => self.steer.clone().call(request).await,
            "sempre.v1.StorageService" => self.storage.clone().call(request).await,
            "sempre.v1.OperateService" => self.operate.clone().call(request).await,
            "sempre.v1.AccessService" => self.access_keys.clone().call(request).await,
            "sempre.v1.VersionService" => self.version.clone().call(request).await,
            "grpc.health.v1.Health" => self.health.clone().call(request).await,
            reflection::V1 => Box::pin(self.reflection.v1(request)).await,
            reflection::V1_ALPHA => Box::pin(self.reflection.v1alpha(request)).await,
            _ => Ok(Status::unimplemented(format!("unknown service {service}")).into_http()),
        };
        answer.unwrap_or_else(|never| match never {})
    }
}

impl HasRoom for Router {
    fn room(&self) -> &Arc<Room> {
        &self.room
    }
}

fn too_late() -> Response {
    status::from_refusal(Refusal::DeadlineExceeded("context deadline exceeded".into())).into_http()
}

/// What headers take in memory, about.
pub(crate) fn header_bytes(headers: &http::HeaderMap) -> u64 {
    headers.iter().map(|(name, value)| (name.as_str().len() + value.len()) as u64).sum()
}

/// All of a body: one message is what calls take whose message is looked at first.
pub(crate) async fn whole<B>(body: BoundedMessages<B>) -> Result<Bytes, Status>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<tonic::codegen::StdError>,
{
    let collected = Limited::new(body, MESSAGE_BYTES_MAX + 1 + PREFIX_BYTES).collect().await;
    collected.map(|body| body.to_bytes()).map_err(|error| {
        let too_much = |_| Status::resource_exhausted("more than one message came, or one that is too large");
        error.downcast::<Status>().map_or_else(too_much, |refused| *refused)
    })
}

fn to_duration(span: Span) -> Duration {
    Duration::from_nanos(span.0.unsigned_abs())
}

/// What is refused says so before its body.
pub(crate) fn code_of(answer: &Response) -> Code {
    answer.headers().get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without text")
}
