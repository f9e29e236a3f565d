use std::{sync::atomic::AtomicI64, task::Poll};

use super::*;

/// A clock that stands still until it is moved. It wakes nobody: tests poll again.
#[derive(Default)]
struct Wall(Arc<AtomicI64>);

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let now = self.0.clone();
        let due = move |_: &mut std::task::Context<'_>| if now.load(Ordering::SeqCst) >= at.0 { Poll::Ready(()) } else { Poll::Pending };
        futures::future::poll_fn(due).boxed()
    }
}

const SECOND: Span = Span::seconds(1);

fn at(seconds: i64) -> Timestamp {
    Timestamp(0) + Span::seconds(seconds)
}

fn time(locks: i64) -> (VirtualTime, Arc<Wall>) {
    let wall = Arc::new(Wall::default());
    (VirtualTime::new(wall.clone(), locks), wall)
}

const TASK: Busy = Busy { task: true, others: 0 };
const ACTIVITY: Busy = Busy { task: false, others: 1 };
const NOTHING: Busy = Busy { task: false, others: 0 };

#[test]
fn an_unlocked_clock_jumps_to_the_earliest_deadline_and_no_further_until_it_is_dealt_with() {
    let (time, _) = time(0);
    let (mut one, mut other) = (time.part(), time.part());
    one.rest(Some(at(100)));
    assert_eq!(time.now(), at(0), "the other part is at work");
    other.rest(Some(at(50)));
    assert_eq!(time.now(), at(50));
    one.work();
    one.rest(Some(at(60)));
    assert_eq!(time.now(), at(50), "what is due has not been dealt with");
    other.work();
    assert_eq!(time.now(), at(50));
    other.rest(None);
    assert_eq!(time.now(), at(60));
    one.work();
    one.rest(None);
    assert_eq!(time.now(), at(60), "nothing to jump to");
    assert_eq!(time.jumps(), 2);
}

#[test]
fn locks_hold_time_which_passes_as_fast_as_the_clock_behind() {
    let (time, wall) = time(1);
    let mut part = time.part();
    part.rest(Some(at(100)));
    time.lock();
    wall.0.store(SECOND.0, Ordering::SeqCst);
    assert_eq!(time.now(), at(1));
    time.unlock().unwrap();
    assert_eq!(time.now(), at(1));
    time.unlock().unwrap();
    assert_eq!(time.now(), at(100));
    wall.0.store(3 * SECOND.0, Ordering::SeqCst);
    assert_eq!(time.now(), at(102));
    assert_eq!(time.unlock(), Err(Unbalanced));
    assert_eq!(Unbalanced.to_string(), "Unbalanced lock and unlock calls");
}

#[test]
fn what_is_in_hand_holds_time() {
    let (time, _) = time(0);
    let mut part = time.part();
    let hold = time.hold();
    time.change(NOTHING, TASK);
    time.change(NOTHING, ACTIVITY);
    part.rest(Some(at(9)));
    drop(hold);
    time.change(ACTIVITY, NOTHING);
    assert_eq!(time.now(), at(0));
    time.change(TASK, NOTHING);
    assert_eq!(time.now(), at(9));
}

#[test]
fn an_activity_that_unlocks_takes_its_own_hold_away_and_no_other() {
    let (time, _) = time(1);
    let mut part = time.part();
    part.rest(Some(at(20)));
    // A client waits for the result; its workflow's activity sleeps for 40 s.
    time.unlock().unwrap();
    assert_eq!(time.now(), at(20));
    part.work();
    time.change(NOTHING, ACTIVITY);
    part.rest(Some(at(40)));
    let mut sleep = Box::pin(time.unlock_for(Span::seconds(40)));
    assert!((&mut sleep).now_or_never().is_none());
    assert_eq!(time.now(), at(40), "its heartbeat is missed");
    part.work();
    time.change(ACTIVITY, TASK);
    part.rest(Some(at(50)));
    assert_eq!(time.now(), at(40), "a workflow task is in hand, whatever was unlocked");
    time.change(TASK, NOTHING);
    assert_eq!(time.now(), at(50));
    part.work();
    part.rest(None);
    assert_eq!((time.now(), sleep.now_or_never()), (at(60), Some(Ok(()))));
}

