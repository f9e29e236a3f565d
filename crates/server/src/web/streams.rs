//! What happens, as it happens: server-sent events of a run's history and of a list of runs.
//!
//! | stream | events |
//! |---|---|
//! | `…/workflows/{id}/history-stream` | `history`: an event, its id `RUN_ID/EVENT_ID`; `end`: the run has closed and all was told |
//! | `…/workflow-stream` | `begin`: the list begins, forget what was told; `run`: a run of the list; `left`: one that is not in it any more; `ready`: the first runs were told; `lagged`: changes were missed, the list begins anew |
//! | `…/notice-stream` | `notice`: a change of a run, its id the cursor behind it (docs/alerts.md) |
//! | all | `refused`: why there will be no more, as a `google.rpc.Status` |
//!
//! Nothing is read ahead: the next event is made when the last one has been taken. A comment comes when there was nothing
//! to tell for a while, so that a connection that broke is noticed; of notices the cursor alone, an `id` without data: who
//! comes back goes on behind what was of others, however long his own namespace was quiet.
#![expect(clippy::disallowed_methods, reason = "a comment comes by the wall clock")]

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderValue, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use prost::Message;
use sempre_api::{
    json::{self, Payloads},
    sempre::v1::{ListNoticesRequest, ListNoticesResponse, Notice},
    v1::{
        common::WorkflowExecution,
        history::HistoryEvent,
        workflowservice::{
            DescribeNamespaceRequest, DescribeWorkflowExecutionRequest, DescribeWorkflowExecutionResponse,
            GetWorkflowExecutionHistoryRequest, GetWorkflowExecutionHistoryResponse,
        },
    },
};
use sempre_engine::{Engine, ListChange, WatchedList};
use serde_json::{Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};
use tonic::{Code, Status};

use super::api::{
    answer::{Answer, Form, refusal, status_value},
    call::{self, Metadata},
};
use crate::{
    access::{Pass, Roles},
    ports::Peer,
    router::Router,
    status,
};

/// How long nothing is said before a comment shows that there is somebody.
const QUIET_MAX: Duration = Duration::from_secs(15);
/// Streams at once; more are refused.
pub(super) const STREAMS_MAX: usize = 1000;
/// Events of history read at once.
const PAGE_EVENTS: i32 = 200;
/// Notices read at once.
const PAGE_NOTICES: i32 = 200;
/// Runs told at the beginning of a list, unless the query says otherwise, and at most.
const FIRST_RUNS: usize = 100;
const FIRST_RUNS_MAX: usize = 1000;
/// What browsers wait before they connect again.
const RETRY: &str = "retry: 2000\n\n";
/// How long a read of notices waits: it is answered before the quiet is over, and says how far it has looked.
const NOTICES_WAIT: &str = "14S";
/// Says nothing.
const COMMENT: &str = ":\n\n";
const DESCRIBE: &str = "/temporal.api.workflowservice.v1.WorkflowService/DescribeWorkflowExecution";
const HISTORY: &str = "/temporal.api.workflowservice.v1.WorkflowService/GetWorkflowExecutionHistory";
const NOTICES: &str = "/sempre.v1.AlertService/ListNotices";
const NAMESPACE: &str = "/temporal.api.workflowservice.v1.WorkflowService/DescribeNamespace";

/// A stream that a path names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named {
    History { namespace: String, workflow_id: String },
    Runs { namespace: String },
    Notices { namespace: String },
}

impl Named {
    /// By the segments of a path.
    pub(super) fn of(segments: &[String]) -> Option<Self> {
        match segments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["api", "v1", "namespaces", namespace, "workflows", workflow_id, "history-stream"] => {
                Some(Self::History { namespace: namespace.to_owned(), workflow_id: workflow_id.to_owned() })
            }
            ["api", "v1", "namespaces", namespace, "workflow-stream"] => Some(Self::Runs { namespace: namespace.to_owned() }),
            ["api", "v1", "namespaces", namespace, "notice-stream"] => Some(Self::Notices { namespace: namespace.to_owned() }),
            _ => None,
        }
    }
}

