//! What a reset applies again to the new run: spec 01 §12.3.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, reset::*, updates::*, *};
use sempre_api::v1::enums::{ResetReapplyExcludeType, ResetReapplyType, WorkflowExecutionStatus};
use sempre_core::{Refusal, transition::UpdateStatus};

/// 01 §12.2 step 6: continued-as-new successors, the current run and its buffer
#[test]
fn signals_of_the_whole_chain_are_applied_again_in_order() {
    let mut world = World::new();
    world.begin("w", []);
    world.signal("w", "one").unwrap();
    world.work([continue_as_new().command()]);
    world.signal("w", "two").unwrap();
    world.work([continue_as_new().command()]);
    let task = world.poll_workflow(QUEUE).unwrap();
    world.signal("w", "three").unwrap();
    world.signal("w", "buffered").unwrap();
    world.reset_run("w", 1, 4);
    assert_history(
        &world,
        "w",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskFailed {scheduled 2, started 3, ResetWorkflow, failure 'again', base w/1, new w/4}
        5 WorkflowExecutionSignaled {name one}
        6 WorkflowExecutionSignaled {name two}
        7 WorkflowExecutionSignaled {name three}
        8 WorkflowExecutionSignaled {name buffered}
        9 WorkflowTaskScheduled
    ",
    );
    assert_history_of(
        &world,
        "w",
        3,
        "
        1 WorkflowExecutionStarted {Workflow}
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskFailed {scheduled 2, started 3, ForceCloseCommand}
        5 WorkflowExecutionSignaled {name three}
        6 WorkflowExecutionSignaled {name buffered}
        7 WorkflowExecutionTerminated {reason again}
    ",
    );
    assert!(world.complete_with(&task, [complete()], |_| {}).is_err(), "the old worker is told that its task is gone");
    let described = |run: &Run, now| run.execution.describe(now).workflow_extended_info.unwrap().reset_run_id;
    let runs = &world.chains["w"];
    assert_eq!(described(&world.runs[&runs[0]], world.now), runs[3].to_string());
    assert_eq!(described(&world.runs[&runs[2]], world.now), "", "only the base points to the new run");
}

/// A run that is no successor of the base gives way, but has nothing to say to the new run
#[test]
fn an_unrelated_current_run_is_ended_and_its_signals_are_not_applied() {
    let mut world = World::new();
    world.begin("w", [complete()]);
    world.begin("w", []);
    world.signal("w", "of another").unwrap();
    world.reset_run("w", 1, 4);
    assert_history(
        &world,
        "w",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskFailed {scheduled 2, started 3, ResetWorkflow, failure 'again', base w/1, new w/3}
        5 WorkflowTaskScheduled
    ",
    );
    assert_eq!(world.runs[&world.chains["w"][1]].execution.status(), WorkflowExecutionStatus::Terminated);
}

/// 01 §12.3: what may be left out
#[test]
fn excluded_kinds_are_not_applied_again() {
    for (excluded, reapply_type) in [
        (vec![ResetReapplyExcludeType::Signal], ResetReapplyType::Unspecified),
        (vec![], ResetReapplyType::None),
        (
            vec![ResetReapplyExcludeType::Signal, ResetReapplyExcludeType::Update, ResetReapplyExcludeType::Nexus],
            ResetReapplyType::AllEligible,
        ),
    ] {
        let mut world = World::new();
        two_tasks(&mut world);
        #[allow(deprecated, reason = "old fields that workers and clients still send and read")]
        let request = with(reset_request(&mut world, "w", 4), |r| {
            r.set_reset_reapply_type(reapply_type);
            r.reset_reapply_exclude_types = excluded.iter().map(|e| *e as i32).collect();
        });
        world.reset_with(request).unwrap();
        assert_eq!(world.run("w").execution.next_event_id(), 6, "{excluded:?} {reapply_type:?}");
    }
    // "Signal" means: nothing but signals.
    let mut world = World::new();
    two_tasks(&mut world);
    #[allow(deprecated, reason = "old fields that workers and clients still send and read")]
    let request = with(reset_request(&mut world, "w", 4), |r| r.set_reset_reapply_type(ResetReapplyType::Signal));
    world.reset_with(request).unwrap();
    assert!(world.run("w").events().iter().any(|e| line(&world, e) == "WorkflowExecutionSignaled {name s}"));
}

