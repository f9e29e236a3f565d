//! What the scenarios cover: every event type, every command, every cause of a failed workflow task, every race of spec 02.
//!
//! Looks at the texts of the other test files. A scenario covers an event type when a line of a history it expects
//! names it; so a variant that the code learns to write, and that nobody wrote a scenario for, fails here. What has
//! none is listed with its reason, and must leave the list when it gets one.

use std::{collections::BTreeMap, fs, path::PathBuf};

use sempre_api::v1::enums::{CommandType, EventType, WorkflowTaskFailedCause as Cause};

/// At least so many scenarios (issue 3).
const SCENARIOS_MIN: usize = 150;

/// Scenarios by name: their texts.
fn scenarios() -> BTreeMap<String, String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("the folder of this test") {
        let path = entry.expect("readable").path();
        let is_test = path.extension().is_some_and(|e| e == "rs") && !path.ends_with("coverage.rs") && !path.ends_with("properties.rs");
        if !is_test {
            continue;
        }
        let text = fs::read_to_string(&path).expect("text");
        for part in text.split("#[test]\nfn ").skip(1) {
            let name = part.split('(').next().expect("a name").to_owned();
            let body = part.split("\n}\n").next().expect("a body").to_owned();
            assert!(all.insert(name.clone(), body).is_none(), "two scenarios are called {name}");
        }
    }
    all
}

/// Words of the lines of expected histories: `12 Name {facts}`.
fn history_lines(body: &str) -> impl Iterator<Item = (&str, &str)> {
    body.lines().filter_map(|line| {
        // The first line may follow the quotation mark.
        let line = line.trim().trim_start_matches("assert_history(&w, \"a\", \"").trim_start_matches(['"', ' ']);
        let (number, rest) = line.split_once(' ')?;
        number.parse::<u32>().ok()?;
        let rest = rest.trim_end_matches(['"', ',', ')', ';']);
        Some(rest.split_once(' ').unwrap_or((rest, "")))
    })
}

/// All variants of a prost enum with numbers from 0.
fn variants<T: TryFrom<i32> + std::fmt::Debug>() -> Vec<String> {
    (0..200).filter_map(|number| T::try_from(number).ok()).map(|variant| format!("{variant:?}")).collect()
}