/// What streams are made of.
#[derive(Clone)]
pub(super) struct Streams {
    pub(super) router: Router,
    pub(super) engine: Engine,
    /// Turns true when the server shuts down: streams end.
    pub(super) draining: watch::Receiver<bool>,
    /// What is left of [`STREAMS_MAX`].
    pub(super) free: Arc<Semaphore>,
}

impl Streams {
    pub(super) async fn answer(&self, named: Named, headers: &HeaderMap, peer: Option<Arc<Peer>>, query: &[(String, String)]) -> Answer {
        let (_, form) = Form::of_request(headers, query);
        let value = |names: &[&str]| query.iter().find(|(name, _)| names.contains(&name.as_str())).map(|(_, value)| value.clone());
        let metadata = match call::metadata(headers, peer) {
            Ok(metadata) => metadata,
            Err(status) => return refusal(form, &status),
        };
        let Ok(open) = self.free.clone().try_acquire_owned() else {
            return refusal(form, &Status::resource_exhausted(format!("there are {STREAMS_MAX} streams open already")));
        };
        match named {
            Named::History { namespace, workflow_id } => {
                let run_id = value(&["runId", "execution.runId", "execution.run_id"]).unwrap_or_default();
                let last = headers.get("last-event-id").and_then(|last| last.to_str().ok()).map(str::to_owned);
                let last = last.or_else(|| value(&["lastEventId"])).filter(|last| !last.is_empty());
                let resumed = match &last {
                    None => None,
                    Some(last) => match self.after(last) {
                        Some(resumed) => Some(resumed),
                        None => {
                            return refusal(form, &Status::invalid_argument(format!("{last:?} is not the id of an event of this stream")));
                        }
                    },
                };
                let (run_id, next_page_token) = resumed.unwrap_or((run_id, Bytes::new()));
                let execution = WorkflowExecution { workflow_id, run_id };
                let execution = match self.execution(&namespace, execution, metadata.clone()).await {
                    Ok(execution) => execution,
                    Err(status) => return refusal(form, &status),
                };
                let request = GetWorkflowExecutionHistoryRequest {
                    namespace,
                    execution: Some(execution.clone()),
                    maximum_page_size: PAGE_EVENTS,
                    next_page_token,
                    wait_new_event: true,
                    ..Default::default()
                };
                let (read, run_id) = (Vec::new().into_iter(), execution.run_id);
                let pages = History { router: self.router.clone(), metadata, run_id, request, read, more: true };
                self.events(pages, form, open)
            }
            Named::Notices { namespace } => {
                let mut metadata = metadata;
                metadata.headers.insert("grpc-timeout", HeaderValue::from_static(NOTICES_WAIT));
                let last = headers.get("last-event-id").and_then(|last| last.to_str().ok()).map(str::to_owned);
                let last = last.or_else(|| value(&["lastEventId", "after"])).filter(|last| !last.is_empty());
                let after = last.as_deref().map_or(Ok(0), str::parse::<i64>);
                let Ok(after) = after else {
                    let text = format!("{:?} is not the id of a notice", last.unwrap_or_default());
                    return refusal(form, &Status::invalid_argument(text));
                };
                let from_now = last.is_none() && value(&["from"]).is_none_or(|from| from != "oldest");
                let request = ListNoticesRequest { namespace, after, page_size: PAGE_NOTICES, from_now, wait: false };
                // A cursor that is too old is told before anything else.
                let mut pages = Notices { router: self.router.clone(), metadata, request, read: Vec::new().into_iter() };
                match pages.read().await {
                    Ok(()) => {
                        // Where it begins is known at once; if there is something to tell, that says it.
                        let opening = pages.read.as_slice().is_empty().then(|| pages.quiet());
                        self.events_after(opening, pages, form, open)
                    }
                    Err(status) => refusal(form, &status),
                }
            }
            Named::Runs { namespace } => {
                let first = value(&["pageSize", "page_size"]).map_or(Ok(FIRST_RUNS), |size| size.parse::<usize>());
                let Ok(first) = first else { return refusal(form, &Status::invalid_argument("pageSize is not a number")) };
                // Reads of workers' own runs are allowed to those who may not list all.
                let pass = match self.router.access() {
                    None => None,
                    Some(access) => match access.require_in(&namespace, Roles::READ, headers, metadata.peer.as_ref()).await {
                        Ok(pass) => Some(pass),
                        Err(refused) => return refusal(form, &refused),
                    },
                };
                // What is checked of every call is checked of this one too.
                let request = DescribeNamespaceRequest { namespace: namespace.clone(), ..Default::default() };
                if let Err(status) = call::unary(&self.router, NAMESPACE, metadata, &request.encode_to_vec()).await {
                    return refusal(form, &status);
                }
                let query = value(&["query"]).unwrap_or_default();
                match self.engine.watch_list(&namespace, &query, first.min(FIRST_RUNS_MAX)).await {
                    Ok(list) => {
                        let draining = self.draining.clone();
                        let state = Runs { list, pass, draining, payloads: form.payloads, ended: false, _open: open };
                        events(stream::unfold(state, run_change))
                    }
                    Err(refused) => refusal(form, &status::from_refusal(refused)),
                }
            }
        }
    }

