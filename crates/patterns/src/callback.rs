//! Async callback: ask somebody outside, and wait for the answer with a deadline, reminders and escalation.
//!
//! An answer comes as a message to the workflow (a signal or an update puts it into a [`Slot`]), or as the completion of an activity that
//! asked and did not wait ([`Ticket`]). [`wait`] is the same for both.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use sempre_patterns::callback::{Decision, Nudge, Plan, Reply, Slot, Vote, wait};
//! # use temporalio_macros::{activities, workflow, workflow_methods};
//! # use temporalio_sdk::{ActivityOptions, SyncWorkflowContext, WorkflowContext, WorkflowResult, activities::{ActivityContext, ActivityError}};
//! # const HOUR: Duration = Duration::from_secs(3600);
//! # pub struct Mail;
//! # #[activities]
//! # impl Mail {
//! #     #[activity] pub async fn send(_: ActivityContext, _to: String) -> Result<(), ActivityError> { Ok(()) }
//! # }
//! #[workflow]
//! #[derive(Default)]
//! pub struct Expense {
//!     decision: Slot<Decision>,
//! }
//!
//! #[workflow_methods]
//! impl Expense {
//!     #[run]
//!     pub async fn run(ctx: &mut WorkflowContext<Self>, approver: String) -> WorkflowResult<String> {
//!         let decision = ctx.state(|expense| expense.decision.clone());
//!         let plan = Plan::new(72 * HOUR).remind_every(24 * HOUR).escalate(48 * HOUR, "the boss");
//!         let mail = async |to: String| {
//!             let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(60));
//!             drop(ctx.execute_activity(Mail::send, to, options).await);
//!         };
//!         mail(approver.clone()).await;
//!         let reply = wait(ctx, decision.answer(ctx), &plan, async |nudge| match nudge {
//!             Nudge::Remind(_) => mail(approver.clone()).await,
//!             Nudge::Escalate(to) => mail(to).await,
//!         });
//!         Ok(match reply.await {
//!             Reply::Answered(it) => format!("{} by {}: {}", if it.approved { "approved" } else { "refused" }, it.by, it.why),
//!             Reply::Expired => "nobody cared".into(),
//!             Reply::Cancelled => "not wanted any more".into(),
//!         })
//!     }
//!
//!     #[update]
//!     pub fn decide(&mut self, ctx: &mut SyncWorkflowContext<Self>, vote: Vote) -> Result<Decision, Box<dyn std::error::Error + Send + Sync>> {
//!         Ok(self.decision.decide(ctx, vote)?)
//!     }
//! }
//! ```

use std::{
    cell::RefCell,
    fmt,
    rc::Rc,
    str::FromStr,
    time::{Duration, SystemTime},
};

use futures::FutureExt;
use serde::{Deserialize, Serialize};
use temporalio_client::{ActivityIdentifier, Client, errors::AsyncActivityError};
use temporalio_common::data_converters::TemporalSerializable;
use temporalio_sdk::{SyncWorkflowContext, TimerResult, WorkflowContext, activities::ActivityInfo, workflows};

/// When to remind, whom to escalate to, and when to give up; all counted from the question.
#[derive(Clone, Debug)]
pub struct Plan {
    deadline: Duration,
    every: Option<Duration>,
    escalations: Vec<(Duration, String)>,
}

/// Something that is done about an answer that does not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nudge {
    /// Ask again; the how manieth time.
    Remind(u32),
    /// Ask somebody else.
    Escalate(String),
}

impl Plan {
    /// Waits so long.
    pub fn new(deadline: Duration) -> Self {
        Self { deadline, every: None, escalations: Vec::new() }
    }

    /// Reminds again and again until the deadline. A span of zero reminds never.
    #[must_use]
    pub fn remind_every(mut self, every: Duration) -> Self {
        self.every = Some(every).filter(|every| !every.is_zero());
        self
    }

    /// Asks somebody else too after so long.
    #[must_use]
    pub fn escalate(mut self, after: Duration, to: impl Into<String>) -> Self {
        self.escalations.push((after, to.into()));
        self
    }

