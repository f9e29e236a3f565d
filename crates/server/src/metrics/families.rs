//! The families, by what they are about.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use sempre_api::v1::enums::{EventType, WorkflowExecutionStatus as Status};
use sempre_core::{NamespaceId, Timestamp, transition::QueueKind};
use sempre_engine::{Engine, Limited, NamespaceUse, OpenRuns, QueueSummary, Typed};
use tonic::Code;

use super::collected::Collected;
use crate::{access::Access, forward::Counts, requests::Requests, room::Room, start_gate::StartGate};

/// What is not told apart.
const OTHER: &str = "other";
/// Types of open runs of a namespace that are told apart, of all and of those that the same hurts.
const OPEN_TYPES_MAX: usize = 50;
/// Task queues that are told apart: those with the most tasks.
const QUEUES_MAX: usize = 200;
const CODES: [Code; 17] = [
    Code::Ok,
    Code::Cancelled,
    Code::Unknown,
    Code::InvalidArgument,
    Code::DeadlineExceeded,
    Code::NotFound,
    Code::AlreadyExists,
    Code::PermissionDenied,
    Code::ResourceExhausted,
    Code::FailedPrecondition,
    Code::Aborted,
    Code::OutOfRange,
    Code::Unimplemented,
    Code::Internal,
    Code::Unavailable,
    Code::DataLoss,
    Code::Unauthenticated,
];

pub(super) fn requests(told: &mut Collected, requests: &Requests) {
    // `operation` is the name alone, as in Temporal's metrics.
    let operation = |path: &str| path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(OTHER).to_owned();
    let service = ("service_name", "frontend");
    let called: Vec<_> = requests.called().map(|method| (operation(&method.path), method)).collect();
    let family = told.counter("service_requests", "Calls, over gRPC and HTTP.");
    for (operation, method) in &called {
        family.count(&[("operation", operation), service], method.begun());
    }
    let refused = |code: &Code| !matches!(code, Code::Ok | Code::Cancelled);
    let family = told.counter("service_errors", "Calls that were refused or failed.");
    for (operation, method) in &called {
        family.count(&[("operation", operation), service], CODES.iter().filter(|code| refused(code)).map(|code| method.ended(*code)).sum());
    }
    let family = told.counter("service_error_with_type", "The same by code; Cancelled are calls that the caller gave up.");
    for (operation, method) in &called {
        for code in CODES.iter().filter(|code| **code != Code::Ok && method.ended(**code) > 0) {
            family.count(&[("operation", operation), service, ("error_type", &format!("{code:?}"))], method.ended(*code));
        }
    }
    let family = told.gauge("service_pending_requests", "Calls under way.");
    for (operation, method) in &called {
        let ended: u64 = CODES.iter().map(|code| method.ended(*code)).sum();
        family.count(&[("operation", operation), service], method.begun().saturating_sub(ended));
    }
    let family = told.histogram("service_latency", "How long calls took, in seconds; of polls, with their waiting.");
    for (operation, method) in &called {
        family.reading(&[("operation", operation), service], &method.latency.read());
    }
}

pub(super) fn access(told: &mut Collected, access: &Access) {
    let family = told.counter("sempre_unauthorized_requests_total", "Calls and requests that their caller may not make.");
    family.count(&[], access.refused());
}

fn namespace(engine: &Engine, id: Option<NamespaceId>) -> String {
    // One that has been deleted has no name.
    id.and_then(|id| engine.namespace_name(id)).unwrap_or_else(|| OTHER.to_owned())
}

pub(super) fn workflows(told: &mut Collected, engine: &Engine) {
    let all: Vec<_> = engine.stats().types.all().into_iter().filter(|kind| kind.of == Typed::Workflow).collect();
    let all: Vec<_> = all.into_iter().map(|kind| (namespace(engine, kind.namespace), kind)).collect();
    let family = told.counter("sempre_workflows_started_total", "Runs started.");
    for (namespace, kind) in &all {
        family.count(&[("namespace", namespace), ("workflowType", &kind.name)], kind.begun.get());
    }
    let ends = [
        ("workflow_success", Status::Completed, "Runs that completed."),
        ("workflow_failed", Status::Failed, "Runs that failed."),
        ("workflow_cancel", Status::Canceled, "Runs that were cancelled."),
        ("workflow_terminate", Status::Terminated, "Runs that were terminated."),
        ("workflow_timeout", Status::TimedOut, "Runs that timed out."),
        ("workflow_continued_as_new", Status::ContinuedAsNew, "Runs that went on as a new one."),
    ];
    for (name, status, help) in ends {
        let family = told.counter(name, help);
        for (namespace, kind) in &all {
            // Dashboards of Temporal's server ask for this operation.
            let labels = [("operation", "CompletionStats"), ("namespace", namespace), ("workflowType", &kind.name)];
            family.count(&labels, kind.closed(status as i32));
        }
    }
    let family = told.histogram("sempre_workflow_duration_seconds", "From the start of a run to its close.");
    for (namespace, kind) in &all {
        family.reading(&[("namespace", namespace), ("workflowType", &kind.name)], &kind.lives.read());
    }
}