    fn events(&self, pages: impl Pages + 'static, form: Form, open: OwnedSemaphorePermit) -> Answer {
        self.events_after(None, pages, form, open)
    }

    fn events_after(&self, opening: Option<String>, pages: impl Pages + 'static, form: Form, open: OwnedSemaphorePermit) -> Answer {
        let state = Telling { opening, pages, draining: self.draining.clone(), payloads: form.payloads, ended: false, _open: open };
        events(stream::unfold(state, tell))
    }

    /// The run of an event, and where its history goes on behind it.
    fn after(&self, last: &str) -> Option<(String, Bytes)> {
        let (run_id, event_id) = last.split_once('/')?;
        let token = self.engine.history_from(run_id, event_id.parse::<i64>().ok()?.checked_add(1)?)?;
        Some((run_id.to_owned(), token))
    }

    /// The run that is meant; refused if there is none.
    async fn execution(&self, namespace: &str, execution: WorkflowExecution, metadata: Metadata) -> Result<WorkflowExecution, Status> {
        let request = DescribeWorkflowExecutionRequest { namespace: namespace.to_owned(), execution: Some(execution) };
        let answer = call::unary(&self.router, DESCRIBE, metadata, &request.encode_to_vec()).await?;
        let answer = DescribeWorkflowExecutionResponse::decode(answer).map_err(unreadable)?;
        answer.workflow_execution_info.and_then(|info| info.execution).ok_or_else(|| Status::internal("a run without an id"))
    }
}

fn unreadable(error: prost::DecodeError) -> Status {
    Status::internal(format!("an answer that cannot be read: {error}"))
}

/// What is told page after page, read through the router, as by any other caller.
trait Pages: Send {
    /// The next event that has been read and not told yet.
    fn next(&mut self, payloads: Payloads) -> Option<String>;
    /// The last word, once there is nothing more to read.
    fn end(&self) -> Option<String>;
    /// What is said when there was nothing to tell.
    fn quiet(&self) -> String {
        COMMENT.to_owned()
    }
    /// Reads the next page; when all that there was has been read, it waits.
    fn read(&mut self) -> impl Future<Output = Result<(), Status>> + Send;
}

/// Pages that are being told.
struct Telling<P> {
    /// What is said first.
    opening: Option<String>,
    pages: P,
    draining: watch::Receiver<bool>,
    payloads: Payloads,
    ended: bool,
    _open: OwnedSemaphorePermit,
}

