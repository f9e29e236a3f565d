//! The log of activity attempts beside history.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, *};
use prost::Message;
use sempre_api::v1::{common::Payloads, failure::failure::FailureInfo};
use sempre_core::{
    AttemptsOfHistory, Input,
    state::{AttemptLog, AttemptOutcome as Outcome, rows::Kind},
};

/// The rows of the log, by place.
fn rows(world: &World) -> Vec<AttemptLog> {
    let (rows, _) = world.run("wf").stored();
    let logs = rows.iter().filter(|((kind, _), _)| *kind == Kind::AttemptLog as u8);
    logs.map(|(_, value)| AttemptLog::decode(value.clone()).unwrap()).collect()
}

fn outcomes(log: &AttemptLog) -> Vec<(i32, Outcome)> {
    log.attempts.iter().map(|a| (a.attempt, a.outcome())).collect()
}

fn of_history(world: &World) -> Vec<AttemptLog> {
    let mut attempts = AttemptsOfHistory::default();
    world.run("wf").events().iter().for_each(|event| attempts.event(event));
    attempts.closed()
}

fn fail_once(world: &mut World, text: &str) {
    let task = world.poll_activity().unwrap();
    world.fail_activity(&task, failure_with(text, |info| info.r#type = "Odd".into())).unwrap();
    world.advance(secs(100));
}

#[test]
fn a_first_attempt_that_succeeds_costs_no_row_and_is_told_by_history() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    let scheduled = world.now;
    world.advance(secs(1));
    let task = world.poll_activity().unwrap();
    world.advance(secs(2));
    world.complete_activity(&task, "yes").unwrap();
    assert!(rows(&world).is_empty());
    let [log] = &of_history(&world)[..] else { panic!("one activity") };
    assert_eq!((log.scheduled_event_id, log.activity_id.as_str(), log.activity_type.as_str()), (5, "a", "Activity"));
    assert_eq!(outcomes(log), [(1, Outcome::Completed)]);
    let attempt = &log.attempts[0];
    let times = [attempt.scheduled_time, attempt.started_time, attempt.ended_time];
    assert_eq!(times, [scheduled.0, (scheduled + secs(1)).0, (scheduled + secs(3)).0]);
    assert_eq!(attempt.identity, WORKER);
}

#[test]
fn attempts_that_fail_are_kept_with_what_they_said() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    let first = world.now;
    let task = world.poll_activity().unwrap();
    world.advance(secs(1));
    world.heartbeat(&task, "half").unwrap();
    world.fail_activity(&task, failure_with("no", |info| info.r#type = "Odd".into())).unwrap();
    world.advance(secs(1));
    let task = world.poll_activity().unwrap();
    assert!(rows(&world).is_empty(), "no row of its own while it is pending");
    let [log] = &world.run("wf").execution.pending_attempts()[..] else { panic!("one activity") };
    assert_eq!(outcomes(log), [(1, Outcome::Failed), (2, Outcome::Running)]);
    world.complete_activity(&task, "yes").unwrap();
    assert!(world.run("wf").execution.pending_attempts().is_empty());
    let [log] = &rows(&world)[..] else { panic!("one log") };
    assert_eq!(outcomes(log), [(1, Outcome::Failed), (2, Outcome::Completed)]);
    let [failed, completed] = &log.attempts[..] else { panic!("two attempts") };
    assert_eq!((failed.failure_message.as_str(), failed.failure_type.as_str(), failed.identity.as_str()), ("no", "Odd", WORKER));
    assert_eq!((failed.scheduled_time, failed.started_time, failed.ended_time), (first.0, first.0, (first + secs(1)).0));
    assert_eq!(failed.heartbeat_time, (first + secs(1)).0);
    assert_eq!(Some(Payloads::decode(failed.heartbeat_details.clone()).unwrap()), payloads("half"));
    assert_eq!((completed.heartbeat_time, completed.heartbeat_bytes), (0, 0), "it did not heartbeat itself");
    assert_eq!(completed.failure_message, "");
}

#[test]
fn each_way_to_end_is_told_apart() {
    let mut world = World::new();
    let hasty = with(activity("a"), |a| a.heartbeat_timeout = duration(2));
    world.begin("wf", [hasty.command()]);
    let task = world.poll_activity().unwrap();
    world.advance(secs(3));
    assert!(world.complete_activity(&task, "late").is_err());
    let task = world.poll_activity().unwrap();
    for _ in 0..9 {
        world.advance(secs(1));
        world.heartbeat(&task, "on").unwrap();
    }
    world.advance(secs(3));
    let task = world.poll_activity().unwrap();
    world.work_cancel(5);
    world.cancel_activity(&task, "as told").unwrap();
    let [log] = &rows(&world)[..] else { panic!("one log") };
    assert_eq!(outcomes(log), [(1, Outcome::TimedOutHeartbeat), (2, Outcome::TimedOutStartToClose), (3, Outcome::Canceled)]);
    assert_eq!(log.attempts[0].failure_message, "activity Heartbeat timeout");
}

trait WorkCancel {
    fn work_cancel(&mut self, scheduled_event_id: i64);
}

impl WorkCancel for World {
    fn work_cancel(&mut self, scheduled_event_id: i64) {
        self.signal("wf", "cancel it").unwrap();
        self.work([cancel_activity(scheduled_event_id)]);
    }
}

#[test]
fn the_last_failure_closes_the_log() {
    let mut world = World::new();
    world.begin("wf", [with(activity("a"), |a| a.retry_policy = retry(2)).command()]);
    fail_once(&mut world, "no 1");
    fail_once(&mut world, "no 2");
    let [log] = &rows(&world)[..] else { panic!("one log") };
    assert_eq!(outcomes(log), [(1, Outcome::Failed), (2, Outcome::Failed)]);
    assert_eq!(log.attempts[1].failure_message, "no 2");
    let [told] = &of_history(&world)[..] else { panic!("one activity") };
    assert_eq!((outcomes(told), told.dropped), (vec![(2, Outcome::Failed)], 1), "history knows of the last one");
}

#[test]
fn only_the_newest_attempts_are_kept() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    for n in 0..14 {
        fail_once(&mut world, &format!("no {n}"));
    }
    let task = world.poll_activity().unwrap();
    world.complete_activity(&task, "yes").unwrap();
    let [log] = &rows(&world)[..] else { panic!("one log") };
    assert_eq!((log.attempts.len(), log.dropped), (10, 5));
    assert_eq!((log.attempts[0].attempt, log.attempts[9].outcome()), (6, Outcome::Completed));
}

#[test]
fn what_is_kept_of_an_attempt_has_a_bound() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    let task = world.poll_activity().unwrap();
    world.heartbeat(&task, &"x".repeat(5000)).unwrap();
    let text = "é".repeat(3000);
    let long = failure_with(&text, |info| info.r#type.clone_from(&text));
    world.fail_activity(&task, long).unwrap();
    let log = world.run("wf").execution.pending_attempts().remove(0);
    let failed = &log.attempts[0];
    assert_eq!((failed.failure_message.len(), failed.failure_type.len()), (512, 256));
    assert!(failed.heartbeat_details.is_empty() && failed.heartbeat_bytes > 5000 && failed.heartbeat_time != 0);
    assert!(failed.encoded_len() < 1000);
}

#[test]
fn the_rows_of_a_run_are_used_in_turn() {
    let mut world = World::new();
    world.start("wf");
    for n in 0..105 {
        world.work([activity(&format!("a{n}")).command()]);
        fail_once(&mut world, "no");
        let task = world.poll_activity().unwrap();
        world.complete_activity(&task, "yes").unwrap();
    }
    let logs = rows(&world);
    assert_eq!(logs.len(), 100);
    assert!(logs.iter().all(|log| log.activity_id != "a4"), "the oldest are gone");
    assert!(logs.iter().any(|log| log.activity_id == "a104") && logs.iter().any(|log| log.activity_id == "a5"));
}

#[test]
fn a_run_that_closes_over_its_activities_says_so() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command(), activity("b").command(), activity("c").command()]);
    let running = world.poll_activity().unwrap();
    fail_once(&mut world, "no");
    world.terminate("wf", "enough").unwrap();
    let mut logs = rows(&world);
    logs.sort_by(|a, b| a.activity_id.cmp(&b.activity_id));
    let told: Vec<_> = logs.iter().map(|log| (log.activity_id.as_str(), outcomes(log))).collect();
    let (a, b) = (running.response.activity_id.as_str(), logs[1].activity_id.as_str());
    assert_eq!(
        told,
        [(a, vec![(1, Outcome::TimedOutStartToClose), (2, Outcome::RunClosed)]), (b, vec![(1, Outcome::Failed), (2, Outcome::RunClosed)]),],
        "the one that nobody ever had leaves none"
    );
}