pub(super) fn open_runs(told: &mut Collected, all: &[OpenRuns]) {
    let family = told.gauge("sempre_workflows_open", "Open runs, some seconds ago.");
    for OpenRuns { namespace, by_type, .. } in all {
        for (kind, runs) in bounded(by_type) {
            family.count(&[("namespace", namespace), ("workflowType", kind)], runs);
        }
    }
    let family = told.gauge("sempre_workflows_hurt", "Open runs that something hurts, by what (SempreHealth).");
    for OpenRuns { namespace, by_health, .. } in all {
        for (health, by_type) in by_health {
            for (kind, runs) in bounded(by_type) {
                family.count(&[("namespace", namespace), ("workflowType", kind), ("health", health)], runs);
            }
        }
    }
}

/// The types with the most runs; the others as one.
fn bounded(by_type: &[(String, u64)]) -> impl Iterator<Item = (&str, u64)> {
    let others: u64 = by_type.iter().skip(OPEN_TYPES_MAX).map(|(_, runs)| runs).sum();
    let named = by_type.iter().take(OPEN_TYPES_MAX).map(|(kind, runs)| (kind.as_str(), *runs));
    named.chain((others > 0).then_some((OTHER, others)))
}

/// What namespaces use of what they may.
pub(super) fn limits(told: &mut Collected, all: &[NamespaceUse]) {
    let used = |told: &mut Collected, name, help, of| {
        let family = told.gauge(name, help);
        for NamespaceUse { namespace, limits } in all {
            for limit in limits.iter().filter(|limit| limit.of == of) {
                family.count(&[("namespace", namespace)], limit.used);
            }
        }
    };
    used(told, "sempre_namespace_open_runs", "Open runs, of workflows and of what runs without one.", Limited::OpenRuns);
    used(told, "sempre_namespace_history_bytes", "Bytes of the histories of all runs, open or kept.", Limited::StorageBytes);
    let family = told.gauge("sempre_namespace_limit", "Limits of namespaces, by the key that sets them; none is told where there is none.");
    for NamespaceUse { namespace, limits } in all {
        for limit in limits.iter().filter(|limit| limit.max > 0.0) {
            family.sample(&[("namespace", namespace), ("key", limit.of.key())], limit.max);
        }
    }
    let family = told.counter("sempre_namespace_refused_total", "Calls refused because of a limit of their namespace.");
    for NamespaceUse { namespace, limits } in all {
        for limit in limits.iter().filter(|limit| limit.max > 0.0 || limit.refused > 0) {
            family.count(&[("namespace", namespace), ("key", limit.of.key())], limit.refused);
        }
    }
}

/// Memory for calls.
pub(super) fn room(told: &mut Collected, room: &Room) {
    let (waiting, working) = room.used();
    let family = told.gauge("sempre_call_bytes", "Memory that calls hold, by whether they wait, are worked on, or are over: refused and not told yet, or answered before their bodies have come.");
    family.count(&[("calls", "waiting")], waiting);
    family.count(&[("calls", "working")], working);
    family.count(&[("calls", "over")], room.used_by_over());
    told.gauge(
        "sempre_call_bytes_limit",
        "Memory that calls may hold; an eighth is for those that are over, half of the rest for those that wait.",
    )
    .count(&[], room.max());
    told.counter("sempre_call_bytes_refused_total", "Calls refused because there was no memory left for them.").count(&[], room.refused());
}

/// Starts that wait to be let in.
pub(super) fn start_gate(told: &mut Collected, gate: &StartGate) {
    told.gauge("sempre_starts_waiting", "Starts of which nothing is done until the server has time for them.")
        .count(&[], gate.waiting() as u64);
    told.gauge("sempre_starts_at_once", "Starts that may be worked on at once now.").count(&[], gate.turns() as u64);
    told.counter("sempre_starts_refused_total", "Starts refused because the server had no time for them.").count(&[], gate.refused());
}

