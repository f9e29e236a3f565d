//! Task queues on which tasks wait and that nobody polls, for the attention page: of all kinds, also those that no list of runs knows,
//! because a run only names the queue of its workflow tasks.

use maud::{Markup, html};
use sempre_api::v1::enums::TaskQueueType;

use crate::{
    backend::QueueSummary,
    show::{self, duration},
    visit::Visit,
};

/// How long the oldest task waits before a queue is one of these: workers that begin need a moment.
const WAITS_SECONDS: i64 = 60;
/// Queues that are shown.
const SHOWN: usize = 20;

/// The panel; `None` where there is no such queue.
pub(super) fn panel(visit: &Visit, namespace: &str) -> Option<Markup> {
    let queues = unpolled(visit.ui.0.backend.queues(namespace));
    (!queues.is_empty()).then(|| {
        html! {
            section.panel data-key="unpolled" {
                div.panel-head { h2 { "Queues that nobody polls" } a href=(visit.link(&["namespaces", namespace, "task-queues"])) { (show::counted(queues.len() as i64, "queue", "queues")) } }
                p.muted { "Tasks wait on them for more than a minute, and no worker has asked for any lately." }
                ul.sample {
                    @for queue in queues.iter().take(SHOWN) {
                        li data-key=(format!("{} {:?}", queue.name, queue.kind)) {
                            a.id href=(visit.link(&["namespaces", namespace, "task-queues", &queue.name])) title=(queue.name) { (queue.name) } " "
                            span.muted { (kind(queue)) ", " (duration(Some(&sempre_api::Duration { seconds: queue.oldest_seconds.unwrap_or_default(), nanos: 0 }))) }
                        }
                    }
                }
                @if queues.len() > SHOWN { p.muted { "and " (queues.len() - SHOWN) " more" } }
            }
        }
    })
}

fn kind(queue: &QueueSummary) -> String {
    let tasks = i64::try_from(queue.backlog).unwrap_or(i64::MAX);
    match queue.kind {
        TaskQueueType::Activity => show::counted(tasks, "activity task", "activity tasks"),
        TaskQueueType::Nexus => show::counted(tasks, "Nexus task", "Nexus tasks"),
        _ => show::counted(tasks, "workflow task", "workflow tasks"),
    }
}

/// Those that are meant; the one that has waited longest is the first.
fn unpolled(queues: Vec<QueueSummary>) -> Vec<QueueSummary> {
    let waits = |queue: &QueueSummary| queue.pollers == 0 && queue.oldest_seconds.is_some_and(|seconds| seconds > WAITS_SECONDS);
    let mut all: Vec<_> = queues.into_iter().filter(|queue| waits(queue) && !queue.name.starts_with("/_sys/")).collect();
    all.sort_by(|a, b| (b.oldest_seconds, &a.name).cmp(&(a.oldest_seconds, &b.name)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_with_old_tasks_and_without_pollers_are_found_whatever_they_carry() {
        let queue =
            |name: &str, kind, oldest_seconds, pollers| QueueSummary { name: name.into(), kind, backlog: 1, oldest_seconds, pollers };
        let (workflow, activity) = (TaskQueueType::Workflow, TaskQueueType::Activity);
        let queues = vec![
            queue("a", workflow, Some(61), 0),
            queue("b", activity, Some(500), 0),
            queue("polled", activity, Some(500), 1),
            queue("young", activity, Some(60), 0),
            queue("empty", activity, None, 0),
            queue("/_sys/a", workflow, Some(500), 0),
        ];
        let found: Vec<_> = unpolled(queues).into_iter().map(|queue| queue.name).collect();
        assert_eq!(found, ["b", "a"]);
    }
}