#[track_caller]
fn check(what: &str, all: &[String], covered: impl Fn(&str) -> bool, without: &[(&str, &str)]) {
    let mut wrong = String::new();
    for variant in all {
        let reason = without.iter().find(|(name, _)| name == variant);
        match (covered(variant), reason) {
            (false, None) => wrong += &format!("{what} {variant} has no scenario\n"),
            (true, Some((_, reason))) => wrong += &format!("{what} {variant} has a scenario: take it off the list ({reason})\n"),
            _ => {}
        }
    }
    for (name, _) in without {
        assert!(all.iter().any(|variant| variant == name), "{what} {name} does not exist");
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn there_are_enough_scenarios() {
    assert!(scenarios().len() >= SCENARIOS_MIN, "{} scenarios", scenarios().len());
}

#[test]
fn every_event_type_has_a_scenario() {
    let scenarios = scenarios();
    let covered = |name: &str| scenarios.values().any(|body| history_lines(body).any(|(event, _)| event == name));
    check("event type", &variants::<EventType>(), covered, EVENTS_WITHOUT);
}

#[test]
fn every_cause_of_a_failed_task_has_a_scenario() {
    let scenarios = scenarios();
    let covered = |name: &str| {
        let in_facts = |facts: &str| facts.split([' ', ',', '{', '}']).any(|word| word == name);
        scenarios.values().any(|body| history_lines(body).any(|(event, facts)| event == "WorkflowTaskFailed" && in_facts(facts)))
    };
    check("cause", &variants::<Cause>(), covered, CAUSES_WITHOUT);
}

/// The event that a command writes.
fn event_of(command: CommandType) -> Option<EventType> {
    Some(match command {
        CommandType::ScheduleActivityTask => EventType::ActivityTaskScheduled,
        CommandType::RequestCancelActivityTask => EventType::ActivityTaskCancelRequested,
        CommandType::StartTimer => EventType::TimerStarted,
        CommandType::CompleteWorkflowExecution => EventType::WorkflowExecutionCompleted,
        CommandType::FailWorkflowExecution => EventType::WorkflowExecutionFailed,
        CommandType::CancelTimer => EventType::TimerCanceled,
        CommandType::CancelWorkflowExecution => EventType::WorkflowExecutionCanceled,
        CommandType::RequestCancelExternalWorkflowExecution => EventType::RequestCancelExternalWorkflowExecutionInitiated,
        CommandType::RecordMarker => EventType::MarkerRecorded,
        CommandType::ContinueAsNewWorkflowExecution => EventType::WorkflowExecutionContinuedAsNew,
        CommandType::StartChildWorkflowExecution => EventType::StartChildWorkflowExecutionInitiated,
        CommandType::SignalExternalWorkflowExecution => EventType::SignalExternalWorkflowExecutionInitiated,
        CommandType::UpsertWorkflowSearchAttributes => EventType::UpsertWorkflowSearchAttributes,
        CommandType::ModifyWorkflowProperties => EventType::WorkflowPropertiesModified,
        CommandType::ScheduleNexusOperation => EventType::NexusOperationScheduled,
        CommandType::RequestCancelNexusOperation => EventType::NexusOperationCancelRequested,
        // Places a message of an update; writes nothing of its own.
        CommandType::ProtocolMessage => EventType::WorkflowExecutionUpdateAccepted,
        CommandType::Unspecified => return None,
    })
}

#[test]
fn every_command_has_a_scenario() {
    let scenarios = scenarios();
    let covered = |name: &str| {
        let number = (0..200).find(|n| CommandType::try_from(*n).is_ok_and(|c| format!("{c:?}") == name));
        let event = number.and_then(|n| CommandType::try_from(n).ok()).and_then(event_of);
        let Some(event) = event.map(|event| format!("{event:?}")) else { return false };
        scenarios.values().any(|body| history_lines(body).any(|(line, _)| line == event))
    };
    check("command", &variants::<CommandType>(), covered, COMMANDS_WITHOUT);
}

/// Races of spec 02, and the scenarios that run them.
const RACES: &[(&str, &[&str])] = &[
    ("a signal during a started task", &["a_signal_while_a_task_runs_waits_for_its_end"]),
    ("a cancel request during a started task", &["a_cancel_request_while_a_task_runs_waits_for_its_end"]),
    ("an activity result during a started task", &["closings_come_last_out_of_the_buffer"]),
    ("a timer during a started task", &["a_fired_timer_waits_for_the_running_task"]),
    ("a child's start and end during a started task", &["start_and_end_of_a_child_wait_for_the_running_task"]),
    ("a close with buffered events", &["a_close_is_refused_while_a_signal_waits"]),
    ("a close whose only buffered event is taken back", &["cancelling_a_timer_that_fired_unseen_takes_the_firing_back"]),
    ("a signal during a transient task", &["news_during_a_transient_attempt_end_the_series"]),
    (
        "something written between a transient task and its start",
        &["a_transient_task_becomes_real_when_something_was_written_before_its_start"],
    ),
    ("a sticky task that nobody takes", &["a_task_that_a_sticky_worker_does_not_take_goes_to_the_normal_queue"]),
    ("a sticky worker that dies at work", &["a_sticky_worker_that_dies_at_work_costs_no_attempt"]),
    ("a completion after the task timed out", &["a_task_that_timed_out_cannot_be_completed"]),
    ("a completion given twice", &["a_task_is_completed_once"]),
    ("one task, two polls", &["the_same_poll_gets_the_same_task_again_and_another_poll_none"]),
    ("termination during a started task", &["terminating_fails_a_running_task_first"]),
    ("the run's time out during a started task", &["a_run_timeout_fails_a_running_task_first"]),
    ("a cancel of an activity whose end is buffered", &["cancelling_an_activity_whose_end_is_buffered_still_writes_the_request"]),
    ("a failure of an activity after its cancel request", &["a_failure_after_a_cancel_request_is_not_retried"]),
    ("a query during a started task", &["a_run_with_a_task_is_asked_by_it", "a_query_that_the_task_did_not_answer_goes_directly"]),
    ("the heartbeat limit of a task", &["heartbeats_end_after_thirty_minutes"]),
    ("a completion in pages whose task times out", &["pages_end_with_their_task"]),
    ("more buffered events than allowed", &["too_many_buffered_events_fail_the_running_task"]),
];

#[test]
fn every_race_has_its_scenarios() {
    let scenarios = scenarios();
    for (race, names) in RACES {
        for name in *names {
            assert!(scenarios.contains_key(*name), "{race}: there is no scenario {name}");
        }
    }
}

/// Event types without a scenario, and why.
const EVENTS_WITHOUT: &[(&str, &str)] = &[
    ("Unspecified", "no event"),
    ("WorkflowExecutionUpdateRejected", "never written: a rejected update leaves no trace"),
    ("WorkflowPropertiesModifiedExternally", "no call of the API asks for it"),
    ("ActivityPropertiesModifiedExternally", "no call of the API asks for it"),
];

/// Causes without a scenario, and why.
const CAUSES_WITHOUT: &[(&str, &str)] = &[
    ("Unspecified", "a worker that names no cause"),
    ("ResetStickyTaskQueue", "nobody produces it any more"),
    ("BadSignalInputSize", "nobody produces it any more"),
    ("UnhandledUpdate", "nobody produces it: unanswered updates are rejected"),
    ("FailoverCloseCommand", "one cluster has no failover"),
    ("FeatureDisabled", "nobody produces it: what commands ask for is built"),
    ("GrpcMessageTooLarge", "ends the run: a_message_too_large_for_the_wire_ends_the_run"),
];

/// Commands without a scenario, and why.
const COMMANDS_WITHOUT: &[(&str, &str)] = &[("Unspecified", "no command")];
