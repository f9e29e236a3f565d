//! Circuit breakers: an endpoint, or a host that takes callbacks, that has failed so often in a row that it seems to be down is
//! left alone for a while.
//!
//! | state | input | next |
//! |---|---|---|
//! | closed | a request | it is made |
//! | closed | an answer of any kind | closed, and failures are forgotten |
//! | closed | the sixth failure in a row | open |
//! | open | a request, within a minute | it is put off until that is over |
//! | open | a request, after that | half open: it is made, as a probe |
//! | half open | another request | it is put off until the probe should have ended |
//! | half open | the probe is answered | closed |
//! | half open | the probe fails | open |
//!
//! Each caller's namespace has its own breaker for an endpoint, and each namespace for a host. They are memory only: a restart closes them.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use sempre_core::{NamespaceId, Span, Timestamp};

/// Failures in a row that open a breaker.
const FAILURES_MAX: u32 = 6;
/// How long it stays open (`history.outboundQueue.circuitBreakerSettings`).
const OPEN: Span = Span::seconds(60);
/// How long others wait for the end of a probe.
const PROBE: Span = Span::seconds(10);

/// What is known of an endpoint that has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So often in a row.
    Closed(u32),
    /// Nobody is let through before this time.
    Until(Timestamp),
}

type Failing = HashMap<(NamespaceId, String), State>;

/// Breakers of all endpoints, or all hosts, that have failed.
#[derive(Debug, Default)]
pub(crate) struct Breakers {
    failing: Mutex<Failing>,
}

impl Breakers {
    fn lock(&self) -> MutexGuard<'_, Failing> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request may be made now; `Some` is when to ask again. Who is let through must say how it went.
    pub(crate) fn blocked(&self, caller: NamespaceId, endpoint: &str, now: Timestamp) -> Option<Timestamp> {
        let mut failing = self.lock();
        if failing.is_empty() {
            return None;
        }
        let state = failing.get_mut(&(caller, endpoint.to_owned()))?;
        match *state {
            State::Closed(_) => None,
            State::Until(at) if now < at => Some(at),
            State::Until(_) => {
                *state = State::Until(now + PROBE);
                None
            }
        }
    }

    /// The endpoint has answered.
    pub(crate) fn answered(&self, caller: NamespaceId, endpoint: &str) {
        let mut failing = self.lock();
        if !failing.is_empty() {
            failing.remove(&(caller, endpoint.to_owned()));
        }
    }

    /// It has not.
    pub(crate) fn failed(&self, caller: NamespaceId, endpoint: &str, now: Timestamp) {
        let mut failing = self.lock();
        let state = failing.entry((caller, endpoint.to_owned())).or_insert(State::Closed(0));
        *state = match *state {
            State::Closed(failures) if failures + 1 < FAILURES_MAX => State::Closed(failures + 1),
            State::Closed(_) | State::Until(_) => State::Until(now + OPEN),
        };
    }
}

#[cfg(test)]
mod tests {
    use sempre_core::ids::Uuid;

    use super::*;

    const CALLER: NamespaceId = NamespaceId(Uuid([1; 16]));
    const OTHER: NamespaceId = NamespaceId(Uuid([2; 16]));

    fn at(seconds: i64) -> Timestamp {
        Timestamp(0) + Span::seconds(seconds)
    }

    #[test]
    fn six_failures_in_a_row_open_it_for_a_minute() {
        let breakers = Breakers::default();
        for second in 0..5 {
            breakers.failed(CALLER, "e", at(second));
        }
        assert_eq!(breakers.blocked(CALLER, "e", at(5)), None);
        breakers.answered(CALLER, "e");
        for second in 5..11 {
            assert_eq!(breakers.blocked(CALLER, "e", at(second)), None, "an answer has forgiven those before");
            breakers.failed(CALLER, "e", at(second));
        }
        assert_eq!(breakers.blocked(CALLER, "e", at(11)), Some(at(70)));
        assert_eq!((breakers.blocked(CALLER, "f", at(11)), breakers.blocked(OTHER, "e", at(11))), (None, None));
    }

    #[test]
    fn one_probe_decides() {
        let breakers = Breakers::default();
        (0..6).for_each(|_| breakers.failed(CALLER, "e", at(0)));
        assert_eq!(breakers.blocked(CALLER, "e", at(60)), None, "the probe");
        assert_eq!(breakers.blocked(CALLER, "e", at(61)), Some(at(70)), "others wait for it");
        breakers.failed(CALLER, "e", at(62));
        assert_eq!(breakers.blocked(CALLER, "e", at(63)), Some(at(122)));
        assert_eq!(breakers.blocked(CALLER, "e", at(122)), None, "the next probe");
        breakers.answered(CALLER, "e");
        assert_eq!(breakers.blocked(CALLER, "e", at(123)), None);
        assert!(breakers.lock().is_empty(), "nothing is remembered of those who answer");
    }

    #[test]
    fn a_probe_whose_end_nobody_tells_is_followed_by_another() {
        let breakers = Breakers::default();
        (0..6).for_each(|_| breakers.failed(CALLER, "e", at(0)));
        assert_eq!(breakers.blocked(CALLER, "e", at(60)), None);
        assert_eq!(breakers.blocked(CALLER, "e", at(70)), None);
        assert_eq!(breakers.blocked(CALLER, "e", at(71)), Some(at(80)));
    }
}