/// 01 §12.3: header, links, request id; a signal is still one signal
#[test]
fn a_signal_keeps_its_request_id_and_is_not_taken_twice() {
    let mut world = World::new();
    world.begin("w", []);
    let signal = sempre_core::input::SignalRequest { name: "s".into(), request_id: "r".into(), ..Default::default() };
    world.signal_with("w", signal.clone()).unwrap();
    world.reset("w", 4);
    world.signal_with("w", signal.clone()).unwrap();
    world.work([]);
    // And when it came before the reset point.
    world.reset("w", 8);
    world.signal_with("w", signal).unwrap();
    let signals = world.run("w").events().iter().filter(|e| line(&world, e).contains("Signaled")).count();
    assert_eq!(signals, 1);
}

/// A message that names the update a reset has admitted again: it came as an event, not as a message.
fn readmitted(id: &str, sequencing: i64) -> sempre_api::v1::protocol::Message {
    sempre_api::v1::protocol::Message {
        id: format!("{id}/request"),
        protocol_instance_id: id.into(),
        sequencing_id: Some(sempre_api::v1::protocol::message::SequencingId::EventId(sequencing)),
        ..Default::default()
    }
}

/// 01 §12.3: an update that was accepted with its request is admitted again
#[test]
fn accepted_updates_are_admitted_again_in_their_order() {
    let mut world = World::new();
    world.begin("w", []);
    world.signal("w", "before").unwrap();
    world.update("w", "u").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    let request = task.response.messages[0].clone();
    let (yes, answer) = (accept(&request), respond("u", "ok"));
    world.complete_with(&task, [place(&yes), place(&answer)], |r| r.messages = vec![yes.clone(), answer.clone()]).unwrap();
    world.signal("w", "after").unwrap();
    world.reset("w", 4);
    assert_history(
        &world,
        "w",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskFailed {scheduled 2, started 3, ResetWorkflow, failure 'again', base w/1, new w/2}
        5 WorkflowExecutionSignaled {name before}
        6 WorkflowExecutionUpdateAdmitted {id u}
        7 WorkflowExecutionSignaled {name after}
        8 WorkflowTaskScheduled
    ",
    );
    let task = world.poll_workflow(QUEUE).unwrap();
    assert!(task.response.messages.is_empty(), "it came as an event");
    let (yes, answer) = (accept(&readmitted("u", task.response.started_event_id - 1)), respond("u", "again"));
    world.complete_with(&task, [place(&yes), place(&answer)], |r| r.messages = vec![yes.clone(), answer.clone()]).unwrap();
    assert!(history_text(&world, world.current_run("w")).contains("UpdateCompleted"));
    // Back once more: the admission is copied, or applied again.
    world.reset("w", 4);
    world.poll_workflow(QUEUE).unwrap();
    world.reset("w", 9);
    let text = history_text(&world, world.current_run("w"));
    assert_eq!(text.matches("UpdateAdmitted").count(), 1, "{text}");
}

/// 01 §12.3: ids of updates are a run's own. One that the new run knows from before the reset point is not admitted twice
#[test]
fn an_update_accepted_before_the_point_is_not_admitted_again_for_a_later_run() {
    let mut world = World::new();
    world.begin("w", []);
    world.update("w", "u").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.answer_updates(&task, [accept(&task.response.messages[0]), respond("u", "first")], []).unwrap();
    world.signal("w", "go").unwrap();
    world.work([continue_as_new().command()]);
    world.work([]);
    world.update("w", "u").unwrap();
    world.update("w", "v").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.answer_updates(&task, task.response.messages.iter().map(accept), []).unwrap();
    world.reset_run("w", 1, 13);
    let text = history_text(&world, world.current_run("w"));
    assert!(text.contains("UpdateAdmitted {id v}") && !text.contains("UpdateAdmitted {id u}"), "{text}");
    world.restart();
    assert_eq!(world.poll_update("w", "u"), Ok(UpdateStatus::Completed { event_id: 9 }));
    assert_eq!(world.poll_update("w", "v"), Ok(UpdateStatus::Admitted));
}

