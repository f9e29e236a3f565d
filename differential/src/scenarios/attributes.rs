//! Bad attributes of each command: cause, text, and what is left behind. And upserts.

use sempre_api::v1::{
    command::*,
    common::{ActivityType, Memo, Payload, RetryPolicy, SearchAttributes, WorkflowExecution, WorkflowType},
    enums::ParentClosePolicy as Policy,
};

use super::{commands::*, scenarios};
use crate::scene::{Done, Scene, payloads, secs};

scenarios!("attributes":
    activity, activity_timeouts, activity_retry_policy, cancel_of_activity, timers, markers, fail_workflow, complete_workflow, continue_as_new_bad, child, child_timeouts, signal_external, cancel_external,
    search_attributes_unknown, search_attributes_upsert, search_attributes_carried, memo_upsert, memo_empty, lengths, not_set, too_large, metadata, priorities, without_value,
);

/// Each command alone in a task of its own run; the run is ended afterwards.
async fn each(s: &Scene, commands: Vec<(&str, Command)>) -> Done {
    for (name, command) in commands {
        s.start(name).await?;
        let task = s.task().await?;
        s.complete(&task, [command]).await.ok();
        s.terminate(name).await.ok();
    }
    Ok(())
}

async fn activity(s: Scene) -> Done {
    type A = ScheduleActivityTaskCommandAttributes;
    let good = || s.act("x");
    let other_queue = |name: &str| Some(sempre_api::v1::taskqueue::TaskQueue { name: name.into(), ..Default::default() });
    each(
        &s,
        vec![
            ("no-id", A { activity_id: String::new(), ..good() }.command()),
            ("no-type", A { activity_type: None, ..good() }.command()),
            ("empty-type", A { activity_type: Some(ActivityType::default()), ..good() }.command()),
            ("no-queue", A { task_queue: None, ..good() }.command()),
            ("system-queue", A { task_queue: other_queue("/_sys/x"), ..good() }.command()),
            ("long-id", A { activity_id: "i".repeat(1001), ..good() }.command()),
            ("long-type", A { activity_type: Some(ActivityType { name: "t".repeat(1001) }), ..good() }.command()),
            ("long-queue", A { task_queue: other_queue(&"q".repeat(1001)), ..good() }.command()),
        ],
    )
    .await
}

async fn activity_timeouts(s: Scene) -> Done {
    type A = ScheduleActivityTaskCommandAttributes;
    let good = || s.act("x");
    each(
        &s,
        vec![
            ("none", A { start_to_close_timeout: None, ..good() }.command()),
            ("only-schedule-to-start", A { start_to_close_timeout: None, schedule_to_start_timeout: secs(5), ..good() }.command()),
            ("negative-start-to-close", A { start_to_close_timeout: secs(-1), ..good() }.command()),
            ("negative-schedule-to-close", A { schedule_to_close_timeout: secs(-1), ..good() }.command()),
            ("negative-schedule-to-start", A { schedule_to_start_timeout: secs(-1), ..good() }.command()),
            ("negative-heartbeat", A { heartbeat_timeout: secs(-1), ..good() }.command()),
        ],
    )
    .await
}

async fn activity_retry_policy(s: Scene) -> Done {
    let with = |change: fn(&mut RetryPolicy)| {
        let mut policy = retry(2).unwrap_or_default();
        change(&mut policy);
        ScheduleActivityTaskCommandAttributes { retry_policy: Some(policy), ..s.act("x") }.command()
    };
    each(
        &s,
        vec![
            ("attempts", with(|p| p.maximum_attempts = -1)),
            ("coefficient", with(|p| p.backoff_coefficient = 0.5)),
            ("initial", with(|p| p.initial_interval = secs(-1))),
            ("maximum", with(|p| p.maximum_interval = secs(-1))),
            ("maximum-below-initial", with(|p| p.maximum_interval = Some(sempre_api::Duration { seconds: 0, nanos: 500_000_000 }))),
            ("timeout-type", with(|p| p.non_retryable_error_types = vec!["TemporalTimeout:Wrong".into()])),
            ("defaults", with(|p| *p = RetryPolicy::default())),
        ],
    )
    .await
}