async fn tell<P: Pages>(mut state: Telling<P>) -> Option<(String, Telling<P>)> {
    if let Some(opening) = state.opening.take() {
        return Some((opening, state));
    }
    loop {
        if state.ended {
            return None;
        }
        if let Some(event) = state.pages.next(state.payloads) {
            return Some((event, state));
        }
        if let Some(end) = state.pages.end() {
            state.ended = true;
            return Some((end, state));
        }
        let read = tokio::select! {
            read = timeout(QUIET_MAX, state.pages.read()) => read,
            _ = state.draining.wait_for(|draining| *draining) => return None,
        };
        match read {
            Ok(Ok(())) => match state.pages.next(state.payloads) {
                Some(event) => return Some((event, state)),
                None if state.pages.end().is_none() => return Some((state.pages.quiet(), state)),
                None => {}
            },
            Ok(Err(status)) => {
                state.ended = true;
                return Some((told("refused", None, &status_value(&status, state.payloads)), state));
            }
            Err(_) => return Some((state.pages.quiet(), state)),
        }
    }
}

/// A run's history.
struct History {
    router: Router,
    metadata: Metadata,
    run_id: String,
    request: GetWorkflowExecutionHistoryRequest,
    read: std::vec::IntoIter<HistoryEvent>,
    /// There may be more than has been read.
    more: bool,
}

impl Pages for History {
    fn next(&mut self, payloads: Payloads) -> Option<String> {
        let event = self.read.next()?;
        let id = format!("{}/{}", self.run_id, event.event_id);
        Some(told("history", Some(&id), &json::to_value(&event, payloads)))
    }

    fn end(&self) -> Option<String> {
        (!self.more).then(|| told("end", None, &json!({})))
    }

    async fn read(&mut self) -> Result<(), Status> {
        let answer = call::unary(&self.router, HISTORY, self.metadata.clone(), &self.request.encode_to_vec()).await?;
        let page = GetWorkflowExecutionHistoryResponse::decode(answer).map_err(unreadable)?;
        self.read = page.history.unwrap_or_default().events().map_err(unreadable)?.into_iter();
        self.more = !page.next_page_token.is_empty();
        self.request.next_page_token = page.next_page_token;
        Ok(())
    }
}

/// Notices of a namespace.
struct Notices {
    router: Router,
    metadata: Metadata,
    request: ListNoticesRequest,
    read: std::vec::IntoIter<Notice>,
}

impl Pages for Notices {
    fn next(&mut self, payloads: Payloads) -> Option<String> {
        let notice = self.read.next()?;
        Some(told("notice", Some(&notice.number.to_string()), &json::to_value(&notice, payloads)))
    }

    fn end(&self) -> Option<String> {
        None
    }

    fn quiet(&self) -> String {
        // Before the first read nothing is known.
        if self.request.after == 0 { COMMENT.to_owned() } else { format!("id: {}\n\n", self.request.after) }
    }

    async fn read(&mut self) -> Result<(), Status> {
        let answer = match call::unary(&self.router, NOTICES, self.metadata.clone(), &self.request.encode_to_vec()).await {
            // A busy server was late with saying that there was nothing: it is asked again how far that is, and answers at once.
            Err(status) if status.code() == Code::DeadlineExceeded => {
                self.request.wait = false;
                return Ok(());
            }
            answer => answer?,
        };
        let page = ListNoticesResponse::decode(answer).map_err(unreadable)?;
        self.request.from_now = false;
        self.request.after = page.next;
        self.request.wait = !page.more;
        self.read = page.notices.into_iter();
        Ok(())
    }
}

/// A list of runs that is watched.
struct Runs {
    list: WatchedList,
    /// Who reads it; `None`: nobody is asked.
    pass: Option<Pass>,
    draining: watch::Receiver<bool>,
    payloads: Payloads,
    ended: bool,
    _open: OwnedSemaphorePermit,
}

