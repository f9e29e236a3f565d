//! What can be done to a schedule besides changing it.

use maud::{Markup, html};
use sempre_api::{
    Timestamp,
    v1::{
        enums::ScheduleOverlapPolicy,
        schedule::{BackfillRequest, SchedulePatch, TriggerImmediatelyRequest},
        workflowservice::{DeleteScheduleRequest, PatchScheduleRequest},
    },
};
use uuid::Uuid;

use super::{OVERLAPS, one::describe};
use crate::{
    answer::redirect,
    layout::{Form, Page, Section, crumbs, select_field, text_field},
    route::Answer,
    visit::{IDENTITY, Problem, Visit},
};

fn asked(visit: &Visit, action: &str) -> Result<(&'static str, &'static str, Markup, &'static str), Problem> {
    let value = |name: &str| visit.field(name).to_owned();
    let overlaps: Vec<(&str, &str)> = std::iter::once(("", "As the schedule says")).chain(OVERLAPS).collect();
    let time = |name: &str, label: &str| {
        html! {
            label.field { span.label { (label) } input type="datetime-local" name=(name) value=(value(name)) step="1" required; }
        }
    };
    Ok(match action {
        "trigger" => (
            "Trigger",
            "Its action is taken now, besides those that are due.",
            select_field("overlap", "While one is open", &value("overlap"), &overlaps),
            "Trigger it",
        ),
        "pause" => ("Pause", "No action is taken until it is unpaused.", text_field("notes", "Why", &value("notes"), ""), "Pause it"),
        "unpause" => (
            "Unpause",
            "Actions are taken again. What was missed meanwhile is not made up for.",
            text_field("notes", "Why", &value("notes"), ""),
            "Unpause it",
        ),
        "backfill" => (
            "Backfill",
            "What would have been done between two times is done now.",
            html! {
                (time("from", "From")) (time("to", "To"))
                p.hint { "In your time zone, " (visit.times.zone.iana_name().unwrap_or("UTC")) "." }
                (select_field("overlap", "While one is open", &value("overlap"), &overlaps))
            },
            "Backfill it",
        ),
        "delete" => ("Delete", "The schedule goes. Workflows that it has started go on.", html! {}, "Delete it"),
        _ => return Err(Problem(tonic::Status::not_found("Nothing of that name can be done to a schedule."))),
    })
}

/// The form of an action.
pub(crate) async fn form(visit: &Visit<'_>, namespace: &str, id: &str, action: &str, error: Option<&str>) -> Answer {
    describe(visit, namespace, id).await?;
    let (title, text, fields, send) = asked(visit, action)?;
    let page = visit.link(&["namespaces", namespace, "schedules", id]);
    let form = Form {
        title,
        text: html! { p { (text) } p { code { (id) } } },
        to: visit.link(&["namespaces", namespace, "schedules", id, "do", action]),
        fields,
        send,
        danger: action == "delete",
        back: page.clone(),
    };
    let body =
        html! { (crumbs(&[("Schedules", visit.link(&["namespaces", namespace, "schedules"])), (id, page)])) (form.show(visit, error)) };
    Ok(Page::new(namespace, Section::Schedules, format!("{title} · {id}"), body).answer(visit))
}

/// Does it.
pub(crate) async fn send(visit: &Visit<'_>, namespace: &str, id: &str, action: &str) -> Answer {
    asked(visit, action)?;
    match act(visit, namespace, id, action).await {
        Ok(()) => {
            let done = format!("schedule-{action}");
            let place: &[&str] =
                if action == "delete" { &["namespaces", namespace, "schedules"] } else { &["namespaces", namespace, "schedules", id] };
            Ok(redirect(&visit.link_with(place, &[("done", done.as_str())])))
        }
        Err(problem) => match form(visit, namespace, id, action, Some(problem.0.message())).await {
            Ok(answer) => Ok(answer),
            Err(_) => Err(problem),
        },
    }
}

async fn act(visit: &Visit<'_>, namespace: &str, id: &str, action: &str) -> Result<(), Problem> {
    let (namespace, schedule_id) = (namespace.to_owned(), id.to_owned());
    let overlap_policy = ScheduleOverlapPolicy::from_str_name(visit.field("overlap")).unwrap_or_default().into();
    // A pause or its end is made by a note, which must not be empty.
    let notes = if visit.field("notes").is_empty() { "in the UI".to_owned() } else { visit.field("notes").to_owned() };
    let patch = match action {
        "delete" => {
            visit.ask(DeleteScheduleRequest { namespace, schedule_id, identity: IDENTITY.to_owned() }).await?;
            return Ok(());
        }
        "trigger" => SchedulePatch {
            trigger_immediately: Some(TriggerImmediatelyRequest { overlap_policy, ..Default::default() }),
            ..Default::default()
        },
        "pause" => SchedulePatch { pause: notes, ..Default::default() },
        "unpause" => SchedulePatch { unpause: notes, ..Default::default() },
        _ => {
            let (start_time, end_time) = (time(visit, "from")?, time(visit, "to")?);
            if start_time.seconds >= end_time.seconds {
                return Err(Problem::invalid("The first time must be before the second."));
            }
            let backfill = BackfillRequest { start_time: Some(start_time), end_time: Some(end_time), overlap_policy };
            SchedulePatch { backfill_request: vec![backfill], ..Default::default() }
        }
    };
    let request = PatchScheduleRequest {
        namespace,
        schedule_id,
        patch: Some(patch),
        identity: IDENTITY.to_owned(),
        request_id: Uuid::new_v4().to_string(),
    };
    visit.ask(request).await?;
    Ok(())
}

/// A time as browsers send it, in the viewer's zone.
fn time(visit: &Visit, name: &str) -> Result<Timestamp, Problem> {
    let text = visit.field(name);
    let refuse = || Problem::invalid(format!("{text:?} is not a time; write it like 2026-03-01T09:30."));
    let civil: jiff::civil::DateTime = text.parse().map_err(|_| refuse())?;
    let at = civil.to_zoned(visit.times.zone.clone()).map_err(|_| refuse())?.timestamp();
    Ok(Timestamp { seconds: at.as_second(), nanos: 0 })
}