async fn cancel_of_activity(s: Scene) -> Done {
    each(&s, vec![("zero", cancel_activity(0)), ("unknown", cancel_activity(77)), ("other-event", cancel_activity(2))]).await
}

async fn timers(s: Scene) -> Done {
    type T = StartTimerCommandAttributes;
    each(
        &s,
        vec![
            ("no-id", timer("", 1)),
            ("long-id", timer(&"t".repeat(1001), 1)),
            ("negative", T { timer_id: "t".into(), start_to_fire_timeout: secs(-1) }.command()),
            ("cancel-no-id", cancel_timer("")),
            ("cancel-unknown", cancel_timer("none")),
            ("cancel-long", cancel_timer(&"t".repeat(1001))),
        ],
    )
    .await
}

async fn markers(s: Scene) -> Done {
    each(&s, vec![("no-name", RecordMarkerCommandAttributes::default().command()), ("long-name", marker(&"m".repeat(1001)))]).await
}

async fn fail_workflow(s: Scene) -> Done {
    each(&s, vec![("no-failure", FailWorkflowExecutionCommandAttributes { failure: None }.command())]).await
}

async fn complete_workflow(s: Scene) -> Done {
    each(
        &s,
        vec![
            ("no-result", CompleteWorkflowExecutionCommandAttributes { result: None }.command()),
            ("cancel-no-details", CancelWorkflowExecutionCommandAttributes { details: None }.command()),
        ],
    )
    .await
}

async fn continue_as_new_bad(s: Scene) -> Done {
    type C = ContinueAsNewWorkflowExecutionCommandAttributes;
    let queue = |name: &str| Some(sempre_api::v1::taskqueue::TaskQueue { name: name.into(), ..Default::default() });
    each(
        &s,
        vec![
            ("long-type", C { workflow_type: Some(WorkflowType { name: "t".repeat(1001) }), ..continue_as_new() }.command()),
            ("long-queue", C { task_queue: queue(&"q".repeat(1001)), ..continue_as_new() }.command()),
            ("system-queue", C { task_queue: queue("/_sys/x"), ..continue_as_new() }.command()),
            ("negative-run", C { workflow_run_timeout: secs(-1), ..continue_as_new() }.command()),
            ("negative-task", C { workflow_task_timeout: secs(-1), ..continue_as_new() }.command()),
            ("negative-backoff", C { backoff_start_interval: secs(-1), ..continue_as_new() }.command()),
            ("unknown-attribute", C { search_attributes: Some(search_attributes(&[("NoSuch", "1")])), ..continue_as_new() }.command()),
            ("bad-retry", C { retry_policy: retry(-1), ..continue_as_new() }.command()),
            ("bad-cron", C { cron_schedule: "no cron".into(), ..continue_as_new() }.command()),
        ],
    )
    .await
}

async fn child(s: Scene) -> Done {
    type C = StartChildWorkflowExecutionCommandAttributes;
    let good = || s.child("child", Policy::Terminate);
    let queue = |name: &str| Some(sempre_api::v1::taskqueue::TaskQueue { name: name.into(), ..Default::default() });
    each(
        &s,
        vec![
            ("no-id", C { workflow_id: String::new(), ..good() }.command()),
            ("no-type", C { workflow_type: None, ..good() }.command()),
            ("long-id", C { workflow_id: "i".repeat(1001), ..good() }.command()),
            ("long-type", C { workflow_type: Some(WorkflowType { name: "t".repeat(1001) }), ..good() }.command()),
            ("long-queue", C { task_queue: queue(&"q".repeat(1001)), ..good() }.command()),
            ("system-queue", C { task_queue: queue("/_sys/x"), ..good() }.command()),
            ("other-namespace", C { namespace: "no-such-namespace".into(), ..good() }.command()),
            ("bad-retry", C { retry_policy: retry(-1), ..good() }.command()),
            ("bad-cron", C { cron_schedule: "no cron".into(), ..good() }.command()),
            ("unknown-attribute", C { search_attributes: Some(search_attributes(&[("NoSuch", "1")])), ..good() }.command()),
        ],
    )
    .await
}

