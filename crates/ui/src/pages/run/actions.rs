//! What can be done to a run: the forms, and the calls behind them.

use maud::html;
use prost::Message;
use sempre_api::{
    sempre::v1::ForkWorkflowExecutionRequest,
    v1::{
        enums::{ResetReapplyExcludeType, UpdateWorkflowExecutionLifecycleStage},
        update::{Input, Meta, Request, WaitPolicy, outcome},
        workflowservice::{
            DeleteWorkflowExecutionRequest, PauseWorkflowExecutionRequest, RequestCancelWorkflowExecutionRequest,
            ResetWorkflowExecutionRequest, SignalWorkflowExecutionRequest, TerminateWorkflowExecutionRequest,
            UnpauseWorkflowExecutionRequest, UpdateWorkflowExecutionRequest,
        },
    },
};
use uuid::Uuid;

use super::{
    Place, activity, describe, events_from, forms,
    queries::{self, Words},
};
use crate::{
    answer::redirect,
    layout::{Form, Page, Section, crumbs},
    route::Answer,
    show,
    visit::{IDENTITY, Problem, Visit},
    why,
};

/// How long a worker may take to say what its code understands, while somebody waits for a form.
const WORDS_MS: u32 = 700;
/// How long an update's answer is waited for.
const UPDATE_MS: u32 = 30_000;
/// Events before the one that a reset names that are looked through for the end of a workflow task.
const BACK_MAX: i64 = 1000;

/// What a done action leads to.
enum Done {
    /// Back to the run.
    Here,
    /// To the new run.
    Run(String),
    /// To the list: the run is gone.
    List,
    /// An answer to show.
    Shown(maud::Markup),
}

/// The form of an action.
pub(crate) async fn form(visit: &Visit<'_>, place: &Place<'_>, action: &str, error: Option<&str>) -> Answer {
    show_form(visit, place, action, error, html! {}).await
}

async fn show_form(visit: &Visit<'_>, place: &Place<'_>, action: &str, error: Option<&str>, answer: maud::Markup) -> Answer {
    let description = describe(visit, place).await?;
    let info = description.workflow_execution_info.unwrap_or_default();
    let words = match action {
        "signal" | "update" | "query" if why::is_open(&info) => queries::words(visit, place, WORDS_MS).await,
        _ => Words::default(),
    };
    let asked = forms::of(visit, place, action, &words, info.history_length)?;
    let form = Form {
        title: asked.title,
        text: html! { p { (asked.text) } },
        to: place.link(visit, &["do", action]),
        fields: html! { (asked.fields) (answer) },
        send: asked.send,
        danger: asked.danger,
        back: place.link(visit, &[]),
    };
    let body = html! {
        (crumbs(&[("Workflows", visit.link(&["namespaces", place.namespace, "workflows"])), (place.id, place.link(visit, &[]))]))
        (form.show(visit, error))
    };
    Ok(Page::new(place.namespace, Section::Workflows, format!("{} · {}", asked.title, place.id), body).answer(visit))
}

/// Does it.
pub(crate) async fn send(visit: &Visit<'_>, place: &Place<'_>, action: &str) -> Answer {
    let done = match action {
        "signal" | "cancel" | "terminate" | "pause" | "unpause" | "delete" => plain(visit, place, action).await,
        "update" => update(visit, place).await,
        "query" => query(visit, place).await,
        "reset" => reset(visit, place).await,
        "fork" => fork(visit, place).await,
        _ => activity::send(visit, place, action).await.map(|()| Done::Here),
    };
    let back = |segments: &[&str]| redirect(&visit.link_with(segments, &[("done", action)]));
    match done {
        Ok(Done::Here) => Ok(back(&["namespaces", place.namespace, "workflows", place.id, place.run])),
        Ok(Done::Run(run)) => Ok(back(&["namespaces", place.namespace, "workflows", place.id, &run])),
        Ok(Done::List) => Ok(back(&["namespaces", place.namespace, "workflows"])),
        Ok(Done::Shown(answer)) => show_form(visit, place, action, None, answer).await,
        // The form again, with what was written into it and with what is wrong. Of a run that is not there, there is none.
        Err(problem) => match form(visit, place, action, Some(problem.0.message())).await {
            Ok(answer) => Ok(answer),
            Err(_) => Err(problem),
        },
    }
}

async fn plain(visit: &Visit<'_>, place: &Place<'_>, action: &str) -> Result<Done, Problem> {
    let namespace = place.namespace.to_owned();
    let (workflow_id, run_id) = (place.id.to_owned(), place.run.to_owned());
    let (identity, reason) = (IDENTITY.to_owned(), visit.field("reason").to_owned());
    let request_id = Uuid::new_v4().to_string();
    let workflow_execution = Some(place.execution());
    match action {
        "signal" => {
            let signal_name = visit.field("name").to_owned();
            let input = visit.input()?;
            let request = SignalWorkflowExecutionRequest {
                namespace,
                workflow_execution,
                signal_name,
                input,
                identity,
                request_id,
                ..Default::default()
            };
            visit.ask(request).await?;
        }
        "cancel" => {
            let request =
                RequestCancelWorkflowExecutionRequest { namespace, workflow_execution, identity, request_id, reason, ..Default::default() };
            visit.ask(request).await?;
        }
        "terminate" => {
            let request = TerminateWorkflowExecutionRequest { namespace, workflow_execution, reason, identity, ..Default::default() };
            visit.ask(request).await?;
        }
        "pause" => {
            visit.ask(PauseWorkflowExecutionRequest { namespace, workflow_id, run_id, identity, reason, request_id }).await?;
        }
        "unpause" => {
            visit.ask(UnpauseWorkflowExecutionRequest { namespace, workflow_id, run_id, identity, reason, request_id }).await?;
        }
        _ => {
            visit.ask(DeleteWorkflowExecutionRequest { namespace, workflow_execution }).await?;
            return Ok(Done::List);
        }
    }
    Ok(Done::Here)
}