    /// The next reminder after `reminded` of them, or the next escalation after `escalated` of them; `None` at the deadline.
    fn next(&self, escalations: &[&(Duration, String)], reminded: u32) -> (Duration, Option<Nudge>) {
        let reminder = self.every.and_then(|every| every.checked_mul(reminded + 1)).map(|after| (after, Nudge::Remind(reminded + 1)));
        let escalation = escalations.first().map(|(after, to)| (*after, Nudge::Escalate(to.clone())));
        // At the same moment somebody else is asked first.
        let first = escalation.into_iter().chain(reminder).min_by_key(|(after, _)| *after);
        match first {
            Some((after, nudge)) if after < self.deadline => (after, Some(nudge)),
            _ => (self.deadline, None),
        }
    }
}

/// What came of waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<T> {
    /// The answer.
    Answered(T),
    /// None came until the deadline.
    Expired,
    /// The workflow was cancelled.
    Cancelled,
}

/// Waits for `answer` by the plan. `nudge` reminds and escalates, by activities; while it does nothing else happens, so give those a
/// timeout. An answer that is there at the same moment as a nudge or the deadline counts.
pub async fn wait<W: 'static, T>(
    ctx: &WorkflowContext<W>,
    answer: impl Future<Output = T>,
    plan: &Plan,
    mut nudge: impl AsyncFnMut(Nudge),
) -> Reply<T> {
    let answer = answer.fuse();
    futures::pin_mut!(answer);
    let begin = ctx.workflow_time();
    let mut escalations: Vec<_> = plan.escalations.iter().collect();
    escalations.sort_by_key(|(after, _)| *after);
    let (mut escalated, mut reminded) = (0, 0);
    loop {
        let (after, next) = plan.next(&escalations[escalated..], reminded);
        let passed = begin.zip(ctx.workflow_time()).and_then(|(begin, now)| now.duration_since(begin).ok()).unwrap_or_default();
        let timer = ctx.timer(after.saturating_sub(passed));
        futures::pin_mut!(timer);
        let rang = workflows::select! {
            answer = answer => return Reply::Answered(answer),
            rang = timer => rang,
        };
        match (rang, next) {
            (TimerResult::Cancelled, _) => return Reply::Cancelled,
            (TimerResult::Fired, None) => return Reply::Expired,
            (TimerResult::Fired, Some(what)) => {
                match what {
                    Nudge::Remind(_) => reminded += 1,
                    Nudge::Escalate(_) => escalated += 1,
                }
                nudge(what).await;
            }
        }
    }
}

/// Where one answer arrives, in the state of the workflow. The first counts. Clones are the same slot.
pub struct Slot<T>(Rc<RefCell<Option<T>>>);

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Rc::default())
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Clone> Slot<T> {
    /// Puts the answer in, from a signal or an update. If there is one already, nothing changes and it is given back.
    pub fn give(&self, answer: T) -> Result<(), T> {
        let mut slot = self.0.borrow_mut();
        match &*slot {
            Some(earlier) => Err(earlier.clone()),
            None => {
                *slot = Some(answer);
                Ok(())
            }
        }
    }

    /// The answer, if it is there.
    pub fn get(&self) -> Option<T> {
        self.0.borrow().clone()
    }

    /// The answer, when it is there; for [`wait`]. It does not end by itself when the workflow is cancelled.
    pub async fn answer<W: 'static>(&self, ctx: &WorkflowContext<W>) -> T {
        // An error is the cancellation, which is for the one who waits.
        let _ = ctx.wait_condition(|_| self.0.borrow().is_some()).await;
        match self.get() {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

/// What a person says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// Yes or no.
    pub approved: bool,
    /// Who.
    pub by: String,
    /// Why.
    pub why: String,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Yes or no.
    pub approved: bool,
    /// Who.
    pub by: String,
    /// Why.
    pub why: String,
    /// When, by the workflow's time.
    pub at: Option<SystemTime>,
}

/// Somebody was faster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} by {}: {}", if .0.approved { "approved" } else { "refused" }, .0.by, .0.why)]
pub struct AlreadyDecided(pub Decision);

impl Slot<Decision> {
    /// Takes a vote; the first decides. Sent again by the same person and unchanged it is answered as before.
    pub fn decide<W>(&self, ctx: &SyncWorkflowContext<W>, vote: Vote) -> Result<Decision, AlreadyDecided> {
        let Vote { approved, by, why } = vote;
        let decision = Decision { approved, by, why, at: ctx.workflow_time() };
        match self.give(decision.clone()) {
            Ok(()) => Ok(decision),
            Err(earlier) if earlier.by == decision.by && earlier.approved == decision.approved => Ok(earlier),
            Err(earlier) => Err(AlreadyDecided(earlier)),
        }
    }
}

/// Names an activity that waits to be completed from outside. The activity makes it ([`Ticket::of`]), hands its text (it fits into the path
/// of a URL) to whom it asks, and ends with `ActivityError::WillCompleteAsync`; whoever gets the answer calls [`complete`](Self::complete).
///
/// It proves nothing: sign it, or keep it secret, if strangers can call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    workflow_id: String,
    run_id: String,
    activity_id: String,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The workflow has it.
    Taken,
    /// Nobody waits for it: it was delivered before, or came after the deadline. Sending it again is of no use.
    NotAwaited,
}

