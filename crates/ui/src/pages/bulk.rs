//! What is done to many runs at once, by a batch operation: first how many, then whether.

use maud::{Markup, html};
use prost::Message;
use sempre_api::{
    sempre::v1::{PreviewBatchOperationRequest, PreviewBatchOperationResponse},
    v1::{
        batch::{BatchOperationCancellation, BatchOperationDeletion, BatchOperationReset, BatchOperationSignal, BatchOperationTermination},
        common::{ResetOptions, WorkflowExecution, reset_options::Target},
        workflowservice::{StartBatchOperationRequest, start_batch_operation_request::Operation},
    },
};
use uuid::Uuid;

use crate::{
    answer::redirect,
    layout::{Form, Page, Section, crumbs, json_field, required_field, select_field, text_field},
    route::Answer,
    show,
    visit::{IDENTITY, Problem, Visit},
};

/// Runs that are shown before it is done.
const SAMPLE: i32 = 10;
const RESET_TO: [(&str, &str); 2] = [("first", "Their first workflow task"), ("last", "Their last workflow task")];

/// One of the operations: its title, what it does, the name of its button.
fn words(operation: &str) -> Result<(&'static str, &'static str, &'static str), Problem> {
    Ok(match operation {
        "cancel" => ("Cancel workflows", "Each is asked to cancel; its code decides what it does about that.", "Cancel them"),
        "terminate" => ("Terminate workflows", "Each is closed at once, without asking its code.", "Terminate them"),
        "signal" => ("Signal workflows", "Each gets the same signal.", "Send the signal"),
        "reset" => ("Reset workflows", "Each goes on from an earlier point, in a new run; an open one is terminated for it.", "Reset them"),
        "delete" => ("Delete workflows", "Each goes with its history. Nothing brings it back.", "Delete them"),
        _ => return Err(Problem(tonic::Status::not_found("There is no such operation."))),
    })
}

/// The runs that were ticked, else the query.
#[expect(deprecated, reason = "the field that every server of this API takes")]
fn target(visit: &Visit, namespace: &str) -> Result<StartBatchOperationRequest, Problem> {
    let ticked = visit.fields("run").filter_map(|run| run.split_once(' '));
    let executions: Vec<WorkflowExecution> =
        ticked.map(|(run, id)| WorkflowExecution { workflow_id: id.to_owned(), run_id: run.to_owned() }).collect();
    let visibility_query = match (executions.is_empty(), visit.field("query")) {
        (false, _) => String::new(),
        // Every run of the namespace, said in the language of filters.
        (true, "") => "WorkflowId IS NOT NULL".to_owned(),
        (true, query) => query.to_owned(),
    };
    Ok(StartBatchOperationRequest {
        namespace: namespace.to_owned(),
        job_id: Uuid::new_v4().to_string(),
        reason: visit.field("reason").to_owned(),
        visibility_query,
        executions,
        ..Default::default()
    })
}

fn operation(visit: &Visit, name: &str) -> Result<Operation, Problem> {
    let identity = IDENTITY.to_owned();
    Ok(match name {
        "cancel" => Operation::CancellationOperation(BatchOperationCancellation { identity }),
        "terminate" => Operation::TerminationOperation(BatchOperationTermination { identity, ..Default::default() }),
        "delete" => Operation::DeletionOperation(BatchOperationDeletion { identity }),
        "signal" => Operation::SignalOperation(BatchOperationSignal {
            signal: visit.field("signal").to_owned(),
            input: visit.input()?,
            identity,
            ..Default::default()
        }),
        _ => {
            let target = if visit.field("to") == "last" { Target::LastWorkflowTask(()) } else { Target::FirstWorkflowTask(()) };
            let options = Some(ResetOptions { target: Some(target), ..Default::default() });
            Operation::ResetOperation(BatchOperationReset { identity, options, ..Default::default() })
        }
    })
}

async fn preview(visit: &Visit<'_>, request: &StartBatchOperationRequest, name: &str) -> Result<PreviewBatchOperationResponse, Problem> {
    // What is only asked for in the form must not be missing for the count.
    let operation = match name {
        "signal" => Operation::SignalOperation(BatchOperationSignal { signal: "preview".into(), ..Default::default() }),
        _ => operation(visit, name)?,
    };
    let start = StartBatchOperationRequest { operation: Some(operation), reason: "preview".into(), ..request.clone() };
    let request =
        PreviewBatchOperationRequest { namespace: start.namespace.clone(), start: start.encode_to_vec().into(), sample_size: SAMPLE };
    visit.ask(request).await
}

/// How many it would be, some of them, and what is to be said about it.
pub(crate) async fn form(visit: &Visit<'_>, namespace: &str, name: &str, error: Option<&str>) -> Answer {
    let (title, text, send) = words(name)?;
    let request = target(visit, namespace)?;
    let preview = preview(visit, &request, name).await?;
    let back = visit.link_with(&["namespaces", namespace, "workflows"], &[("query", visit.field("query"))]);
    let fields = html! {
        input type="hidden" name="query" value=(visit.field("query"));
        @for run in visit.fields("run") { input type="hidden" name="run" value=(run); }
        @if name == "signal" {
            (required_field("signal", "Name of the signal", visit.field("signal"), ""))
            (json_field("input", "Input", visit.field("input")))
        }
        @if name == "reset" { (select_field("to", "Go on from", visit.field("to"), &RESET_TO)) }
        (required_field("reason", "Reason", visit.field("reason"), "Kept with the operation and in the histories."))
        (text_field("rps", "At most so many a second", visit.field("rps"), "Empty: as the server is set."))
    };
    let form = Form {
        title,
        text: html! { p { (text) } (targets(visit, namespace, &request, &preview)) },
        to: visit.link(&["namespaces", namespace, "bulk", name]),
        fields,
        send,
        danger: matches!(name, "terminate" | "delete"),
        back,
    };
    let list = visit.link(&["namespaces", namespace, "workflows"]);
    let body = html! { (crumbs(&[("Workflows", list)])) (form.show(visit, error)) };
    Ok(Page::new(namespace, Section::Workflows, title, body).answer(visit))
}

fn targets(visit: &Visit, namespace: &str, request: &StartBatchOperationRequest, preview: &PreviewBatchOperationResponse) -> Markup {
    let more = preview.total - i64::try_from(preview.sample.len()).unwrap_or_default();
    html! {
        p.big { b { (show::counted(preview.total, "run", "runs")) } @if preview.total > 0 && !request.visibility_query.is_empty() { ", and any that match when it is done" } }
        @if !request.visibility_query.is_empty() { p { code { (request.visibility_query) } } }
        ul.sample {
            @for target in &preview.sample {
                li { a.id href=(visit.link(&["namespaces", namespace, "workflows", &target.workflow_id, &target.run_id])) title=(target.workflow_id) { (target.workflow_id) } }
            }
            @if more > 0 && !preview.sample.is_empty() { li.muted { "and " (show::count(more)) " more" } }
        }
    }
}

/// Starts it.
pub(crate) async fn send(visit: &Visit<'_>, namespace: &str, name: &str) -> Answer {
    words(name)?;
    let started = async {
        let mut request = target(visit, namespace)?;
        request.operation = Some(operation(visit, name)?);
        request.max_operations_per_second = visit.number("rps")?;
        let job = request.job_id.clone();
        visit.ask(request).await?;
        Ok::<_, Problem>(job)
    };
    match started.await {
        Ok(job) => Ok(redirect(&visit.link_with(&["namespaces", namespace, "batch-operations", &job], &[("done", "batch")]))),
        Err(problem) => form(visit, namespace, name, Some(problem.0.message())).await,
    }
}