/// Calls that belong to other nodes, and theirs.
pub(super) fn nodes(told: &mut Collected, counts: &Counts, unreached: u64) {
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    told.counter("sempre_node_calls_sent_total", "Calls sent to the node that has their shard.").count(&[], read(&counts.sent));
    told.counter("sempre_node_calls_taken_total", "Calls taken from other nodes.").count(&[], read(&counts.taken));
    told.counter("sempre_node_calls_again_total", "Tries to find the node of a call after the first.").count(&[], read(&counts.again));
    let family = told.counter("sempre_node_calls_unavailable_total", "Calls that no node has answered, by why.");
    family.count(&[("why", "lost")], read(&counts.lost));
    family.count(&[("why", "no_owner")], read(&counts.unowned));
    let sent = told.counter("sempre_node_messages_sent_total", "What this node has others do: messages between runs, and the like.");
    sent.count(&[], read(&counts.messages_sent));
    let taken = told.counter("sempre_node_messages_taken_total", "What other nodes have this one do.");
    taken.count(&[], read(&counts.messages_taken));
    let lost = told.counter("sempre_node_messages_lost_total", "Messages to other nodes that were not answered, and are sent again.");
    lost.count(&[], read(&counts.messages_lost));
    let silent = told.gauge("sempre_node_unreached", "Other nodes that have not answered this one for as long as a lease lasts.");
    silent.count(&[], unreached);
}

pub(super) fn activities(told: &mut Collected, engine: &Engine) {
    let events = &engine.stats().events;
    let ends = [
        ("activity_success", EventType::ActivityTaskCompleted, "Activities that completed."),
        ("activity_fail", EventType::ActivityTaskFailed, "Activities that failed for good."),
        ("activity_timeout", EventType::ActivityTaskTimedOut, "Activities that timed out for good."),
        ("activity_cancel", EventType::ActivityTaskCanceled, "Activities that were cancelled."),
    ];
    for (name, kind, help) in ends {
        told.counter(name, help).count(&[], events.get(kind));
    }
    let all: Vec<_> = engine.stats().types.all().into_iter().filter(|kind| kind.of == Typed::Activity).collect();
    let family = told.counter("sempre_activity_attempts_total", "Attempts of activities handed to workers.");
    for kind in &all {
        family.count(&[("namespace", &namespace(engine, kind.namespace)), ("activityType", &kind.name)], kind.begun.get());
    }
    let family = told.counter("sempre_activity_retries_total", "Of these, attempts that were not the first.");
    for kind in &all {
        family.count(&[("namespace", &namespace(engine, kind.namespace)), ("activityType", &kind.name)], kind.retried.get());
    }
}

pub(super) fn tasks(told: &mut Collected, engine: &Engine) {
    let stats = engine.stats();
    let family = told.histogram("sempre_task_schedule_to_start_seconds", "How long tasks waited for a worker.");
    family.reading(&[("task_type", "Workflow")], &stats.workflow_task_waits.read());
    family.reading(&[("task_type", "Activity")], &stats.activity_task_waits.read());
    told.counter("poll_success", "Polls answered with a task.").count(&[], stats.polls_answered.get());
    told.counter("poll_timeouts", "Polls answered empty.").count(&[], stats.polls_empty.get());
    told.counter("poll_success_sync", "Tasks that a waiting poller got at once.").count(&[], stats.sync_matches.get());
    told.gauge("sempre_polls_waiting", "Polls that wait now.").count(&[], stats.pollers.get());
    let together = together(engine.queue_summaries(), engine.now(), |id| namespace(engine, Some(id)));
    let family = told.gauge("approximate_backlog_count", "Tasks that wait for a worker.");
    for ((namespace, queue, kind), (backlog, ..)) in &together {
        family.count(&[("namespace", namespace), ("taskqueue", queue), ("task_type", kind)], *backlog);
    }
    let family = told.gauge("approximate_backlog_age_seconds", "How long the oldest of them has waited.");
    for ((namespace, queue, kind), (_, age, _)) in &together {
        family.sample(&[("namespace", namespace), ("taskqueue", queue), ("task_type", kind)], *age);
    }
    let family = told.gauge("sempre_task_queue_pollers", "Workers that poll a task queue, or have lately.");
    for ((namespace, queue, kind), (.., pollers)) in &together {
        family.sample(&[("namespace", namespace), ("taskqueue", queue), ("task_type", kind)], *pollers as f64);
    }
}