async fn child_timeouts(s: Scene) -> Done {
    type C = StartChildWorkflowExecutionCommandAttributes;
    let good = || s.child("child", Policy::Terminate);
    each(
        &s,
        vec![
            ("negative-execution", C { workflow_execution_timeout: secs(-1), ..good() }.command()),
            ("negative-run", C { workflow_run_timeout: secs(-1), ..good() }.command()),
            ("negative-task", C { workflow_task_timeout: secs(-1), ..good() }.command()),
        ],
    )
    .await
}

async fn signal_external(s: Scene) -> Done {
    type S = SignalExternalWorkflowExecutionCommandAttributes;
    let good = || s.signal_to("target");
    let target = |id: &str, run: &str| Some(WorkflowExecution { workflow_id: id.into(), run_id: run.into() });
    each(
        &s,
        vec![
            ("no-target", S { execution: None, ..good() }.command()),
            ("no-id", S { execution: target("", ""), ..good() }.command()),
            ("bad-run", S { execution: target("t", "no-uuid"), ..good() }.command()),
            ("no-name", S { signal_name: String::new(), ..good() }.command()),
            ("long-id", S { execution: target(&"i".repeat(1001), ""), ..good() }.command()),
            ("long-name", S { signal_name: "n".repeat(1001), ..good() }.command()),
            ("other-namespace", S { namespace: "no-such-namespace".into(), ..good() }.command()),
        ],
    )
    .await
}

async fn cancel_external(s: Scene) -> Done {
    type C = RequestCancelExternalWorkflowExecutionCommandAttributes;
    let good = || s.cancel_to("target");
    each(
        &s,
        vec![
            ("no-id", C { workflow_id: String::new(), ..good() }.command()),
            ("bad-run", C { run_id: "no-uuid".into(), ..good() }.command()),
            ("long-id", C { workflow_id: "i".repeat(1001), ..good() }.command()),
            ("other-namespace", C { namespace: "no-such-namespace".into(), ..good() }.command()),
        ],
    )
    .await
}

async fn search_attributes_unknown(s: Scene) -> Done {
    each(
        &s,
        vec![
            ("unknown", upsert(&[("NoSuchAttribute", "1")])),
            ("wrong-type", upsert(&[("DiffInt", "\"text\"")])),
            ("empty", upsert(&[])),
            ("none", UpsertWorkflowSearchAttributesCommandAttributes { search_attributes: None }.command()),
            ("system", upsert(&[("ExecutionStatus", "\"Running\"")])),
        ],
    )
    .await
}

async fn search_attributes_upsert(s: Scene) -> Done {
    s.start_with("a", |r| r.search_attributes = Some(search_attributes(&[("DiffKeyword", "\"k\"")]))).await?;
    s.work([upsert(&[("DiffInt", "7")])]).await?;
    s.describe("a").await?;
    s.signal("a", "wake").await?;
    s.work([upsert(&[("DiffKeyword", "null"), ("DiffInt", "8")]), done()]).await?;
    s.describe("a").await?;
    Ok(())
}

async fn memo_upsert(s: Scene) -> Done {
    s.start_with("a", |r| r.memo = Some(memo(&[("one", "1"), ("two", "2")]))).await?;
    s.work([modify_memo(&[("two", "3"), ("three", "4"), ("one", "null")])]).await?;
    s.describe("a").await?;
    s.terminate("a").await?;
    Ok(())
}

async fn memo_empty(s: Scene) -> Done {
    each(&s, vec![("empty", modify_memo(&[])), ("none", ModifyWorkflowPropertiesCommandAttributes { upserted_memo: None }.command())]).await
}

