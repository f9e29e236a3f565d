//! Schedules under a clock that only tests move: starts, overlaps, what clients see of their own calls.

use std::sync::atomic::Ordering;

use futures::FutureExt;
use prost::Message;
use sempre_api::sempre::v1::{ListSkippedActionsRequest, SkipReason};
use sempre_api::v1::{
    command::{FailWorkflowExecutionCommandAttributes, command::Attributes},
    common::{Payload, SearchAttributes},
    enums::{CommandType, IndexedValueType, ScheduleOverlapPolicy as Policy, WorkflowExecutionStatus as Status},
    failure::Failure,
    operatorservice::{AddSearchAttributesRequest, DeleteNamespaceRequest, ListSearchAttributesRequest},
    schedule::{
        BackfillRequest, IntervalSpec, Schedule, ScheduleAction, SchedulePatch, SchedulePolicies, ScheduleSpec, ScheduleState,
        TriggerImmediatelyRequest, schedule_action::Action,
    },
    workflow::NewWorkflowExecutionInfo,
    workflowservice::*,
};
use sempre_core::{
    Refusal, Span,
    keys::schedules::{self, Row, ScheduleKey},
    schedule::state::{Definition, State},
};
use sempre_engine::Settings;
use sempre_store::{CommitBatch, Fence, Table};

use crate::support::*;

mod attributes;
mod damage;
mod in_doubt;
mod missed;

pub(crate) fn every_minute(policy: Policy) -> Schedule {
    let interval = IntervalSpec { interval: Some(Span::seconds(60).to_api()), phase: None };
    let action = NewWorkflowExecutionInfo {
        workflow_id: "wf".into(),
        workflow_type: start_request("").workflow_type,
        task_queue: Some(queue()),
        ..Default::default()
    };
    Schedule {
        spec: Some(ScheduleSpec { interval: vec![interval], ..Default::default() }),
        action: Some(ScheduleAction { action: Some(Action::StartWorkflow(action)) }),
        policies: Some(SchedulePolicies { overlap_policy: policy as i32, ..Default::default() }),
        state: Some(ScheduleState::default()),
    }
}

/// With no times of its own.
pub(crate) fn by_hand(policy: Policy) -> Schedule {
    Schedule { spec: Some(ScheduleSpec::default()), ..every_minute(policy) }
}

fn create_request(id: &str, schedule: Schedule) -> CreateScheduleRequest {
    CreateScheduleRequest {
        namespace: NAMESPACE.into(),
        schedule_id: id.into(),
        schedule: Some(schedule),
        request_id: format!("create-{id}"),
        ..Default::default()
    }
}

pub(crate) async fn create(w: &World, id: &str, schedule: Schedule) {
    soon(w.engine.create_schedule(create_request(id, schedule))).await.unwrap();
}

pub(crate) async fn describe(w: &World, id: &str) -> DescribeScheduleResponse {
    try_describe(w, id).await.unwrap()
}

async fn try_describe(w: &World, id: &str) -> Result<DescribeScheduleResponse, Refusal> {
    let request = DescribeScheduleRequest { namespace: NAMESPACE.into(), schedule_id: id.into() };
    soon(w.engine.describe_schedule(request)).await
}

pub(crate) fn patch_request(id: &str, patch: SchedulePatch) -> PatchScheduleRequest {
    PatchScheduleRequest { namespace: NAMESPACE.into(), schedule_id: id.into(), patch: Some(patch), ..Default::default() }
}

async fn patch(w: &World, id: &str, patch: SchedulePatch) {
    soon(w.engine.patch_schedule(patch_request(id, patch))).await.unwrap();
}

fn trigger(policy: Policy) -> SchedulePatch {
    let trigger = TriggerImmediatelyRequest { overlap_policy: policy as i32, scheduled_time: None };
    SchedulePatch { trigger_immediately: Some(trigger), ..Default::default() }
}

async fn delete(w: &World, id: &str) -> Result<DeleteScheduleResponse, Refusal> {
    let request = DeleteScheduleRequest { namespace: NAMESPACE.into(), schedule_id: id.into(), ..Default::default() };
    soon(w.engine.delete_schedule(request)).await
}

