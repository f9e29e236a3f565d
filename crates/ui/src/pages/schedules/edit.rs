//! The form that makes a schedule or changes one. What it does not show of an existing one stays as it is.

use maud::html;
use sempre_api::v1::{
    common::WorkflowType,
    enums::ScheduleOverlapPolicy,
    schedule::{Schedule, ScheduleAction, ScheduleSpec, schedule_action::Action},
    taskqueue::TaskQueue,
    workflow::NewWorkflowExecutionInfo,
    workflowservice::{CreateScheduleRequest, UpdateScheduleRequest},
};
use uuid::Uuid;

use super::{OVERLAPS, one::describe, spec};
use crate::{
    answer::redirect,
    json,
    layout::{Form, Page, Section, check_field, crumbs, json_field, required_field, select_field, text_field},
    route::Answer,
    visit::{IDENTITY, Problem, Visit},
};

/// The form. `id` is that of the schedule that is changed.
pub(crate) async fn form(visit: &Visit<'_>, namespace: &str, id: Option<&str>, error: Option<&str>) -> Answer {
    let (schedule, token) = match id {
        Some(id) => {
            let answer = describe(visit, namespace, id).await?;
            (answer.schedule.unwrap_or_default(), answer.conflict_token)
        }
        None => Default::default(),
    };
    let spec = schedule.spec.clone().unwrap_or_default();
    let policies = schedule.policies.unwrap_or_default();
    let state = schedule.state.clone().unwrap_or_default();
    let start = start_of(&schedule);
    let input = json::as_input(start.input.as_ref());
    let overlap = ScheduleOverlapPolicy::try_from(policies.overlap_policy).unwrap_or_default();
    // What was sent and refused stays written.
    let value = |name: &str, known: String| if visit.is_post { visit.field(name).to_owned() } else { known };
    let ticked = |name: &str, known: bool| if visit.is_post { visit.is_set(name) } else { known };
    let token: String =
        if visit.is_post { visit.field("conflict").to_owned() } else { token.iter().map(|byte| format!("{byte:02x}")).collect() };
    let fields = html! {
        input type="hidden" name="conflict" value=(token);
        @if id.is_none() { (required_field("id", "Schedule id", &value("id", String::new()), "")) }
        fieldset { legend { "When" }
            (text_area("cron", "Cron", &value("cron", spec.cron_string.join("\n")), "0 12 * * MON-FRI", "One line each; @daily and the like as well."))
            (text_area("interval", "Intervals", &value("interval", spec::intervals_text(&spec)), "1h", "One line each; 1h/10m is every hour, ten minutes after."))
            (text_area("calendar", "Calendars", &value("calendar", spec::calendars_text(&spec)), "{\"hour\": [{\"start\": 9}], \"dayOfWeek\": [{\"start\": 1, \"end\": 5}]}", "JSON, one line each. What cron lines were made of is here."))
            (text_field("zone", "Time zone", &value("zone", spec.timezone_name.clone()), "Such as Europe/Berlin. Empty: UTC."))
            (text_field("jitter", "Jitter", &value("jitter", json::written(spec.jitter.as_ref())), "Up to so much later, by chance."))
        }
        fieldset { legend { "What it starts" }
            (required_field("type", "Workflow type", &value("type", start.workflow_type.map(|kind| kind.name).unwrap_or_default()), ""))
            (required_field("queue", "Task queue", &value("queue", start.task_queue.map(|queue| queue.name).unwrap_or_default()), ""))
            (text_field("workflow", "Workflow id", &value("workflow", start.workflow_id), "The time is added to it. Empty: the schedule's id."))
            @match input {
                Some(input) => (json_field("input", "Input", &value("input", input))),
                None => { p.hint { "Its input is not JSON (it may be encrypted) and stays as it is." } }
            }
        }
        fieldset { legend { "How" }
            (select_field("overlap", "While one is open", &value("overlap", overlap.as_str_name().to_owned()), &OVERLAPS))
            (text_field("catchup", "Catch up", &value("catchup", json::written(policies.catchup_window.as_ref())), "What was missed for longer, as while the server was down, is left out. Empty: a year."))
            (check_field("pause-on-failure", "Pause when a workflow fails", ticked("pause-on-failure", policies.pause_on_failure)))
            (check_field("paused", "Paused", ticked("paused", state.paused)))
            (text_field("limit", "Actions at most", &value("limit", if state.limited_actions { state.remaining_actions.to_string() } else { String::new() }), "Empty: without end."))
            (text_field("notes", "Notes", &value("notes", state.notes), ""))
        }
    };
    let list = visit.link(&["namespaces", namespace, "schedules"]);
    let (title, send, to, back) = match id {
        Some(id) => (
            "Edit schedule",
            "Save",
            visit.link(&["namespaces", namespace, "schedules", id, "edit"]),
            visit.link(&["namespaces", namespace, "schedules", id]),
        ),
        None => ("Create schedule", "Create", visit.link(&["namespaces", namespace, "schedules", "create"]), list.clone()),
    };
    let form = Form { title, text: html! { @if let Some(id) = id { p { code { (id) } } } }, to, fields, send, danger: false, back };
    let body = html! { (crumbs(&[("Schedules", list)])) (form.show(visit, error)) };
    Ok(Page::new(namespace, Section::Schedules, title, body).answer(visit))
}

