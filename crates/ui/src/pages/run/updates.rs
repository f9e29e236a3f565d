//! The updates of a run, by the newest of its events.

use maud::{Markup, html};
use sempre_api::v1::{
    history::{HistoryEvent, history_event::Attributes},
    update::{Request, outcome},
    workflow::WorkflowExecutionInfo,
};

use super::{Place, events_from};
use crate::{
    layout::action,
    show::{self, badge},
    visit::{Problem, Visit},
    why,
};

/// The newest events that are looked through.
const EVENTS_MAX: i64 = 2000;

/// One update as far as history tells.
struct Update<'e> {
    event: &'e HistoryEvent,
    request: Option<&'e Request>,
    outcome: Option<&'e outcome::Value>,
}

pub(super) async fn part(visit: &Visit<'_>, place: &Place<'_>, info: &WorkflowExecutionInfo) -> Result<Markup, Problem> {
    let from = (info.history_length - EVENTS_MAX + 1).max(1);
    let events = events_from(visit, place, from, usize::try_from(EVENTS_MAX).unwrap_or_default()).await?;
    let mut all: Vec<Update> = Vec::new();
    for event in &events {
        match &event.attributes {
            Some(Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(accepted)) => {
                all.push(Update { event, request: accepted.accepted_request.as_ref(), outcome: None });
            }
            Some(Attributes::WorkflowExecutionUpdateCompletedEventAttributes(completed)) => {
                if let Some(update) = all.iter_mut().find(|update| update.event.event_id == completed.accepted_event_id) {
                    update.outcome = completed.outcome.as_ref().and_then(|outcome| outcome.value.as_ref());
                }
            }
            _ => {}
        }
    }
    let open = why::is_open(info);
    Ok(html! {
        section.panel #updates data-live {
            div.panel-head { h2 { "Updates" } span.grow {} @if open { (action(&place.link(visit, &["do", "update"]), "Send an update", "")) } }
            @if all.is_empty() { (show::empty("No updates", html! { p { "An update changes a workflow and has its answer waited for. Rejected ones leave no trace." } })) }
            @for update in all.iter().rev() { (one(visit, update)) }
            @if from > 1 { p.muted { "Of the newest " (show::count(EVENTS_MAX)) " events." } }
        }
    })
}

fn one(visit: &Visit, update: &Update) -> Markup {
    let input = update.request.and_then(|request| request.input.as_ref());
    let meta = update.request.and_then(|request| request.meta.as_ref());
    let (tone, state) = match update.outcome {
        None => ("blue", "Accepted"),
        Some(outcome::Value::Success(_)) => ("green", "Completed"),
        Some(outcome::Value::Failure(_)) => ("red", "Failed"),
    };
    html! {
        details.update data-key=(format!("{} {}", update.event.event_id, state)) {
            summary { (badge(tone, state)) " " strong { (input.map(|input| input.name.as_str()).unwrap_or_default()) } " "
                span.muted { (meta.map(|meta| meta.update_id.as_str()).unwrap_or_default()) ", accepted " (visit.times.show(update.event.event_time.as_ref())) } }
            div.two { div { h3 { "Input" } (show::payloads(input.and_then(|input| input.args.as_ref()))) }
                div { h3 { "Outcome" } @match update.outcome {
                    None => { p.muted { "None yet" } }
                    Some(outcome::Value::Success(payloads)) => { (show::payloads(Some(payloads))) }
                    Some(outcome::Value::Failure(failure)) => { (show::failure(failure)) }
                } } }
        }
    }
}