async fn list(w: &World, page: i32, token: bytes::Bytes) -> ListSchedulesResponse {
    let request =
        ListSchedulesRequest { namespace: NAMESPACE.into(), maximum_page_size: page, next_page_token: token, ..Default::default() };
    soon(w.engine.list_schedules(request)).await.unwrap()
}

async fn count(w: &World) -> i64 {
    let request = CountSchedulesRequest { namespace: NAMESPACE.into(), ..Default::default() };
    soon(w.engine.count_schedules(request)).await.unwrap().count
}

/// Groups of a count, as JSON.
async fn groups(w: &World, query: &str) -> (i64, Vec<(String, i64)>) {
    let request = CountSchedulesRequest { namespace: NAMESPACE.into(), query: query.into() };
    let counted = soon(w.engine.count_schedules(request)).await.unwrap();
    let json = |values: &[Payload]| values.iter().map(|value| String::from_utf8(value.data.to_vec()).unwrap()).collect::<String>();
    (counted.count, counted.groups.iter().map(|group| (json(&group.group_values), group.count)).collect())
}

/// Waits until so many actions were taken.
pub(crate) async fn until_actions(w: &World, id: &str, actions: i64) -> DescribeScheduleResponse {
    for _ in 0..1000 {
        let described = describe(w, id).await;
        let done = described.info.as_ref().unwrap().action_count;
        assert!(done <= actions, "{done} actions instead of {actions}");
        if done == actions {
            return described;
        }
        w.settle().await;
    }
    panic!("never {actions} actions: {:?}", describe(w, id).await.info);
}

/// Takes a task and completes its run.
async fn finish_one(w: &World) -> String {
    let task = w.poll().await;
    w.complete(&task.task_token, done()).await;
    task.workflow_execution.unwrap().workflow_id
}

async fn fail_one(w: &World) {
    let failure = Failure { message: "broken".into(), ..Default::default() };
    let attributes = FailWorkflowExecutionCommandAttributes { failure: Some(failure) };
    let fail = command(CommandType::FailWorkflowExecution, Attributes::FailWorkflowExecutionCommandAttributes(attributes));
    w.complete(&w.poll().await.task_token, vec![fail]).await;
}

/// Of all schedules.
fn owed_rows(w: &World) -> usize {
    w.store.rows(Table::Schedule).iter().filter(|(key, _)| key[2] == 4).count()
}

fn row_of(w: &World, kind: Row) -> (bytes::Bytes, bytes::Bytes) {
    let rows = w.store.rows(Table::Schedule);
    rows.into_iter().find(|(key, _)| schedules::parse(key).unwrap().0 == kind).unwrap()
}

async fn put_row(w: &World, key: &[u8], value: &[u8]) {
    // Not the owner of schedules: rows may be written under any.
    let epoch = w.store.inner.acquire(99).await.unwrap();
    let mut batch = CommitBatch::new(Fence { shard: 99, epoch });
    batch.put(Table::Schedule, key, value);
    w.store.inner.commit(batch).await.unwrap();
}

#[tokio::test]
async fn a_run_is_started_when_it_is_due_and_its_end_is_seen() {
    let w = world().await;
    // 1 700 000 000 is 20 seconds after a minute.
    create(&w, "s", every_minute(Policy::Skip)).await;
    w.advance(Span::seconds(39)).await;
    assert_eq!(describe(&w, "s").await.info.unwrap().action_count, 0);
    w.advance(Span::seconds(1)).await;
    let info = until_actions(&w, "s", 1).await.info.unwrap();
    assert_eq!(info.running_workflows.len(), 1);
    assert_eq!(info.future_action_times.len(), 10);
    let task = w.poll().await;
    let events = task.history.unwrap().events().unwrap();
    assert_eq!(task.workflow_execution.unwrap().workflow_id, "wf-2023-11-14T22:14:00Z");
    let described = w.describe("wf-2023-11-14T22:14:00Z").await.unwrap();
    assert!(described.callbacks.is_empty(), "who watches is not shown");
    assert_eq!(names(&events)[0], "WORKFLOW_EXECUTION_STARTED");
    w.complete(&task.task_token, done()).await;
    let info = describe(&w, "s").await.info.unwrap();
    assert_eq!((info.running_workflows.len(), info.recent_actions[0].start_workflow_status()), (0, Status::Completed));
    w.until("nothing is owed", || owed_rows(&w) == 0).await;
    // The next one carries the result of this one.
    w.advance(Span::seconds(60)).await;
    until_actions(&w, "s", 2).await;
    let started = w.history("wf-2023-11-14T22:15:00Z").await.remove(0).attributes.unwrap();
    let sempre_api::v1::history::history_event::Attributes::WorkflowExecutionStartedEventAttributes(started) = started else {
        panic!("Started comes first")
    };
    assert_eq!(started.last_completion_result, Some(payloads("done")));
    assert_eq!(started.identity, "temporal-scheduler-default-s");
    let fields = started.search_attributes.unwrap().indexed_fields;
    assert_eq!(fields["TemporalScheduledById"].data, "\"s\"".as_bytes());
    assert_eq!(fields["TemporalScheduledStartTime"].data, "\"2023-11-14T22:15:00Z\"".as_bytes());
}

