//! A worker of the official SDK that lives on a thread and in a runtime of its own, and can die like a process.
#![expect(clippy::disallowed_methods, reason = "a worker that dies is torn down as a process would be: with its thread")]

use std::{
    sync::{Arc, Mutex, Once, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use futures::FutureExt;
use temporalio_client::callback_based::{GrpcRequest, GrpcSuccessResponse};
use temporalio_sdk::{Runtime, Worker, WorkerOptions, runtime::RuntimeOptions};
use tokio::sync::{RwLock, oneshot, watch};

use bytes::Bytes;
use prost::Message;
use sempre_api::v1::workflowservice::{
    ListWorkflowExecutionsRequest, PollActivityTaskQueueResponse, PollWorkflowTaskQueueResponse, ResetStickyTaskQueueRequest,
    RespondWorkflowTaskCompletedResponse,
};
use sempre_server::faults::hands::{self, Hands, Task};

use super::{Fault, NAMESPACE, TestEnvironment, faults::Extent};
use crate::{Carry, Wire};

/// Faults, what has happened of them, and where all workers of a test are.
#[derive(Default)]
pub(crate) struct Course {
    state: Mutex<CourseState>,
}

#[derive(Default)]
struct CourseState {
    ahead: Vec<Fault>,
    seen: Extent,
    points: Vec<String>,
    happened: Vec<String>,
}

impl Course {
    pub(crate) fn new(faults: Vec<Fault>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(CourseState { ahead: faults, ..CourseState::default() }) })
    }

    fn with<T>(&self, change: impl FnOnce(&mut CourseState) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn seen(&self) -> Extent {
        self.with(|state| state.seen)
    }

    pub(crate) fn happened(&self) -> Vec<String> {
        self.with(|state| state.happened.clone())
    }

    /// The points so far, by what the worker does there.
    pub(crate) fn points(&self) -> Vec<String> {
        self.with(|state| state.points.clone())
    }

    /// Counts one of a kind; says whether a fault is due there.
    fn due(&self, count: impl FnOnce(&mut Extent) -> &mut usize, is: impl Fn(Fault, usize) -> bool) -> Option<Fault> {
        self.with(|state| {
            let count = count(&mut state.seen);
            let number = *count;
            *count += 1;
            let at = state.ahead.iter().position(|fault| is(*fault, number))?;
            Some(state.ahead.swap_remove(at))
        })
    }

    fn point(&self, name: &str) -> bool {
        self.with(|state| state.points.push(name.to_owned()));
        self.due(|seen| &mut seen.points, |fault, number| fault == Fault::Crash { point: number }).is_some()
    }

    fn answer(&self) -> bool {
        self.due(|seen| &mut seen.answers, |fault, number| fault == Fault::DuplicateActivity { answer: number }).is_some()
    }

    fn heartbeat(&self) -> bool {
        self.due(|seen| &mut seen.heartbeats, |fault, number| fault == Fault::LostHeartbeats { heartbeat: number }).is_some()
    }

    /// By how much the signal that a client sends now is late.
    pub(crate) fn signal(&self) -> Option<Duration> {
        let late =
            self.due(|seen| &mut seen.signals, |fault, number| matches!(fault, Fault::LateSignal { signal, .. } if signal == number));
        late.and_then(|fault| if let Fault::LateSignal { by, .. } = fault { Some(by) } else { None })
    }

    pub(crate) fn tell(&self, happened: String) {
        self.with(|state| state.happened.push(happened));
    }
}

/// One worker.
struct Body {
    course: Arc<Course>,
    environment: TestEnvironment,
    hands: Mutex<Hands>,
    /// Attempts whose heartbeats are lost, by token.
    silent: Mutex<Vec<Vec<u8>>>,
    dead: watch::Sender<bool>,
    /// Held by each call from its beginning to when its tasks are in hand: one that is under way when the worker dies may bring some yet.
    calls: RwLock<()>,
}

/// The task token of an answer or a heartbeat: field 1 of all of them.
fn token(rpc: &str, proto: &[u8]) -> Vec<u8> {
    /// What all of them begin with.
    #[derive(Clone, PartialEq, prost::Message)]
    struct First {
        #[prost(bytes = "vec", tag = "1")]
        task_token: Vec<u8>,
    }
    let known = rpc.starts_with("Respond") || rpc == "RecordActivityTaskHeartbeat";
    if known { <First as prost::Message>::decode(proto).unwrap_or_default().task_token } else { Vec::new() }
}

/// Takes the tasks of an answer of the server; says whether there were any.
fn take(hands: &mut Hands, rpc: &str, answer: &[u8]) -> bool {
    let bytes = Bytes::copy_from_slice(answer);
    match rpc {
        "PollWorkflowTaskQueue" => {
            PollWorkflowTaskQueueResponse::decode(bytes).is_ok_and(|task| hands.take_workflow_task(NAMESPACE, &task))
        }
        "PollActivityTaskQueue" => PollActivityTaskQueueResponse::decode(bytes).is_ok_and(|task| hands.take_activity(NAMESPACE, &task)),
        "RespondWorkflowTaskCompleted" => {
            RespondWorkflowTaskCompletedResponse::decode(bytes).is_ok_and(|answer| hands.take_eager(NAMESPACE, &answer))
        }
        _ => false,
    }
}

impl Body {
    fn is_dead(&self) -> bool {
        *self.dead.borrow()
    }

    fn hands<T>(&self, change: impl FnOnce(&mut Hands) -> T) -> T {
        change(&mut self.hands.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn die_at(&self, when: &str, rpc: &str, task: Option<String>) -> bool {
        let of = task.map(|task| format!(", {task}")).unwrap_or_default();
        let name = format!("{when} {rpc}{of}");
        if !self.course.point(&name) {
            return false;
        }
        self.course.tell(format!("the worker died {name}"));
        self.dead.send_replace(true);
        true
    }

    async fn died(&self) {
        // An error: it can never die any more, as the sender is gone.
        let _ = self.dead.subscribe().wait_for(|dead| *dead).await;
    }

    /// The server is to take an attempt for dead, which a worker believes to have.
    fn lose(self: &Arc<Self>, task: Task) {
        let body = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = body.environment.time_out(vec![task], true) => {}
                () = body.died() => {}
            }
        });
    }

    fn is_silent(&self, token: &[u8]) -> bool {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|silent| silent == token)
    }

    async fn call(self: Arc<Self>, request: GrpcRequest, carry: Carry) -> Result<GrpcSuccessResponse, tonic::Status> {
        match self.carried(request, carry).await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    /// One call. `None`: the worker is dead, and hears nothing any more.
    async fn carried(self: &Arc<Self>, request: GrpcRequest, carry: Carry) -> Option<Result<GrpcSuccessResponse, tonic::Status>> {
        let _under_way = self.calls.read().await;
        let rpc = request.rpc.clone();
        let token = token(&rpc, &request.proto);
        if self.is_dead() {
            return None;
        }
        let nothing = || GrpcSuccessResponse { headers: http::HeaderMap::new(), proto: Vec::new() };
        let activity = rpc.starts_with("RespondActivityTask");
        let answers = activity || rpc.starts_with("RespondWorkflowTask");
        let named = |body: &Self| body.hands(|hands| hands.get(&token).map(Task::name));
        if answers && self.die_at("before", &rpc, named(self)) {
            return None;
        }
        if rpc == "RecordActivityTaskHeartbeat" {
            let begins = self.course.heartbeat();
            if begins && let Some(task) = self.hands(|hands| hands.get(&token).cloned()) {
                self.course.tell(format!("heartbeats were lost of {}", task.name()));
                self.silent.lock().unwrap_or_else(PoisonError::into_inner).push(token.clone());
                self.lose(task);
            }
            if self.is_silent(&token) && self.hands(|hands| hands.get(&token).cloned()).is_some() {
                let task = self.hands(|hands| hands.get(&token).cloned());
                // Once the server has given it up, it says so.
                if let Some(task) = task
                    && task.is_in_hand(self.environment.sempre.engine()).await
                {
                    return Some(Ok(nothing()));
                }
            }
        }
        if activity
            && self.course.answer()
            && let Some(task) = self.hands(|hands| hands.give_back(&token))
        {
            self.course.tell(format!("the answer was lost of {}", task.name()));
            self.lose(task);
            return Some(Ok(nothing()));
        }
        let task = named(self);
        let answer = tokio::select! {
            answer = carry(request) => answer,
            () = self.died() => return None,
        };
        if answers {
            self.hands(|hands| hands.give_back(&token));
        }
        let takes = answer.as_ref().is_ok_and(|answer| self.hands(|hands| take(hands, &rpc, &answer.proto)));
        if (answers || takes) && self.die_at("after", &rpc, task) {
            return None;
        }
        Some(answer)
    }
}