/// Backlog, age in seconds and pollers of task queues, by what they are told as (namespace, name, kind): those that are not
/// told apart are one of each kind.
fn together(
    mut queues: Vec<QueueSummary>,
    now: Timestamp,
    namespace: impl Fn(NamespaceId) -> String,
) -> BTreeMap<(String, String, &'static str), (u64, f64, usize)> {
    queues.sort_by(|a, b| (b.backlog, b.pollers, &a.name).cmp(&(a.backlog, a.pollers, &b.name)));
    let mut together: BTreeMap<_, (u64, f64, usize)> = BTreeMap::new();
    for (at, queue) in queues.into_iter().enumerate() {
        let kind = match queue.kind {
            QueueKind::Workflow => "Workflow",
            QueueKind::Activity => "Activity",
            QueueKind::Nexus => "Nexus",
        };
        let (of, name) = if at < QUEUES_MAX { (namespace(queue.namespace), queue.name) } else { (OTHER.to_owned(), OTHER.to_owned()) };
        let (backlog, age, pollers) = together.entry((of, name, kind)).or_default();
        *backlog += queue.backlog;
        *age = age.max(queue.oldest.map_or(0.0, |oldest| now.since(oldest).0.max(0) as f64 / 1e9));
        *pollers += queue.pollers;
    }
    together
}

pub(super) fn engine(told: &mut Collected, engine: &Engine) {
    let stats = engine.stats();
    let family = told.counter("sempre_history_events_total", "Events written, by type.");
    for (kind, count) in stats.events.all() {
        family.count(&[("event_type", &format!("{kind:?}"))], count);
    }
    let counters = [
        ("sempre_transitions_total", "Changes of runs.", &stats.transitions),
        ("sempre_refusals_total", "Requests that runs refused.", &stats.refusals),
        ("sempre_overloads_total", "Requests refused because too many waited.", &stats.overloads),
        ("sempre_deadlines_total", "Timers and timeouts that were due.", &stats.deadlines),
        ("sempre_deliveries_total", "Messages between runs, and to the outside, that arrived.", &stats.deliveries),
        ("sempre_scheduled_starts_total", "Runs started by schedules.", &stats.scheduled_starts),
        ("sempre_cache_hits_total", "Requests that found their run in memory.", &stats.cache_hits),
        ("sempre_cache_misses_total", "Requests whose run was read from the store.", &stats.cache_misses),
        ("sempre_cache_evictions_total", "Runs that left memory.", &stats.cache_evictions),
        ("sempre_lost_polls_total", "Tasks whose poller had gone, offered again.", &stats.lost_polls),
        ("sempre_commits_total", "Commits that are durable.", &stats.commits),
        ("sempre_commit_inputs_total", "Requests in them; by commits, the size of a batch.", &stats.commit_inputs),
        ("sempre_commit_bytes_total", "Bytes of them.", &stats.commit_bytes),
        ("sempre_commit_failures_total", "Commits that failed.", &stats.commit_failures),
    ];
    for (name, help, counter) in counters {
        told.counter(name, help).count(&[], counter.get());
    }
    let waits = stats.commit_waits.read();
    told.histogram("sempre_commit_latency_seconds", "From sending a commit to its acknowledgement.").reading(&[], &waits);
    // The same under the names of Temporal's server, for which a commit is one of many requests to its database.
    let operation = [("operation", "Commit"), ("service_name", "history")];
    let failed = stats.commit_failures.get();
    told.counter("persistence_requests", "Commits, durable or failed.").count(&operation, stats.commits.get() + failed);
    told.counter("persistence_errors", "Commits that failed.").count(&operation, failed);
    told.histogram("persistence_latency", "How long commits took, in seconds.").reading(&operation, &waits);
}

/// Of a server alone there is nothing to tell.
pub(super) fn node(told: &mut Collected, engine: &Engine) {
    if !engine.is_one_of_several() {
        return;
    }
    let stats = engine.stats();
    told.gauge("sempre_shards", "Shards of runs that this node serves.").count(&[], engine.shards().len() as u64);
    let family = told.counter("sempre_shard_moves_total", "Shards of runs that came to this node and went, by how.");
    family.count(&[("move", "taken_up")], stats.shards_taken_up.get());
    family.count(&[("move", "given_up")], stats.shards_given_up.get());
    family.count(&[("move", "lost")], stats.shards_lost.get());
    let waits = stats.take_up_waits.read();
    told.histogram("sempre_shard_take_up_seconds", "From the order to take a shard up until it served.").reading(&[], &waits);
}

