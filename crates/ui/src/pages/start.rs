//! Starting a workflow, from nothing or like another run.

use maud::html;
use sempre_api::v1::{
    common::{WorkflowExecution, WorkflowType},
    enums::{WorkflowIdConflictPolicy, WorkflowIdReusePolicy},
    history::{WorkflowExecutionStartedEventAttributes, history_event::Attributes},
    taskqueue::TaskQueue,
    workflowservice::{GetWorkflowExecutionHistoryRequest, StartWorkflowExecutionRequest},
};
use uuid::Uuid;

use crate::{
    answer::redirect,
    json,
    layout::{Form, Page, Section, check_field, crumbs, json_field, required_field, text_field},
    route::Answer,
    visit::{IDENTITY, Problem, Visit},
};

/// What the form begins with.
#[derive(Default)]
struct Begin {
    id: String,
    kind: String,
    queue: String,
    input: String,
    /// The other run's input is no JSON: it is taken as it is.
    input_is_kept: bool,
    like: String,
}

/// How another run was started.
async fn started(visit: &Visit<'_>, namespace: &str, like: &str) -> Result<WorkflowExecutionStartedEventAttributes, Problem> {
    let missing = || Problem::invalid("the run to start like is not named whole");
    let (run, id) = like.split_once(' ').ok_or_else(missing)?;
    let request = GetWorkflowExecutionHistoryRequest {
        namespace: namespace.to_owned(),
        execution: Some(WorkflowExecution { workflow_id: id.to_owned(), run_id: run.to_owned() }),
        maximum_page_size: 1,
        ..Default::default()
    };
    let first = super::run::events(visit, request).await?.0.into_iter().next().and_then(|event| event.attributes);
    match first {
        Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) => Ok(*started),
        _ => Err(missing()),
    }
}

/// The form.
pub(crate) async fn form(visit: &Visit<'_>, namespace: &str) -> Answer {
    let mut begin = Begin { queue: visit.query("queue").to_owned(), kind: visit.query("type").to_owned(), ..Begin::default() };
    let like = visit.query("like");
    if !like.is_empty() {
        let started = started(visit, namespace, like).await?;
        let input = json::as_input(started.input.as_ref());
        begin = Begin {
            id: like.split_once(' ').map_or("", |(_, id)| id).to_owned(),
            kind: started.workflow_type.map(|kind| kind.name).unwrap_or_default(),
            queue: started.task_queue.map(|queue| queue.name).unwrap_or_default(),
            input_is_kept: input.is_none(),
            input: input.unwrap_or_default(),
            like: like.to_owned(),
        };
    }
    Ok(show(visit, namespace, &begin, None))
}

fn show(visit: &Visit, namespace: &str, begin: &Begin, error: Option<&str>) -> http::Response<bytes::Bytes> {
    let list = visit.link(&["namespaces", namespace, "workflows"]);
    let form = Form {
        title: if begin.like.is_empty() { "Start workflow" } else { "Start like this one" },
        text: html! {},
        to: visit.link(&["namespaces", namespace, "start-workflow"]),
        fields: html! {
            input type="hidden" name="like" value=(begin.like);
            (text_field("id", "Workflow id", &begin.id, "Empty: a new one is made."))
            (required_field("type", "Type", &begin.kind, ""))
            (required_field("queue", "Task queue", &begin.queue, "The one that your worker polls."))
            @if begin.input_is_kept {
                p.hint { "The input of that run is not JSON (it may be encrypted). It is given to the new run as it is." }
            } @else { (json_field("input", "Input", &begin.input)) }
            (check_field("replace", "If a run of this id is open, terminate it first", visit.is_set("replace")))
        },
        send: "Start",
        danger: false,
        back: list.clone(),
    };
    let body = html! { (crumbs(&[("Workflows", list)])) (form.show(visit, error)) };
    Page::new(namespace, Section::Workflows, form.title, body).answer(visit)
}

/// Starts it.
pub(crate) async fn send(visit: &Visit<'_>, namespace: &str) -> Answer {
    let like = visit.field("like");
    let mut begin = Begin {
        id: visit.field("id").to_owned(),
        kind: visit.field("type").to_owned(),
        queue: visit.field("queue").to_owned(),
        input: visit.field("input").to_owned(),
        like: like.to_owned(),
        input_is_kept: false,
    };
    let sent = async {
        let other = if like.is_empty() { None } else { Some(started(visit, namespace, like).await?) };
        let mut request = StartWorkflowExecutionRequest {
            namespace: namespace.to_owned(),
            workflow_id: if begin.id.is_empty() { Uuid::new_v4().to_string() } else { begin.id.clone() },
            workflow_type: Some(WorkflowType { name: begin.kind.clone() }),
            task_queue: Some(TaskQueue { name: begin.queue.clone(), ..Default::default() }),
            identity: IDENTITY.to_owned(),
            request_id: Uuid::new_v4().to_string(),
            workflow_id_reuse_policy: WorkflowIdReusePolicy::AllowDuplicate.into(),
            workflow_id_conflict_policy: WorkflowIdConflictPolicy::Fail.into(),
            ..Default::default()
        };
        if visit.is_set("replace") {
            request.workflow_id_conflict_policy = WorkflowIdConflictPolicy::TerminateExisting.into();
        }
        match other {
            Some(other) => {
                begin.input_is_kept = json::as_input(other.input.as_ref()).is_none();
                request.input = if begin.input_is_kept { other.input } else { visit.input()? };
                request.memo = other.memo;
                request.search_attributes = other.search_attributes;
                request.header = other.header;
                request.retry_policy = other.retry_policy;
                request.workflow_execution_timeout = other.workflow_execution_timeout;
                request.workflow_run_timeout = other.workflow_run_timeout;
                request.workflow_task_timeout = other.workflow_task_timeout;
                request.priority = other.priority;
            }
            None => request.input = visit.input()?,
        }
        let id = request.workflow_id.clone();
        let run = visit.ask(request).await?.run_id;
        Ok::<_, Problem>((id, run))
    };
    match sent.await {
        Ok((id, run)) => Ok(redirect(&visit.link_with(&["namespaces", namespace, "workflows", &id, &run], &[("done", "start")]))),
        Err(problem) => Ok(show(visit, namespace, &begin, Some(problem.0.message()))),
    }
}