impl Ticket {
    /// Of the activity that is running; `None` if no workflow has started it.
    pub fn of(info: &ActivityInfo) -> Option<Self> {
        let (workflow_id, run_id) = (info.workflow_id.clone()?, info.workflow_run_id.clone()?);
        Some(Self { workflow_id, run_id, activity_id: info.activity_id.clone() })
    }

    /// Completes the activity. Answers that are delivered more than once are harmless.
    pub async fn complete<T>(&self, client: &Client, answer: T) -> Result<Delivery, AsyncActivityError>
    where
        T: TemporalSerializable + Send + Sync + 'static,
    {
        let activity = ActivityIdentifier::by_id_workflow(&self.workflow_id, &self.run_id, &self.activity_id);
        match client.get_async_activity_handle(activity).complete(Some(answer), Default::default()).await {
            Ok(()) => Ok(Delivery::Taken),
            Err(AsyncActivityError::NotFound(_)) => Ok(Delivery::NotAwaited),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, part) in [&self.workflow_id, &self.run_id, &self.activity_id].into_iter().enumerate() {
            if place > 0 {
                f.write_str(".")?;
            }
            for byte in part.bytes() {
                match byte {
                    b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' => write!(f, "{}", char::from(byte))?,
                    other => write!(f, "~{other:02x}")?,
                }
            }
        }
        Ok(())
    }
}

/// The text is no ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a ticket")]
pub struct NotATicket;

impl FromStr for Ticket {
    type Err = NotATicket;

    fn from_str(text: &str) -> Result<Self, NotATicket> {
        let parts: Vec<_> = text.split('.').map(unescaped).collect::<Result<_, _>>()?;
        match <[String; 3]>::try_from(parts) {
            Ok([workflow_id, run_id, activity_id]) => Ok(Self { workflow_id, run_id, activity_id }),
            Err(_) => Err(NotATicket),
        }
    }
}

fn unescaped(part: &str) -> Result<String, NotATicket> {
    let mut bytes = Vec::new();
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'~' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16)).ok_or(NotATicket);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| NotATicket)?);
    }
    String::from_utf8(bytes).map_err(|_| NotATicket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_goes_through_a_url_and_back() {
        let ticket = Ticket { workflow_id: "Größe/7 .~".into(), run_id: "0190-ab".into(), activity_id: "1".into() };
        let text = ticket.to_string();
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)), "{text}");
        assert_eq!(text.parse(), Ok(ticket));
        for wrong in ["", "a.b", "a.b.c.d", "a.b.~", "a.b.~g0", "a.~ff.c"] {
            assert_eq!(wrong.parse::<Ticket>(), Err(NotATicket), "{wrong}");
        }
    }

    #[test]
    fn nudges_come_in_the_order_of_time_and_end_before_the_deadline() {
        let plan = Plan::new(Duration::from_secs(10)).remind_every(Duration::from_secs(3)).escalate(Duration::from_secs(6), "boss");
        let mut escalations: Vec<_> = plan.escalations.iter().collect();
        let (mut reminded, mut all) = (0, Vec::new());
        while let (after, Some(nudge)) = plan.next(&escalations, reminded) {
            match &nudge {
                Nudge::Remind(_) => reminded += 1,
                Nudge::Escalate(_) => drop(escalations.remove(0)),
            }
            all.push((after.as_secs(), nudge));
        }
        assert_eq!(all, [(3, Nudge::Remind(1)), (6, Nudge::Escalate("boss".into())), (6, Nudge::Remind(2)), (9, Nudge::Remind(3))]);
    }
}