fn text_area(name: &str, label: &str, value: &str, placeholder: &str, hint: &str) -> maud::Markup {
    html! {
        label.field { span.label { (label) } textarea name=(name) rows="2" spellcheck="false" placeholder=(placeholder) { (value) } span.hint { (hint) } }
    }
}

fn start_of(schedule: &Schedule) -> NewWorkflowExecutionInfo {
    match schedule.action.as_ref().and_then(|action| action.action.clone()) {
        Some(Action::StartWorkflow(start)) => start,
        None => NewWorkflowExecutionInfo::default(),
    }
}

/// Makes or changes it.
pub(crate) async fn send(visit: &Visit<'_>, namespace: &str, id: Option<&str>) -> Answer {
    let sent = async {
        let (identity, request_id) = (IDENTITY.to_owned(), Uuid::new_v4().to_string());
        match id {
            Some(id) => {
                let known = describe(visit, namespace, id).await?;
                let request = UpdateScheduleRequest {
                    namespace: namespace.to_owned(),
                    schedule_id: id.to_owned(),
                    schedule: Some(changed(visit, known.schedule.unwrap_or_default(), id)?),
                    conflict_token: token(visit.field("conflict"))?.into(),
                    identity,
                    request_id,
                    ..Default::default()
                };
                visit.ask(request).await?;
                Ok::<_, Problem>((id.to_owned(), "schedule-update"))
            }
            None => {
                let id = visit.field("id").to_owned();
                let request = CreateScheduleRequest {
                    namespace: namespace.to_owned(),
                    schedule_id: id.clone(),
                    schedule: Some(changed(visit, Schedule::default(), &id)?),
                    identity,
                    request_id,
                    ..Default::default()
                };
                visit.ask(request).await?;
                Ok((id, "schedule-create"))
            }
        }
    };
    match sent.await {
        Ok((id, done)) => Ok(redirect(&visit.link_with(&["namespaces", namespace, "schedules", &id], &[("done", done)]))),
        Err(problem) => form(visit, namespace, id, Some(problem.0.message())).await,
    }
}

fn token(text: &str) -> Result<Vec<u8>, Problem> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()));
    pairs.collect::<Option<_>>().ok_or_else(|| Problem::invalid("The form is damaged; load the page again."))
}

/// The schedule with what the form says.
fn changed(visit: &Visit, mut schedule: Schedule, id: &str) -> Result<Schedule, Problem> {
    let lines =
        |name: &str| visit.field(name).lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let spec: &mut ScheduleSpec = schedule.spec.get_or_insert_default();
    spec.cron_string = lines("cron");
    spec.interval = spec::intervals(visit.field("interval"))?;
    spec.structured_calendar = spec::calendars(visit.field("calendar"))?;
    visit.field("zone").clone_into(&mut spec.timezone_name);
    spec.jitter = json::duration(visit.field("jitter"))?;
    if spec.cron_string.is_empty() && spec.interval.is_empty() && spec.structured_calendar.is_empty() && spec.calendar.is_empty() {
        return Err(Problem::invalid("Say when it acts: by cron, an interval or a calendar."));
    }
    let mut start = start_of(&schedule);
    start.workflow_type = Some(WorkflowType { name: visit.field("type").to_owned() });
    start.task_queue.get_or_insert_with(TaskQueue::default).name = visit.field("queue").to_owned();
    start.workflow_id = if visit.field("workflow").is_empty() { id.to_owned() } else { visit.field("workflow").to_owned() };
    if json::as_input(start.input.as_ref()).is_some() {
        start.input = visit.input()?;
    }
    schedule.action = Some(ScheduleAction { action: Some(Action::StartWorkflow(start)) });
    let policies = schedule.policies.get_or_insert_default();
    policies.overlap_policy = ScheduleOverlapPolicy::from_str_name(visit.field("overlap")).unwrap_or_default().into();
    policies.catchup_window = json::duration(visit.field("catchup"))?;
    policies.pause_on_failure = visit.is_set("pause-on-failure");
    let state = schedule.state.get_or_insert_default();
    visit.field("notes").clone_into(&mut state.notes);
    state.paused = visit.is_set("paused");
    state.limited_actions = visit.is_set("limit");
    state.remaining_actions = visit.number("limit")?;
    Ok(schedule)
}