#[tokio::test]
async fn buffered_starts_follow_the_end_of_a_run_also_after_a_restart() {
    let mut w = world().await;
    create(&w, "s", every_minute(Policy::BufferAll)).await;
    for _ in 0..3 {
        w.advance(Span::seconds(60)).await;
    }
    until_actions(&w, "s", 1).await;
    assert_eq!(describe(&w, "s").await.info.unwrap().buffer_size, 2);
    w.reopen().await;
    assert_eq!(finish_one(&w).await, "wf-2023-11-14T22:14:00Z");
    until_actions(&w, "s", 2).await;
    assert_eq!(finish_one(&w).await, "wf-2023-11-14T22:15:00Z");
    until_actions(&w, "s", 3).await;
    assert_eq!(describe(&w, "s").await.info.unwrap().buffer_size, 0);
}

#[tokio::test]
async fn cancel_other_cancels_and_terminate_other_terminates() {
    let w = world().await;
    create(&w, "c", every_minute(Policy::CancelOther)).await;
    w.advance(Span::seconds(40)).await;
    until_actions(&w, "c", 1).await;
    patch(&w, "c", trigger(Policy::Unspecified)).await;
    let first = "wf-2023-11-14T22:14:00Z";
    for _ in 0..1000 {
        if w.names(first).await.contains(&"WORKFLOW_EXECUTION_CANCEL_REQUESTED") {
            break;
        }
        w.settle().await;
    }
    assert!(w.names(first).await.contains(&"WORKFLOW_EXECUTION_CANCEL_REQUESTED"));
    assert_eq!(describe(&w, "c").await.info.unwrap().action_count, 1, "it has not ended");
    patch(&w, "c", trigger(Policy::TerminateOther)).await;
    let info = until_actions(&w, "c", 2).await.info.unwrap();
    assert_eq!(info.recent_actions[0].start_workflow_status(), Status::Terminated);
    assert_eq!(info.overlap_skipped, 1, "of two that waited the newest is left");
}

#[tokio::test]
async fn a_failed_run_pauses_its_schedule_and_a_client_can_go_on() {
    let w = world().await;
    let mut schedule = every_minute(Policy::Skip);
    schedule.policies.as_mut().unwrap().pause_on_failure = true;
    create(&w, "s", schedule).await;
    w.advance(Span::seconds(40)).await;
    until_actions(&w, "s", 1).await;
    fail_one(&w).await;
    w.settle().await;
    let state = describe(&w, "s").await.schedule.unwrap().state.unwrap();
    assert_eq!((state.paused, state.notes.as_str()), (true, "paused due to workflow failure: wf-2023-11-14T22:14:00Z: broken"));
    w.advance(Span::seconds(600)).await;
    assert_eq!(describe(&w, "s").await.info.unwrap().action_count, 1);
    patch(&w, "s", SchedulePatch { unpause: "go".into(), ..Default::default() }).await;
    w.advance(Span::seconds(60)).await;
    until_actions(&w, "s", 2).await;
}