/// See the module.
pub(crate) struct Life {
    body: Arc<Body>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

impl Life {
    pub(crate) fn begin(environment: &TestEnvironment, course: &Arc<Course>, options: WorkerOptions) -> Self {
        static QUIET: Once = Once::new();
        QUIET.call_once(quiet);
        let body = Arc::new(Body {
            course: course.clone(),
            environment: environment.clone(),
            hands: Mutex::default(),
            silent: Mutex::default(),
            dead: watch::Sender::new(false),
            calls: RwLock::new(()),
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let of_thread = body.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            let runtime = runtime.map_err(|error| format!("no runtime for a worker: {error}"))?;
            let ended = runtime.block_on(of_thread.clone().work(options, stopped));
            // Activities that do not listen are left behind, as they are when a process dies.
            runtime.shutdown_timeout(Duration::from_millis(if of_thread.is_dead() { 0 } else { 1_000 }));
            ended
        });
        Self { body, stop: Some(stop), thread: Some(thread) }
    }

    /// Resolves when it has died.
    pub(crate) async fn died(&self) {
        self.body.died().await;
    }

    /// Resolves when it has ended by itself, which it does not unless it fails.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Ends it: what it has in hand is given up if it has died, finished if not. Gives what it had.
    pub(crate) async fn end(mut self) -> Result<Vec<Task>, String> {
        if let Some(stop) = self.stop.take() {
            // It may have ended by itself.
            let _ = stop.send(());
        }
        let thread = self.thread.take();
        let joined = tokio::task::spawn_blocking(move || thread.map(JoinHandle::join)).await;
        let ended = match joined {
            Ok(Some(Ok(ended))) => ended,
            Ok(Some(Err(_))) => Err("the worker's thread panicked".to_owned()),
            Ok(None) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        // Its runtime does not wait for what is on a thread at that moment.
        let _no_calls = self.body.calls.write().await;
        ended.map(|()| self.body.hands(Hands::drop_all))
    }
}

impl Body {
    async fn work(self: Arc<Self>, options: WorkerOptions, stopped: oneshot::Receiver<()>) -> Result<(), String> {
        let body = self.clone();
        let wire: Wire = Arc::new(move |request, carry| body.clone().call(request, carry).boxed());
        let client = self.environment.sempre.client_over(NAMESPACE, wire).await.map_err(|error| error.to_string())?;
        let sdk = Runtime::from_current_tokio(RuntimeOptions::default()).map_err(|error| error.to_string())?;
        let mut worker = Worker::new(&sdk, client, options).map_err(|error| error.to_string())?;
        let stop = worker.shutdown_handle();
        let wait = async {
            tokio::select! {
                _ = stopped => if !self.is_dead() { stop() },
                () = self.died() => {}
            }
            // It may die while it finishes, too, and of a dead worker nothing is finished: its calls have no end.
            self.died().await;
        };
        tokio::select! {
            ended = worker.run() => ended.map_err(|error| format!("the worker ended: {error}")),
            () = wait => Ok(()),
        }
    }
}

impl TestEnvironment {
    /// Moves time on until the server has given up all of these; with `alone`, only while it waits for nothing else.
    pub(crate) async fn time_out(&self, tasks: Vec<Task>, alone: bool) {
        hands::time_out(self.sempre.engine(), &self.time, tasks, alone).await;
    }

    /// Lets tasks of open runs go to whoever asks, not first to the worker that had the run, which is dead: a worker's queue of its own
    /// is given up in real time otherwise.
    pub(crate) async fn forget_worker(&self) {
        let engine = self.sempre.engine();
        let open = ListWorkflowExecutionsRequest {
            namespace: NAMESPACE.into(),
            query: "ExecutionStatus = 'Running'".into(),
            page_size: 1000,
            ..ListWorkflowExecutionsRequest::default()
        };
        for run in engine.list_workflows(open).await.map(|listed| listed.executions).unwrap_or_default() {
            let request = ResetStickyTaskQueueRequest { namespace: NAMESPACE.into(), execution: run.execution };
            // It may have ended meanwhile.
            let _ = engine.reset_sticky(request).await;
        }
    }
}

/// The SDK's thread of workflows panics when the worker is torn down under it, as it is when it dies. That is no news.
fn quiet() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name() != Some("workflow-processing") {
            hook(info);
        }
    }));
}