/// An update `u` that an event admitted and that `answer` turns down has left the run for good.
fn turned_down(answer: fn(&mut World, &WorkflowTask)) {
    let mut world = World::new();
    world.limits.updates_in_flight_max = 1;
    world.begin("w", []);
    world.update("w", "u").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.answer_updates(&task, [accept(&task.response.messages[0])], []).unwrap();
    world.reset("w", 4);
    let task = world.poll_workflow(QUEUE).unwrap();
    answer(&mut world, &task);
    world.restart();
    let unknown = Refusal::NotFound("update \"u\" not found".into());
    assert_eq!(world.poll_update("w", "u"), Err(unknown), "it does not come back");
    // It counts no longer, and its id is free.
    assert_eq!(world.update("w", "u"), Ok(UpdateStatus::Admitted));
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!(task.response.messages.len(), 1);
    world.answer_updates(&task, [accept(&task.response.messages[0])], []).unwrap();
    world.restart();
    assert_eq!(world.poll_update("w", "u"), Ok(UpdateStatus::Accepted));
    assert!(matches!(world.update("w", "v"), Err(Refusal::ResourceExhausted { .. })));
}

#[test]
fn an_update_admitted_by_an_event_that_is_rejected_does_not_come_back() {
    turned_down(|world, task| {
        let no = harness::updates::reject(&readmitted("u", task.response.started_event_id - 1), "no");
        world.answer_without_commands(task, [no]).unwrap();
    });
}

#[test]
fn an_update_admitted_by_an_event_that_is_ignored_does_not_come_back() {
    turned_down(|world, task| {
        world.complete(task, []);
    });
}

#[test]
fn excluded_updates_are_not_admitted_again() {
    let mut world = World::new();
    world.begin("w", []);
    world.update("w", "u").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    let yes = accept(&task.response.messages[0]);
    world.complete_with(&task, [place(&yes)], |r| r.messages = vec![yes.clone()]).unwrap();
    let request = with(reset_request(&mut world, "w", 4), |r| r.reset_reapply_exclude_types = vec![ResetReapplyExcludeType::Update as i32]);
    world.reset_with(request).unwrap();
    assert!(!history_text(&world, world.current_run("w")).contains("UpdateAdmitted"));
}

/// 01 §12.3: what later starts attached to the base, the new run is known by too
#[test]
fn attached_request_ids_come_along() {
    use sempre_api::v1::{enums::WorkflowIdConflictPolicy, workflow::OnConflictOptions};
    let mut world = World::new();
    world.begin("w", []);
    let attach = with(start_request("w"), |r| {
        r.set_workflow_id_conflict_policy(WorkflowIdConflictPolicy::UseExisting);
        r.request_id = "later".into();
        r.on_conflict_options = Some(OnConflictOptions { attach_request_id: true, ..Default::default() });
    });
    world.start_with(attach.clone()).unwrap();
    world.reset("w", 4);
    assert!(history_text(&world, world.current_run("w")).contains("5 WorkflowExecutionOptionsUpdated {attached later}"));
    let again = world.start_with(attach).unwrap();
    assert_eq!(again.run_id, world.current_run("w").to_string());
    assert_eq!(world.run("w").events().len(), 6, "known already");
}

/// A caller whose answer was lost has asked again, and found the next run of the chain
#[test]
fn a_signal_that_two_runs_of_the_chain_have_is_told_once() {
    for finish in [4, 8] {
        let mut world = World::new();
        let signal = || sempre_core::input::SignalRequest { name: "go".into(), request_id: "mine".into(), ..Default::default() };
        world.begin("w", []);
        world.signal_with("w", signal()).unwrap();
        world.work([continue_as_new().command()]);
        world.signal_with("w", signal()).unwrap();
        world.reset_run("w", 1, finish);
        let history = history_text(&world, world.current_run("w"));
        assert_eq!(history.matches("WorkflowExecutionSignaled").count(), 1, "{history}");
    }
}