#[tokio::test]
async fn clients_see_their_own_changes_at_once() {
    let w = world().await;
    for n in 0..25 {
        create(&w, &format!("s{n:02}"), every_minute(Policy::Skip)).await;
        assert_eq!(count(&w).await, n + 1);
    }
    let again = soon(w.engine.create_schedule(create_request("s00", every_minute(Policy::Skip)))).await;
    assert_eq!(again.unwrap().conflict_token.as_ref(), [0, 0, 0, 0, 0, 0, 0, 1]);
    let mut other = create_request("s00", every_minute(Policy::Skip));
    other.request_id = "other".into();
    let refused = soon(w.engine.create_schedule(other)).await.unwrap_err();
    assert!(matches!(refused, Refusal::AlreadyStarted { message, .. } if message == "schedule \"s00\" is already registered"));

    let (mut seen, mut token) = (Vec::new(), bytes::Bytes::new());
    loop {
        let page = list(&w, 10, token).await;
        seen.extend(page.schedules.into_iter().map(|entry| entry.schedule_id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, (0..25).map(|n| format!("s{n:02}")).collect::<Vec<_>>(), "in the order of ids");

    patch(&w, "s03", SchedulePatch { pause: "p".into(), ..Default::default() }).await;
    let entry = list(&w, 0, bytes::Bytes::new()).await.schedules.remove(3).info.unwrap();
    assert_eq!((entry.paused, entry.notes.as_str(), entry.workflow_type.unwrap().name.as_str()), (true, "p", "Test"));

    let update = |token: &[u8]| UpdateScheduleRequest {
        namespace: NAMESPACE.into(),
        schedule_id: "s03".into(),
        schedule: Some(every_minute(Policy::BufferOne)),
        conflict_token: bytes::Bytes::copy_from_slice(token),
        ..Default::default()
    };
    let stale = soon(w.engine.update_schedule(update(&[0, 0, 0, 0, 0, 0, 0, 1]))).await;
    assert_eq!(stale, Err(Refusal::FailedPrecondition("mismatched conflict token".into())));
    let token = describe(&w, "s03").await.conflict_token;
    soon(w.engine.update_schedule(update(&token))).await.unwrap();
    let repeated = |request_id: &str, token: &[u8]| UpdateScheduleRequest { request_id: request_id.into(), ..update(token) };
    let token = describe(&w, "s03").await.conflict_token;
    soon(w.engine.update_schedule(repeated("u", &token))).await.unwrap();
    let after = describe(&w, "s03").await.conflict_token;
    soon(w.engine.update_schedule(repeated("u", &token))).await.expect("the answer was lost: it is answered again");
    assert_eq!(describe(&w, "s03").await.conflict_token, after, "and has no second effect");
    let stale = soon(w.engine.update_schedule(repeated("v", &token))).await;
    assert_eq!(stale, Err(Refusal::FailedPrecondition("mismatched conflict token".into())));
    let described = describe(&w, "s03").await;
    let schedule = described.schedule.unwrap();
    assert_eq!(schedule.policies.unwrap().overlap_policy(), Policy::BufferOne);
    assert!(!schedule.state.unwrap().paused, "the state is replaced too");
    assert!(described.info.unwrap().update_time.is_some());

    delete(&w, "s03").await.unwrap();
    assert_eq!(count(&w).await, 24);
    assert_eq!(try_describe(&w, "s03").await.unwrap_err(), Refusal::not_found("schedule not found"));
    assert_eq!(delete(&w, "s03").await.unwrap_err(), Refusal::not_found("schedule not found"));
}

#[tokio::test]
async fn what_a_deleted_schedule_started_runs_on_and_its_id_can_be_used_again() {
    let w = world().await;
    create(&w, "s", every_minute(Policy::Skip)).await;
    w.advance(Span::seconds(40)).await;
    until_actions(&w, "s", 1).await;
    delete(&w, "s").await.unwrap();
    assert!(w.store.rows(Table::Schedule).is_empty());
    create(&w, "s", every_minute(Policy::Skip)).await;
    assert_eq!(finish_one(&w).await, "wf-2023-11-14T22:14:00Z");
    w.settle().await;
    assert_eq!(describe(&w, "s").await.info.unwrap().action_count, 0, "the end belongs to the other");
    w.advance(Span::seconds(60)).await;
    until_actions(&w, "s", 1).await;
}

#[tokio::test]
async fn a_backfill_and_a_trigger_start_runs_of_a_paused_schedule() {
    let w = world().await;
    let mut schedule = every_minute(Policy::Skip);
    schedule.state = Some(ScheduleState { paused: true, ..Default::default() });
    create(&w, "s", schedule).await;
    let time = |seconds: i64| Some(sempre_core::Timestamp::from_millis(seconds * 1000).to_api());
    let fill = BackfillRequest {
        start_time: time(1_600_000_020),
        end_time: time(1_600_000_020 + 149 * 60),
        overlap_policy: Policy::AllowAll as i32,
    };
    patch(&w, "s", SchedulePatch { backfill_request: vec![fill], ..Default::default() }).await;
    let info = until_actions(&w, "s", 150).await.info.unwrap();
    assert_eq!(info.recent_actions.len(), 10);
    patch(&w, "s", trigger(Policy::Unspecified)).await;
    until_actions(&w, "s", 151).await;
    assert_eq!(w.names("wf-2023-11-14T22:13:20Z").await[0], "WORKFLOW_EXECUTION_STARTED");
}

#[tokio::test]
async fn an_idle_schedule_vanishes_after_a_week() {
    let w = world().await;
    let mut schedule = every_minute(Policy::Skip);
    schedule.spec = Some(ScheduleSpec::default());
    create(&w, "idle", schedule.clone()).await;
    schedule.state = Some(ScheduleState { paused: true, ..Default::default() });
    create(&w, "paused", schedule).await;
    w.advance(Span::seconds(7 * 86_400 - 1)).await;
    assert_eq!(count(&w).await, 2);
    w.advance(Span::seconds(1)).await;
    w.settle().await;
    assert_eq!(count(&w).await, 1);
    assert!(try_describe(&w, "idle").await.is_err());
}

#[tokio::test]
async fn schedules_go_with_their_namespace() {
    let w = world().await;
    for n in 0..300 {
        create(&w, &format!("s{n}"), every_minute(Policy::Skip)).await;
    }
    let request = sempre_api::v1::operatorservice::DeleteNamespaceRequest { namespace: NAMESPACE.into(), ..Default::default() };
    soon(w.engine.delete_namespace(request)).await.unwrap();
    w.until("nothing is left", || {
        w.clock_advance(Span::seconds(1));
        w.store.rows(Table::Schedule).is_empty()
    })
    .await;
    assert_eq!(w.engine.stats().scheduled_starts.get(), 0);
}

#[tokio::test]
async fn a_start_that_is_refused_says_why() {
    let w = world().await;
    create(&w, "s", every_minute(Policy::Skip)).await;
    let deprecate = DeprecateNamespaceRequest { namespace: NAMESPACE.into(), ..Default::default() };
    soon(w.engine.deprecate_namespace(deprecate)).await.unwrap();
    w.advance(Span::seconds(40)).await;
    #[expect(deprecated, reason = "the field says why nothing is started")]
    let error = describe(&w, "s").await.info.unwrap().invalid_schedule_error;
    assert_eq!(error, "the namespace takes no new workflows");
}

#[tokio::test]
async fn matching_times_and_their_bounds() {
    let w = world().await;
    create(&w, "s", every_minute(Policy::Skip)).await;
    let time = |seconds: i64| Some(sempre_core::Timestamp::from_millis(seconds * 1000).to_api());
    let times = |start, end| {
        let request =
            ListScheduleMatchingTimesRequest { namespace: NAMESPACE.into(), schedule_id: "s".into(), start_time: start, end_time: end };
        let engine = w.engine.clone();
        async move { soon(engine.list_schedule_matching_times(request)).await.map(|response| response.start_time) }
    };
    assert_eq!(times(time(60), time(180)).await.unwrap(), [time(120).unwrap(), time(180).unwrap()]);
    assert_eq!(times(time(0), time(1_000_000_000)).await.unwrap().len(), 1000);
    assert!(matches!(times(None, time(5)).await, Err(Refusal::InvalidArgument(_))));
}

/// More than may be under way, in memory and in one round: all are started.
#[tokio::test]
async fn thousands_due_in_the_same_second_are_all_started() {
    let w = world().await;
    for n in 0..2000 {
        let mut schedule = every_minute(Policy::Skip);
        if let Some(Action::StartWorkflow(action)) = schedule.action.as_mut().and_then(|action| action.action.as_mut()) {
            action.workflow_id = format!("w{n}");
        }
        create(&w, &format!("s{n}"), schedule).await;
    }
    w.clock_advance(Span::seconds(40));
    w.until_started(2000).await;
    assert_eq!(w.store.rows(Table::Current).len(), 2000);
    w.until("nothing is owed", || owed_rows(&w) == 0).await;
}

#[tokio::test]
async fn a_page_has_a_thousand_schedules_at_most_whatever_is_asked_for() {
    let w = world().await;
    for n in 0..1001 {
        create(&w, &format!("s{n:04}"), by_hand(Policy::Skip)).await;
    }
    let page = list(&w, 5000, bytes::Bytes::new()).await;
    assert_eq!((page.schedules.len(), page.schedules[999].schedule_id.as_str()), (1000, "s0999"));
    let rest = list(&w, 5000, page.next_page_token).await;
    assert_eq!((rest.schedules.len(), rest.schedules[0].schedule_id.as_str()), (1, "s1000"));
}

#[tokio::test]
async fn a_query_selects_schedules() {
    let w = world().await;
    for id in ["a", "ab", "b"] {
        create(&w, id, every_minute(Policy::Skip)).await;
    }
    patch(&w, "ab", SchedulePatch { pause: "for now".into(), ..Default::default() }).await;
    let ask = async |query: &str| {
        let list = ListSchedulesRequest { namespace: NAMESPACE.into(), query: query.into(), maximum_page_size: 1, ..Default::default() };
        let (mut found, mut token) = (Vec::new(), bytes::Bytes::new());
        loop {
            let page = ListSchedulesRequest { next_page_token: token, ..list.clone() };
            let page = soon(w.engine.list_schedules(page)).await.unwrap();
            found.extend(page.schedules.into_iter().map(|entry| entry.schedule_id));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        let count = CountSchedulesRequest { namespace: NAMESPACE.into(), query: query.into() };
        assert_eq!(soon(w.engine.count_schedules(count)).await.unwrap().count, found.len() as i64);
        found
    };
    assert_eq!(ask("ScheduleId STARTS_WITH 'a'").await, ["a", "ab"]);
    // However many there are, others have their turns meanwhile.
    let request = CountSchedulesRequest { namespace: NAMESPACE.into(), query: "TemporalSchedulePaused = true".into() };
    assert!(w.engine.count_schedules(request).now_or_never().is_none());
    assert!(w.engine.list_schedules(ListSchedulesRequest { namespace: NAMESPACE.into(), ..Default::default() }).now_or_never().is_none());
    assert_eq!(ask("TemporalSchedulePaused = true").await, ["ab"]);
    assert_eq!(ask("TemporalSchedulePaused = false AND ExecutionStatus = 'Running'").await, ["a", "b"]);
    assert_eq!(ask("TemporalNamespaceDivision = 'TemporalScheduler'").await, ["a", "ab", "b"]);
    let all = |value: &str, schedules| (schedules, vec![(value.to_owned(), schedules)]);
    assert_eq!(groups(&w, "GROUP BY ExecutionStatus").await, all("\"Running\"", 3));
    let of_two = "ScheduleId STARTS_WITH 'a' GROUP BY TemporalNamespaceDivision";
    assert_eq!(groups(&w, of_two).await, all("\"TemporalScheduler\"", 2));
    assert_eq!(groups(&w, "ScheduleId = 'c' GROUP BY ExecutionStatus").await, (0, vec![]));
    let listed = ListSchedulesRequest { namespace: NAMESPACE.into(), query: of_two.into(), ..Default::default() };
    let refused = soon(w.engine.list_schedules(listed)).await.unwrap_err();
    assert_eq!(refused, Refusal::invalid("invalid query: operation is not supported: 'GROUP BY' clause"));
    let bad = ListSchedulesRequest { namespace: NAMESPACE.into(), query: "Nonsense = 1".into(), ..Default::default() };
    let refused = soon(w.engine.list_schedules(bad)).await.unwrap_err();
    assert!(format!("{refused:?}").contains("Nonsense"), "{refused:?}");
}

/// Nothing is waited for between the calls: who has seen a run end gets the next one, with its result.
#[tokio::test]
async fn who_asks_for_a_start_finds_it_and_the_end_of_a_run_is_known_at_once() {
    for policy in [Policy::Skip, Policy::BufferOne, Policy::BufferAll, Policy::CancelOther, Policy::TerminateOther] {
        let w = world().await;
        create(&w, "s", by_hand(policy)).await;
        for n in 1..=5_usize {
            patch(&w, "s", trigger(Policy::Unspecified)).await;
            let info = describe(&w, "s").await.info.unwrap();
            assert_eq!((info.action_count, info.recent_actions.len(), info.overlap_skipped), (n as i64, n, 0), "{policy:?}");
            assert_eq!(info.running_workflows.len(), 1);
            let id = finish_one(&w).await;
            let started = w.history(&id).await.remove(0).attributes.unwrap();
            let sempre_api::v1::history::history_event::Attributes::WorkflowExecutionStartedEventAttributes(started) = started else {
                panic!("Started comes first")
            };
            assert_eq!(started.last_completion_result.is_some(), n > 1, "{policy:?}, {n}");
            // Each has an id of its own.
            w.clock_advance(Span::seconds(1));
        }
    }
}

/// Runs that are thought to be open, and the status of the last start.
async fn open_runs(w: &World, id: &str) -> (usize, Status) {
    let info = describe(w, id).await.info.unwrap();
    (info.running_workflows.len(), info.recent_actions.last().unwrap().start_workflow_status())
}

#[tokio::test]
async fn a_run_that_is_paused_is_open() {
    let w = world().await;
    create(&w, "s", by_hand(Policy::Skip)).await;
    patch(&w, "s", trigger(Policy::Unspecified)).await;
    let started = describe(&w, "s").await.info.unwrap().running_workflows.remove(0);
    let pause = PauseWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_id: started.workflow_id.clone(),
        request_id: "p".into(),
        ..Default::default()
    };
    soon(w.engine.pause_workflow(pause)).await.unwrap();
    assert_eq!(open_runs(&w, "s").await, (1, Status::Running));
    assert_eq!(open_runs(&w, "s").await, (1, Status::Running), "nor was it written down as something else");
    let unpause = UnpauseWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_id: started.workflow_id,
        request_id: "u".into(),
        ..Default::default()
    };
    soon(w.engine.unpause_workflow(unpause)).await.unwrap();
    assert_eq!(open_runs(&w, "s").await, (1, Status::Running));
    finish_one(&w).await;
    assert_eq!(open_runs(&w, "s").await, (0, Status::Completed));
}

/// Older versions wrote down that a run was paused, and did not look at it again.
#[tokio::test]
async fn what_was_called_paused_once_is_seen_to_end() {
    let mut w = world().await;
    create(&w, "s", by_hand(Policy::AllowAll)).await;
    // Nobody waits for its end.
    patch(&w, "s", trigger(Policy::AllowAll)).await;
    w.settle().await;
    let (key, value) = row_of(&w, Row::State);
    let mut state = State::decode(value).unwrap();
    state.recent[0].status = Status::Paused as i32;
    put_row(&w, &key, &state.encode_to_vec()).await;
    w.reopen().await;
    assert_eq!(open_runs(&w, "s").await, (0, Status::Paused));
    finish_one(&w).await;
    assert_eq!(open_runs(&w, "s").await, (0, Status::Completed));
}

#[tokio::test]
async fn an_initial_patch_has_started_when_the_schedule_is_made() {
    let w = world().await;
    let mut request = create_request("s", by_hand(Policy::Skip));
    request.initial_patch = Some(trigger(Policy::Unspecified));
    soon(w.engine.create_schedule(request)).await.unwrap();
    assert_eq!(describe(&w, "s").await.info.unwrap().action_count, 1);
}

/// The run is deleted before its end was told: nothing waits for it for ever.
#[tokio::test]
async fn a_run_that_was_deleted_is_in_nobodys_way() {
    let w = world().await;
    create(&w, "s", by_hand(Policy::Skip)).await;
    patch(&w, "s", trigger(Policy::Unspecified)).await;
    let id = describe(&w, "s").await.info.unwrap().recent_actions[0].start_workflow_result.clone().unwrap().workflow_id;
    let request = DeleteWorkflowExecutionRequest { namespace: NAMESPACE.into(), workflow_execution: Some(execution(&id, "")) };
    soon(w.engine.delete_workflow(request)).await.unwrap();
    w.settle().await;
    w.clock_advance(Span::seconds(1));
    patch(&w, "s", trigger(Policy::Unspecified)).await;
    assert_eq!(describe(&w, "s").await.info.unwrap().action_count, 2);
}

#[tokio::test]
async fn the_id_that_a_schedule_has_elsewhere_is_taken_while_it_is_there() {
    let w = world().await;
    let id = "temporal-sys-scheduler:s";
    create(&w, "s", by_hand(Policy::Skip)).await;
    let refused = w.try_start(start_request(id)).await.unwrap_err();
    let Refusal::AlreadyStarted { message, run_id, start_request_id, .. } = refused else { panic!("{refused:?}") };
    assert_eq!(message, format!("Workflow execution is already running. WorkflowId: {id}, RunId: {run_id}."));
    assert_eq!(start_request_id, "create-s");
    w.try_start(start_request("temporal-sys-scheduler:other")).await.unwrap();
    delete(&w, "s").await.unwrap();
    w.try_start(start_request(id)).await.unwrap();
}

#[tokio::test]
async fn what_was_not_done_can_be_listed() {
    let mut w = world().await;
    let mut schedule = every_minute(Policy::Skip);
    schedule.policies.as_mut().unwrap().catchup_window = Some(Span::seconds(300).to_api());
    create(&w, "s", schedule).await;
    soon(w.engine.shutdown()).await;
    w.advance(Span::seconds(3600)).await;
    w.reopen().await;
    w.settle().await;
    until_actions(&w, "s", 1).await;
    let request = ListSkippedActionsRequest { namespace: NAMESPACE.into(), schedule_id: "s".into() };
    let skipped = soon(w.engine.list_skipped_actions(request)).await.unwrap().skipped;
    let found: Vec<_> = skipped
        .iter()
        .map(|s| (s.reason(), s.count, s.first_schedule_time.as_ref().unwrap().seconds, s.last_schedule_time.as_ref().unwrap().seconds))
        .collect();
    let late = (SkipReason::MissedCatchupWindow, 55, 1_700_000_040, 1_700_000_040 + 54 * 60);
    let met = (SkipReason::Overlap, 4, 1_700_000_040 + 56 * 60, 1_700_000_040 + 59 * 60);
    assert_eq!(found, [late, met]);
    let request = ListSkippedActionsRequest { namespace: NAMESPACE.into(), schedule_id: "t".into() };
    assert_eq!(soon(w.engine.list_skipped_actions(request)).await, Err(Refusal::not_found("schedule not found")));
}

#[tokio::test]
async fn one_whose_call_a_deletion_of_its_namespace_has_overtaken_is_not_made() {
    let w = world_with(Settings { auto_register_search_attributes: true, ..settings() }).await;
    let mut schedule = every_minute(Policy::Skip);
    schedule.state = Some(ScheduleState { paused: true, ..Default::default() });
    let metadata = [("encoding".to_owned(), "json/plain".into()), ("type".to_owned(), "Keyword".into())].into();
    let color = Payload { metadata, data: "\"red\"".into(), ..Default::default() };
    let search_attributes = Some(SearchAttributes { indexed_fields: [("Color".to_owned(), color)].into() });
    let mut create = std::pin::pin!(w.engine.create_schedule(CreateScheduleRequest { search_attributes, ..create_request("s", schedule) }));
    assert!(create.as_mut().now_or_never().is_none(), "it waits for its attribute to be defined");
    let delete = DeleteNamespaceRequest {
        namespace: NAMESPACE.into(),
        namespace_delete_delay: Some(Span::seconds(3600).to_api()),
        ..Default::default()
    };
    soon(w.engine.delete_namespace(delete)).await.unwrap();
    for _ in 0..30 {
        w.advance(Span::seconds(1)).await;
    }
    assert!(matches!(soon(create).await, Err(Refusal::NamespaceNotFound(_))));
    assert_eq!(w.store.rows(Table::Schedule), []);
}