#[test]
fn sleeps_are_times_to_jump_to() {
    let (time, wall) = time(1);
    let mut sleep = Box::pin(time.sleep(Span::seconds(30)));
    assert!((&mut sleep).now_or_never().is_none());
    assert_eq!(time.now(), at(0), "locked");
    time.unlock().unwrap();
    assert_eq!(time.now(), at(30));
    assert!(sleep.now_or_never().is_some());
    let mut gone = Box::pin(time.sleep_to(at(90)));
    time.lock();
    assert!((&mut gone).now_or_never().is_none());
    drop(gone);
    time.unlock().unwrap();
    assert_eq!(time.now(), at(30), "nobody sleeps any more");
    time.lock();
    let mut sleep = Box::pin(time.sleep_to(at(31)));
    assert!((&mut sleep).now_or_never().is_none());
    wall.0.store(SECOND.0, Ordering::SeqCst);
    assert!(sleep.now_or_never().is_some(), "it passes without a jump too");
    assert!(time.sleep_to(at(5)).now_or_never().is_some(), "the past is there already");
}

#[test]
fn a_sleep_that_unlocks_locks_again_before_anything_else_is_due() {
    let (time, _) = time(1);
    let mut part = time.part();
    part.rest(Some(at(1000)));
    assert_eq!(time.unlock_for(Span::seconds(10)).now_or_never(), Some(Ok(())));
    assert_eq!(time.now(), at(10));
    time.unlock().unwrap();
    assert_eq!(time.now(), at(1000));
    part.work();
    part.rest(None);
    assert_eq!(time.unlock_for(SECOND).now_or_never(), Some(Err(Unbalanced)));
    assert_eq!(time.now(), at(1000), "and nobody is left who sleeps");
}

#[test]
fn whoever_goes_away_in_mid_sleep_leaves_the_lock_behind() {
    let (time, _) = time(1);
    time.change(NOTHING, TASK);
    let mut sleep = Box::pin(time.unlock_for(SECOND));
    assert!((&mut sleep).now_or_never().is_none());
    drop(sleep);
    time.change(TASK, NOTHING);
    assert_eq!(time.now(), at(1));
    let mut part = time.part();
    part.rest(Some(at(5)));
    assert_eq!(time.now(), at(1), "locked again");
}

#[test]
fn sleepers_of_the_clock_follow_jumps_and_are_not_jumped_to() {
    let (time, _) = time(0);
    let mut sleep = time.sleep_until(at(70));
    assert!((&mut sleep).now_or_never().is_none());
    assert_eq!(time.now(), at(0));
    assert!(time.sleep(Span::seconds(80)).now_or_never().is_some());
    assert!(sleep.now_or_never().is_some());
}

#[test]
fn time_can_be_moved_whatever_is_in_hand() {
    let (time, _) = time(1);
    let mut part = time.part();
    part.rest(Some(at(10)));
    time.change(NOTHING, TASK);
    let mut sleep = time.sleep_until(at(20));
    assert!((&mut sleep).now_or_never().is_none());
    time.advance(Span::seconds(30));
    assert_eq!(time.now(), at(30));
    assert!(sleep.now_or_never().is_some());
    time.advance(Span(-1));
    assert_eq!(time.now(), at(30));
}

#[test]
fn idle_is_when_nothing_is_in_hand_or_due() {
    let (time, _) = time(1);
    let mut part = time.part();
    let mut idle = Box::pin(time.idle());
    assert!((&mut idle).now_or_never().is_none());
    part.rest(Some(at(0)));
    assert!((&mut idle).now_or_never().is_none(), "something is due");
    part.work();
    time.change(NOTHING, ACTIVITY);
    part.rest(Some(at(1)));
    assert!((&mut idle).now_or_never().is_none());
    time.change(ACTIVITY, NOTHING);
    assert!(idle.now_or_never().is_some());
}