pub(super) fn alerts(told: &mut Collected, engine: &Engine) {
    let stats = engine.stats();
    let family = told.counter("sempre_alert_deliveries_total", "Attempts to deliver an alert, and alerts given up, by what came of it.");
    family.count(&[("outcome", "taken")], stats.alerts_taken.get());
    family.count(&[("outcome", "not_taken")], stats.alerts_not_taken.get());
    family.count(&[("outcome", "given_up")], stats.alerts_given_up.get());
    told.gauge("sempre_alerts_waiting", "Alerts that wait to be delivered.").count(&[], engine.alerts_waiting());
    let family = told.gauge("sempre_alerts_file_refused", "1: the file of alert rules cannot be used, older rules are in force.");
    family.count(&[], u64::from(engine.refuses_rules()));
}

pub(super) fn store(told: &mut Collected, engine: &Engine, folder: Option<&Path>) {
    let stats = engine.store_stats();
    told.counter("sempre_store_syncs_total", "Times the disk was asked to make commits durable.").count(&[], stats.syncs);
    told.counter("sempre_store_log_bytes_total", "Bytes written to the log.").count(&[], stats.log_bytes);
    told.gauge("sempre_store_log_live_bytes", "Bytes of the log that a restart would read.").count(&[], stats.log_bytes_live);
    told.gauge("sempre_store_overlay_bytes", "Bytes in memory that the cold store does not have yet.").count(&[], stats.overlay_bytes);
    told.counter("sempre_store_checkpoints_total", "Checkpoints finished.").count(&[], stats.checkpoints);
    told.counter("sempre_store_checkpoint_failures_total", "Checkpoints that failed.").count(&[], stats.checkpoint_failures);
    told.counter("sempre_store_held_back_seconds_total", "Time for which commits waited for a checkpoint.")
        .sample(&[], stats.delay_us as f64 / 1e6);
    told.gauge("sempre_visibility_waiting_records", "Changes of runs that the index has not taken yet; lists show them all the same.")
        .count(&[], engine.visibility_waiting().0 as u64);
    if let Some(bytes) = folder.and_then(bytes_of) {
        told.gauge("sempre_data_bytes", "Bytes of the files in the data folder.").count(&[], bytes);
    }
}

/// Bytes of a folder's files, and those of the folders in it.
fn bytes_of(folder: &Path) -> Option<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).ok()?.filter_map(Result::ok) {
        let Ok(meta) = entry.metadata() else { continue };
        bytes += if meta.is_dir() { bytes_of(&entry.path()).unwrap_or(0) } else { meta.len() };
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_open_runs_so_many_types_are_told_apart_and_the_others_are_one() {
        let kinds = |count: usize| (0..count).map(|n| (format!("T{n}"), 2)).collect::<Vec<_>>();
        assert_eq!(bounded(&kinds(2)).collect::<Vec<_>>(), [("T0", 2), ("T1", 2)]);
        let all = kinds(OPEN_TYPES_MAX + 3);
        let told: Vec<_> = bounded(&all).collect();
        assert_eq!((told.len(), told[OPEN_TYPES_MAX]), (OPEN_TYPES_MAX + 1, (OTHER, 6)));
    }

    #[test]
    fn so_many_task_queues_are_told_apart_and_the_others_are_one_of_each_kind() {
        let second = |n: usize| Timestamp(n as i64 * 1_000_000_000);
        // Those with the most tasks are the last.
        let queue = |n: usize| QueueSummary {
            namespace: NamespaceId::default(),
            kind: if n.is_multiple_of(2) { QueueKind::Workflow } else { QueueKind::Activity },
            name: format!("q{n}"),
            backlog: n as u64,
            oldest: (n > 0).then(|| second(n)),
            pollers: 1,
        };
        let told = together((0..QUEUES_MAX + 5).map(queue).collect(), second(1000), |_| "default".to_owned());
        assert_eq!(told.len(), QUEUES_MAX + 2);
        let of = |namespace: &str, name: &str, kind| told.get(&(namespace.to_owned(), name.to_owned(), kind)).copied();
        let (least, left_out) = (of("default", "q5", "Activity"), of("default", "q4", "Workflow"));
        assert_eq!((least, left_out), (Some((5, 995.0, 1)), None));
        assert_eq!(of(OTHER, OTHER, "Workflow"), Some((2 + 4, 998.0, 3)));
        assert_eq!(of(OTHER, OTHER, "Activity"), Some((1 + 3, 999.0, 2)));
    }
}