async fn update(visit: &Visit<'_>, place: &Place<'_>) -> Result<Done, Problem> {
    let request = Request {
        meta: Some(Meta { update_id: Uuid::new_v4().to_string(), identity: IDENTITY.to_owned() }),
        input: Some(Input { name: visit.field("name").to_owned(), args: visit.input()?, ..Default::default() }),
        ..Default::default()
    };
    let request = UpdateWorkflowExecutionRequest {
        namespace: place.namespace.to_owned(),
        workflow_execution: Some(place.execution()),
        wait_policy: Some(WaitPolicy { lifecycle_stage: UpdateWorkflowExecutionLifecycleStage::Completed.into() }),
        request: Some(request),
        ..Default::default()
    };
    let answer = visit.ask_within(request, UPDATE_MS).await?;
    let stage = UpdateWorkflowExecutionLifecycleStage::try_from(answer.stage).unwrap_or_default();
    Ok(Done::Shown(html! {
        section.answer role="status" {
            @match answer.outcome.as_ref().and_then(|outcome| outcome.value.as_ref()) {
                Some(outcome::Value::Success(payloads)) => { h2 { "Completed" } (show::payloads(Some(payloads))) }
                Some(outcome::Value::Failure(failure)) => { h2 { "Failed" } (show::failure(failure)) }
                None => { h2 { "No answer yet" } p { "It was " (show::words(stage.as_str_name(), "UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_").to_lowercase()) "; its end is shown among the updates of the run." } }
            }
        }
    }))
}

async fn query(visit: &Visit<'_>, place: &Place<'_>) -> Result<Done, Problem> {
    let answer = queries::ask(visit, place, visit.field("name"), visit.input()?, 9000).await?;
    Ok(Done::Shown(html! { section.answer role="status" { h2 { "Answer" } (show::payloads(Some(&answer))) } }))
}

async fn reset(visit: &Visit<'_>, place: &Place<'_>) -> Result<Done, Problem> {
    let mut exclude = Vec::new();
    for (box_name, kind) in [("no-signals", ResetReapplyExcludeType::Signal), ("no-updates", ResetReapplyExcludeType::Update)] {
        if visit.is_set(box_name) {
            exclude.push(kind.into());
        }
    }
    let request = ResetWorkflowExecutionRequest {
        namespace: place.namespace.to_owned(),
        workflow_execution: Some(place.execution()),
        reason: visit.field("reason").to_owned(),
        workflow_task_finish_event_id: finish(visit, place).await?,
        request_id: Uuid::new_v4().to_string(),
        reset_reapply_exclude_types: exclude,
        identity: IDENTITY.to_owned(),
        ..Default::default()
    };
    Ok(Done::Run(visit.ask(request).await?.run_id))
}

/// The event at which a reset begins: the end of the workflow task that is meant.
async fn finish(visit: &Visit<'_>, place: &Place<'_>) -> Result<i64, Problem> {
    use sempre_api::v1::enums::EventType as T;
    let info = describe(visit, place).await?.workflow_execution_info.unwrap_or_default();
    let last = info.history_length;
    let (from, count, first) = match visit.field("to") {
        "first" => (1, BACK_MAX, true),
        "event" => {
            let event: i64 = visit.number("event")?;
            if !(1..=last).contains(&event) {
                return Err(Problem::invalid(format!("Write the id of an event of this run, from 1 to {last}.")));
            }
            ((event - BACK_MAX + 1).max(1), event.min(BACK_MAX), false)
        }
        _ => ((last - BACK_MAX + 1).max(1), last.min(BACK_MAX), false),
    };
    let events = events_from(visit, place, from, usize::try_from(count).unwrap_or_default()).await?;
    let ends = |event: &&sempre_api::v1::history::HistoryEvent| {
        matches!(
            T::try_from(event.event_type).unwrap_or_default(),
            T::WorkflowTaskCompleted | T::WorkflowTaskFailed | T::WorkflowTaskTimedOut
        )
    };
    let found = if first { events.iter().find(ends) } else { events.iter().rev().find(ends) };
    found
        .map(|event| event.event_id)
        .ok_or_else(|| Problem::invalid("No workflow task of this run has ended there yet, so there is nothing to go back to."))
}

async fn fork(visit: &Visit<'_>, place: &Place<'_>) -> Result<Done, Problem> {
    let input = match visit.is_set("other-input") {
        true => Some(visit.input()?.unwrap_or_default().encode_to_vec().into()),
        false => None,
    };
    let request = ForkWorkflowExecutionRequest {
        namespace: place.namespace.to_owned(),
        workflow_id: place.id.to_owned(),
        run_id: place.run.to_owned(),
        event_id: visit.number("event")?,
        input,
        apply_later_events: visit.is_set("later"),
        reason: visit.field("reason").to_owned(),
        identity: IDENTITY.to_owned(),
        request_id: Uuid::new_v4().to_string(),
    };
    Ok(Done::Run(visit.ask(request).await?.run_id))
}