async fn lengths(s: Scene) -> Done {
    s.start_with("a", |r| r.workflow_id = "i".repeat(1001)).await.ok();
    s.start_with("a", |r| r.workflow_type = Some(WorkflowType { name: "t".repeat(1001) })).await.ok();
    let queue = sempre_api::v1::taskqueue::TaskQueue { name: "q".repeat(1001), ..Default::default() };
    s.start_with("a", |r| r.task_queue = Some(queue)).await.ok();
    Ok(())
}

async fn search_attributes_carried(s: Scene) -> Done {
    type S = StartChildWorkflowExecutionCommandAttributes;
    type C = ContinueAsNewWorkflowExecutionCommandAttributes;
    let long = format!("\"{}\"", "k".repeat(2048));
    let bad: [&[(&str, &str)]; 3] = [&[("DiffInt", "\"text\"")], &[("ExecutionStatus", "\"Running\"")], &[("DiffKeyword", &long)]];
    let names = ["type", "system", "long"];
    for (name, fields) in names.into_iter().zip(bad) {
        let child = S { search_attributes: Some(search_attributes(fields)), ..s.child("child", Policy::Terminate) };
        let next = C { search_attributes: Some(search_attributes(fields)), ..continue_as_new() };
        let (one, two, three) = (format!("child-{name}"), format!("next-{name}"), format!("upsert-{name}"));
        each(&s, vec![(&one, child.command()), (&two, next.command()), (&three, upsert(fields))]).await?;
    }
    Ok(())
}

async fn not_set(s: Scene) -> Done {
    use sempre_api::v1::enums::CommandType as T;
    let types = [
        ("activity", T::ScheduleActivityTask),
        ("cancel-activity", T::RequestCancelActivityTask),
        ("timer", T::StartTimer),
        ("cancel-timer", T::CancelTimer),
        ("complete", T::CompleteWorkflowExecution),
        ("fail", T::FailWorkflowExecution),
        ("cancel", T::CancelWorkflowExecution),
        ("continue", T::ContinueAsNewWorkflowExecution),
        ("cancel-external", T::RequestCancelExternalWorkflowExecution),
        ("signal-external", T::SignalExternalWorkflowExecution),
        ("marker", T::RecordMarker),
        ("child", T::StartChildWorkflowExecution),
        ("upsert", T::UpsertWorkflowSearchAttributes),
        ("memo", T::ModifyWorkflowProperties),
        ("message", T::ProtocolMessage),
    ];
    let command = |kind: T| Command { command_type: kind as i32, ..Default::default() };
    each(&s, types.map(|(name, kind)| (name, command(kind))).into()).await?;
    s.start("order").await?;
    let task = s.task().await?;
    s.complete(&task, [done(), timer("t", 1)]).await.ok();
    s.complete(&task, [command(T::Unspecified)]).await.ok();
    s.complete(&task, [Command { command_type: 99, ..Default::default() }]).await.ok();
    s.terminate("order").await?;
    Ok(())
}

/// Over the limit of payloads, 2 MiB.
async fn too_large(s: Scene) -> Done {
    let large = || payloads(&"x".repeat(2 << 20));
    let fields = || memo(&[("m", &"x".repeat(2 << 20))]);
    each(
        &s,
        vec![
            ("activity", ScheduleActivityTaskCommandAttributes { input: large(), ..s.act("x") }.command()),
            ("child", StartChildWorkflowExecutionCommandAttributes { input: large(), ..s.child("child", Policy::Terminate) }.command()),
            (
                "child-memo",
                StartChildWorkflowExecutionCommandAttributes { memo: Some(fields()), ..s.child("child", Policy::Terminate) }.command(),
            ),
            ("signal", SignalExternalWorkflowExecutionCommandAttributes { input: large(), ..s.signal_to("target") }.command()),
            ("complete", CompleteWorkflowExecutionCommandAttributes { result: large() }.command()),
            ("cancel", CancelWorkflowExecutionCommandAttributes { details: large() }.command()),
            ("fail", fail(&"x".repeat(2 << 20))),
            ("continue", ContinueAsNewWorkflowExecutionCommandAttributes { input: large(), ..continue_as_new() }.command()),
            ("continue-memo", ContinueAsNewWorkflowExecutionCommandAttributes { memo: Some(fields()), ..continue_as_new() }.command()),
            ("memo", ModifyWorkflowPropertiesCommandAttributes { upserted_memo: Some(fields()) }.command()),
        ],
    )
    .await
}