#[test]
fn a_reset_shows_as_a_count_that_begins_anew() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    fail_once(&mut world, "no");
    let all = sempre_core::input::ActivitySelector::All;
    world.apply("wf", Input::ResetActivity(all, Box::default())).unwrap();
    let task = world.poll_activity().unwrap();
    world.complete_activity(&task, "yes").unwrap();
    assert_eq!(outcomes(&rows(&world)[0]), [(1, Outcome::Failed), (1, Outcome::Completed)]);
}

#[test]
fn a_failure_of_the_server_is_told_like_a_workers() {
    let mut world = World::new();
    world.limits.blob_size_max = 1000;
    world.begin("wf", [activity("a").command()]);
    fail_once(&mut world, "no");
    let task = world.poll_activity().unwrap();
    world.complete_activity(&task, &"x".repeat(2000)).unwrap();
    let logs = rows(&world);
    let last = logs[0].attempts.last().unwrap();
    assert_eq!((last.outcome(), last.failure_message.as_str()), (Outcome::Failed, "Complete result exceeds size limit."));
    let events = world.run("wf").events();
    let failed = events.iter().find_map(|e| match e.attributes.as_ref()? {
        sempre_api::v1::history::history_event::Attributes::ActivityTaskFailedEventAttributes(a) => a.failure.clone(),
        _ => None,
    });
    assert!(matches!(failed.unwrap().failure_info, Some(FailureInfo::ServerFailureInfo(_))));
}
