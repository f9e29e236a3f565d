//! The attempts of one activity of a run.

use maud::html;
use sempre_api::sempre::v1::ListActivityAttemptsRequest;

use super::Place;
use crate::{
    layout::{Page, Section, crumbs, heading},
    route::Answer,
    show,
    visit::{Problem, Visit},
};

/// All that are kept. An id may be used again by a run: each of its activities has a table of its own.
pub(crate) async fn page(visit: &Visit<'_>, place: &Place<'_>, activity: &str) -> Answer {
    let request = ListActivityAttemptsRequest {
        namespace: place.namespace.to_owned(),
        workflow_id: place.id.to_owned(),
        run_id: place.run.to_owned(),
        activity_id: activity.to_owned(),
    };
    let answer = visit.ask(request).await?;
    if answer.activities.is_empty() {
        return Err(Problem(tonic::Status::not_found(format!("The run has no attempt of an activity {activity:?}."))));
    }
    let body = html! {
        (crumbs(&[("Workflows", visit.link(&["namespaces", place.namespace, "workflows"])), (place.id, place.link(visit, &[]))]))
        (heading(html! { "Activity " (activity) }, html! {}))
        @for log in &answer.activities {
            section.panel {
                h2 { "Attempts" }
                p { (show::id(&log.activity_type)) " " span.muted { "scheduled by " a href=(place.link(visit, &["history"]) + &format!("?event={}", log.scheduled_event_id)) { "event " (log.scheduled_event_id) } } }
                (show::attempts(&visit.times, Some(log)))
            }
        }
    };
    Ok(Page::new(place.namespace, Section::Workflows, format!("{activity} · {}", place.id), body).answer(visit))
}