async fn metadata(s: Scene) -> Done {
    let with = |summary: usize, details: usize| {
        let payload = |bytes: usize| payloads(&"x".repeat(bytes)).and_then(|mut p| p.payloads.pop());
        let metadata = sempre_api::v1::sdk::UserMetadata { summary: payload(summary), details: payload(details) };
        Command { user_metadata: Some(metadata), ..timer("t", 60) }
    };
    each(&s, vec![("summary", with(500, 0)), ("details", with(1, 21_000))]).await
}

async fn priorities(s: Scene) -> Done {
    let priority = |key, fairness: &str| {
        Some(sempre_api::v1::common::Priority { priority_key: key, fairness_key: fairness.into(), fairness_weight: 0.0 })
    };
    each(
        &s,
        vec![
            ("activity", ScheduleActivityTaskCommandAttributes { priority: priority(-1, ""), ..s.act("x") }.command()),
            ("activity-key", ScheduleActivityTaskCommandAttributes { priority: priority(1, &"f".repeat(65)), ..s.act("x") }.command()),
            (
                "child",
                StartChildWorkflowExecutionCommandAttributes { priority: priority(-1, ""), ..s.child("child", Policy::Terminate) }
                    .command(),
            ),
        ],
    )
    .await
}

/// Fields without a value: dropped from what starts a run, wherever it says so.
async fn without_value(s: Scene) -> Done {
    let null = || Payload { metadata: [("encoding".to_owned(), "binary/null".into())].into(), ..Default::default() };
    let empty = || payloads("[]").unwrap_or_default().payloads.remove(0);
    let memo_of = || {
        let mut memo = memo(&[("kept", "1"), ("text", "\"\""), ("json", "null")]);
        memo.fields.extend([("null".into(), null()), ("list".into(), empty()), ("none".into(), Payload::default())]);
        Some(memo)
    };
    let search_of = || {
        let mut search = search_attributes(&[("DiffInt", "4")]);
        search.indexed_fields.extend([("DiffKeyword".into(), null())]);
        Some(search)
    };
    let only_memo = || Some(Memo { fields: [("null".into(), null())].into() });
    let only_search = || Some(SearchAttributes { indexed_fields: [("DiffInt".into(), null()), ("DiffKeyword".into(), empty())].into() });
    s.start_with("a", |r| (r.memo, r.search_attributes) = (memo_of(), search_of())).await?;
    s.describe("a").await?;
    s.terminate("a").await?;
    for (name, memo, search_attributes) in [("c", memo_of(), search_of()), ("d", only_memo(), only_search())] {
        let parent = format!("parent-{name}");
        s.start(&parent).await?;
        let child = StartChildWorkflowExecutionCommandAttributes { memo, search_attributes, ..s.child(name, Policy::Abandon) };
        s.work([child.command()]).await?;
        s.task_on(s.queue_named("c")).await?;
        s.describe(name).await?;
        s.terminate(&parent).await?;
        s.terminate(name).await?;
    }
    s.start_with("b", |r| (r.memo, r.search_attributes) = (only_memo(), only_search())).await?;
    s.describe("b").await?;
    for (memo, search_attributes) in [(memo_of(), search_of()), (only_memo(), only_search())] {
        let task = s.task().await?;
        // A run that continues within its first second is held back for the rest of it.
        s.sleep(1100).await;
        s.complete(&task, [ContinueAsNewWorkflowExecutionCommandAttributes { memo, search_attributes, ..continue_as_new() }.command()])
            .await?;
    }
    s.task().await?;
    s.describe("b").await?;
    s.terminate("b").await?;
    Ok(())
}
