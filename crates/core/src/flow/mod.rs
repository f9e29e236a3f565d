//! Flow rules: which starts of workflows go at once, and which wait for their turn (docs/flow.md).
//!
//! A start that has to wait is *written* as a run like any other, with its first workflow task held back
//! ([`progress::FlowProgress`], in the run's state). Nothing of it is lost by a crash, and all that can be asked of an open
//! run can be asked of it.
//!
//! | a run of a rule | is | gets there by |
//! |---|---|---|
//! | delayed | held, not in line yet | a start with a delay, cron, a child whose parent has not recorded it |
//! | waiting | held, in line | a start without room; the end of its delay |
//! | open | let go | a start with room; its turn ([`crate::Input::FlowRelease`]) |
//! | gone | closed | any end of its chain; a run that goes on by continue-as-new, retry or reset hands its place on |
//!
//! Who may go is decided by [`lines::Lines`], which is in memory and made out of the runs' rows after a start: a run's row
//! (table Flow) is written with the run, so that the two cannot differ. A start asks it through [`Gate`] before the run is
//! made; whoever is not let in by then is let go later by a message.

pub mod hold;
pub mod lines;
pub mod progress;
pub mod report;
pub mod rule;

use alloc::vec::Vec;

use crate::{Limits, NamespaceView, Refusal, RunKey, Timestamp};
pub use progress::{FlowChange, FlowProgress, FlowRecord, Member};
pub use rule::{FlowRules, Rule, RuleRecord};

/// A start that rules are about, before it is made. Nothing can stop it any more but the gate.
#[derive(Clone, Debug)]
pub struct Admission<'a> {
    /// Now.
    pub now: Timestamp,
    /// The run to be.
    pub run: &'a RunKey,
    /// The rules, with the values of their keys.
    pub members: &'a [Member],
    /// Its first task is not due yet: it cannot go at once, and is not in line either.
    pub delayed: bool,
}

/// What becomes of such a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It goes at once, and counts for these rules until its end. The caller may know an older version of them: what is
    /// written of the run is what the gate has counted.
    Goes(Vec<Member>),
    /// It waits. For a debounce: when the first of the starts came that the rule makes one of.
    Waits {
        /// That time, ns.
        burst: i64,
    },
}

/// Lets starts in.
pub trait Gate {
    /// Decides, and remembers it.
    fn admit(&self, admission: &Admission<'_>) -> Result<Admitted, Refusal>;

    /// Whether the namespace has room for what a client starts. One that `replaces` an open run makes them no more.
    fn room(&self, namespace: &NamespaceView, limits: &Limits, replaces: bool) -> Result<(), Refusal> {
        let _ = (namespace, limits, replaces);
        Ok(())
    }

    /// Whether the namespace has room for what a client adds to the history of an open run.
    fn room_for_more(&self, namespace: &NamespaceView, limits: &Limits) -> Result<(), Refusal> {
        let _ = (namespace, limits);
        Ok(())
    }
}

/// Lets everybody in: for worlds without rules.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoGate;

impl Gate for NoGate {
    fn admit(&self, _: &Admission<'_>) -> Result<Admitted, Refusal> {
        Ok(Admitted::Goes(Vec::new()))
    }
}

/// Something that a line wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Let the run go.
    Release {
        /// Which.
        run: RunKey,
        /// A release without the run's newest permit does not count.
        permit: u64,
    },
    /// End the run: a newer start has taken its place.
    Replace {
        /// Which.
        run: RunKey,
        /// As of a release: the lines may have thought better of it, since the rule was changed.
        permit: u64,
        /// The newer one.
        by: RunKey,
        /// The rule that says so.
        rule: alloc::string::String,
    },
}

impl Order {
    /// The run it is about.
    pub fn run(&self) -> &RunKey {
        match self {
            Self::Release { run, .. } | Self::Replace { run, .. } => run,
        }
    }

    /// What makes it count ([`lines::Lines::permits`]).
    pub fn permit(&self) -> u64 {
        match self {
            Self::Release { permit, .. } | Self::Replace { permit, .. } => *permit,
        }
    }
}

/// The members of a start: the rules that are about it.
pub fn members(
    rules: &FlowRules,
    request: &sempre_api::v1::workflowservice::StartWorkflowExecutionRequest,
    namespace: &crate::NamespaceView,
    is_child: bool,
) -> Vec<Member> {
    rules.iter().filter_map(|rule| rule.member(request, namespace, is_child)).collect()
}