async fn run_change(mut state: Runs) -> Option<(String, Runs)> {
    if state.ended {
        return None;
    }
    let gone = async {
        match &state.pass {
            Some(pass) => pass.gone().await,
            None => std::future::pending().await,
        }
    };
    let change = tokio::select! {
        change = timeout(QUIET_MAX, state.list.next()) => Ok(change),
        refused = gone => Err(refused),
        _ = state.draining.wait_for(|draining| *draining) => return None,
    };
    let change = match change {
        Ok(change) => change,
        Err(refused) => {
            state.ended = true;
            return Some((told("refused", None, &status_value(&refused, state.payloads)), state));
        }
    };
    let text = match change {
        Err(_) => COMMENT.to_owned(),
        Ok(change) => match change? {
            Err(refused) => {
                state.ended = true;
                told("refused", None, &status_value(&status::from_refusal(refused), state.payloads))
            }
            Ok(change) => match change {
                ListChange::Begin => told("begin", None, &json!({})),
                ListChange::Run(info) => told("run", None, &json::to_value(&*info, state.payloads)),
                ListChange::Left(execution) => told("left", None, &json::to_value(&execution, state.payloads)),
                ListChange::Ready => told("ready", None, &json!({})),
                ListChange::Lagged(lost) => told("lagged", None, &json!({ "lost": lost.to_string() })),
            },
        },
    };
    Some((text, state))
}

/// One event. JSON has no line breaks.
fn told(kind: &str, id: Option<&str>, data: &Value) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("event: {kind}\n{id}data: {data}\n\n")
}

fn events(all: impl Stream<Item = String> + Send + 'static) -> Answer {
    let all = stream::once(async { RETRY.to_owned() }).chain(all);
    let frames = all.map(|text| Ok::<_, Infallible>(Frame::data(Bytes::from(text))));
    let mut answer = http::Response::new(StreamBody::new(frames).boxed_unsync());
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies that collect answers are asked not to.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    for (name, value) in headers {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_streams() {
        let of = |path: &str| Named::of(&path.split('/').skip(1).map(str::to_owned).collect::<Vec<_>>());
        let history = Named::History { namespace: "n".into(), workflow_id: "w".into() };
        assert_eq!(of("/api/v1/namespaces/n/workflows/w/history-stream"), Some(history));
        assert_eq!(of("/api/v1/namespaces/n/workflow-stream"), Some(Named::Runs { namespace: "n".into() }));
        assert_eq!(of("/api/v1/namespaces/n/notice-stream"), Some(Named::Notices { namespace: "n".into() }));
        for path in ["/api/v1/namespaces/n/workflows/w/history", "/namespaces/n/workflow-stream", "/"] {
            assert_eq!(of(path), None, "{path}");
        }
    }

    /// Pages that say nothing, and then one thing.
    struct Silent {
        reads: usize,
        told: bool,
    }

    impl Pages for Silent {
        fn next(&mut self, _: Payloads) -> Option<String> {
            (self.reads == 2 && !std::mem::replace(&mut self.told, true)).then(|| "event".to_owned())
        }

        fn end(&self) -> Option<String> {
            self.told.then(|| "end".to_owned())
        }

        fn quiet(&self) -> String {
            format!("quiet {}", self.reads)
        }

        async fn read(&mut self) -> Result<(), Status> {
            self.reads += 1;
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_read_that_finds_nothing_is_told_as_quiet() {
        let (_sender, draining) = watch::channel(false);
        let open = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("one");
        let pages = Silent { reads: 0, told: false };
        let state =
            Telling { opening: Some("opening".to_owned()), pages, draining, payloads: Payloads::Shorthand, ended: false, _open: open };
        let all: Vec<String> = stream::unfold(state, tell).collect().await;
        assert_eq!(all, ["opening", "quiet 1", "event", "end"]);
    }

    #[test]
    fn an_event_is_lines_and_an_empty_one() {
        let text = told("history", Some("r/1"), &json!({ "a": "x\ny" }));
        assert_eq!(text, "event: history\nid: r/1\ndata: {\"a\":\"x\\ny\"}\n\n");
    }
}
