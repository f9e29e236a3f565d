//! Fan-out, fan-in: one activity for each of many items, so many at a time, and one result.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use sempre_patterns::fan_out::{FanOut, Policy};
//! # use temporalio_macros::{activities, workflow, workflow_methods};
//! # use temporalio_sdk::{ActivityOptions, WorkflowContext, WorkflowResult, activities::{ActivityContext, ActivityError}};
//! # pub struct Images;
//! # #[activities]
//! # impl Images {
//! #     #[activity] pub async fn shrink(_: ActivityContext, _name: String) -> Result<u64, ActivityError> { Ok(1) }
//! # }
//! # #[workflow]
//! # #[derive(Default)]
//! # pub struct Shrink;
//! #[workflow_methods]
//! impl Shrink {
//!     #[run]
//!     pub async fn run(ctx: &mut WorkflowContext<Self>, names: Vec<String>) -> WorkflowResult<u64> {
//!         let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(60));
//!         let fan = FanOut::new(20).policy(Policy::FailFast);
//!         let done = fan.activities(ctx, Images::shrink, names, options).await?;
//!         Ok(done.values().sum())
//!     }
//! }
//! ```
//!
//! Each activity is at most six events, so one workflow is good for some thousand. Beyond that: batches ([`batches`]) make one activity of
//! many small items, and a tree makes each leaf a child with a history of its own ([`FanOut::children`]), at most nine events in that of
//! its parent: 1,000 children of 1,000 items each are 1,000,000 items, and no history is longer than some 9,000 events.

use std::{cell::RefCell, collections::BTreeMap, fmt, future::poll_fn, num::NonZeroUsize, rc::Rc, task::Poll};

use futures::{FutureExt, future::LocalBoxFuture};
use serde::{Deserialize, Serialize};
use temporalio_common::{ActivityDefinition, WorkflowDefinition, data_converters::TemporalDeserializable, error::ApplicationFailure};
use temporalio_sdk::{ActivityOptions, ChildWorkflowOptions, WorkflowCancellationToken, WorkflowContext, WorkflowTermination};

/// Type of the failure with which a workflow ends whose fan-out did not meet its policy.
const FAILURE_TYPE: &str = "FanOutFailed";
/// How many failures are told by name.
const TOLD_MAX: usize = 20;

/// What failures of items mean for the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The first failure ends it: what runs is cancelled, what has not begun does not.
    FailFast,
    /// All items have their turn, and it never fails by their failures.
    CollectAll,
    /// It goes through if so many items do. It ends as soon as they cannot any more.
    AtLeast(usize),
}

/// How far a fan-out is; for queries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// All items.
    pub total: usize,
    /// Those that run.
    pub running: usize,
    /// Those that went through.
    pub done: usize,
    /// Those that failed.
    pub failed: usize,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} done, {} running, {} failed", self.done, self.total, self.running, self.failed)
    }
}

/// Shows how far a fan-out is: keep a clone in the state of the workflow, for a query.
#[derive(Clone, Default)]
pub struct Gauge(Rc<RefCell<Progress>>);

impl Gauge {
    /// How far it is now.
    pub fn read(&self) -> Progress {
        *self.0.borrow()
    }

    fn change(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.0.borrow_mut());
    }
}

/// What became of each item, in the order of the items.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes<T> {
    /// `Err` is the message of the failure.
    pub of: Vec<Result<T, String>>,
}

impl<T> Outcomes<T> {
    /// The values of those that went through, in the order of the items.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.of.iter().filter_map(|outcome| outcome.as_ref().ok())
    }

    /// Those that failed, by their place.
    pub fn failures(&self) -> impl Iterator<Item = (usize, &str)> {
        self.of.iter().enumerate().filter_map(|(place, outcome)| Some((place, outcome.as_ref().err()?.as_str())))
    }
}

/// A fan-out that did not meet its policy. By `?` the workflow fails with type `FanOutFailed`, or ends as cancelled.
#[derive(Debug, thiserror::Error)]
pub enum FanOutError {
    /// Too many items failed.
    #[error("{progress}; {}", told(.failures))]
    Failed {
        /// How far it came.
        progress: Progress,
        /// Items that failed, by their place, the first to fail first; not those that were given up.
        failures: Vec<(usize, String)>,
    },
    /// The workflow was cancelled.
    #[error("cancelled; {0}")]
    Cancelled(Progress),
}

fn told(failures: &[(usize, String)]) -> String {
    let told: Vec<_> = failures.iter().take(TOLD_MAX).map(|(place, why)| format!("item {place}: {why}")).collect();
    let more = failures.len().saturating_sub(TOLD_MAX);
    told.join("; ") + &if more > 0 { format!("; and {more} more") } else { String::new() }
}

impl From<FanOutError> for WorkflowTermination {
    fn from(error: FanOutError) -> Self {
        match error {
            FanOutError::Cancelled(progress) => Self::cancelled_with_details(progress),
            FanOutError::Failed { progress, .. } => {
                let failure = ApplicationFailure::builder(error.to_string()).type_name(FAILURE_TYPE.to_owned()).details(progress);
                Self::failed_application(failure.build())
            }
        }
    }
}

/// How to fan out.
#[derive(Clone)]
pub struct FanOut {
    running_max: NonZeroUsize,
    policy: Policy,
    gauge: Gauge,
}

impl FanOut {
    /// So many items at a time, at least one; [`Policy::FailFast`].
    pub fn new(running_max: usize) -> Self {
        Self { running_max: NonZeroUsize::new(running_max).unwrap_or(NonZeroUsize::MIN), policy: Policy::FailFast, gauge: Gauge::default() }
    }

    /// With another policy.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Shows its progress there.
    #[must_use]
    pub fn gauge(mut self, gauge: &Gauge) -> Self {
        self.gauge = gauge.clone();
        self
    }

    /// An activity for each item.
    pub async fn activities<W: 'static, A, I>(
        &self,
        ctx: &WorkflowContext<W>,
        activity: A,
        items: I,
        options: ActivityOptions,
    ) -> Result<Outcomes<A::Output>, FanOutError>
    where
        A: ActivityDefinition + 'static,
        A::Output: TemporalDeserializable,
        I: IntoIterator<Item: Into<A::Input>, IntoIter: ExactSizeIterator>,
    {
        let values = RefCell::new(BTreeMap::new());
        let failures = self.each(ctx, activity, items, options, |place, value| drop(values.borrow_mut().insert(place, value))).await?;
        Ok(outcomes(values.into_inner(), failures))
    }

    /// An activity for each item; their results are reduced as they come, in no order that means something, and not kept.
    pub async fn reduce<W: 'static, A, I, R>(
        &self,
        ctx: &WorkflowContext<W>,
        activity: A,
        items: I,
        options: ActivityOptions,
        start: R,
        mut reduce: impl FnMut(&mut R, A::Output),
    ) -> Result<R, FanOutError>
    where
        A: ActivityDefinition + 'static,
        A::Output: TemporalDeserializable,
        I: IntoIterator<Item: Into<A::Input>, IntoIter: ExactSizeIterator>,
    {
        let mut reduced = start;
        self.each(ctx, activity, items, options, |_, value| reduce(&mut reduced, value)).await?;
        Ok(reduced)
    }

    async fn each<W: 'static, A, I>(
        &self,
        ctx: &WorkflowContext<W>,
        activity: A,
        items: I,
        options: ActivityOptions,
        take: impl FnMut(usize, A::Output),
    ) -> Result<Vec<(usize, String)>, FanOutError>
    where
        A: ActivityDefinition + 'static,
        A::Output: TemporalDeserializable,
        I: IntoIterator<Item: Into<A::Input>, IntoIter: ExactSizeIterator>,
    {
        let activity = Each(Rc::new(activity));
        let start = |item: I::Item, token: &WorkflowCancellationToken| {
            let mut options = options.clone();
            options.cancellation_token = Some(token.clone());
            let ran = ctx.execute_activity(Each(activity.0.clone()), item, options);
            async move { ran.await.map_err(|error| error.cause().map_or_else(|| error.to_string(), |cause| cause.failure().message.clone())) }
                .boxed_local()
        };
        self.drive(ctx, items.into_iter(), start, take).await
    }

    /// A child workflow for each item, for trees. `id` names the child of a place: make it of the id of this workflow, so that it
    /// is the same whenever this runs again. A child that was started ends with this workflow, or is cancelled with it.
    pub async fn children<W: 'static, C, I>(
        &self,
        ctx: &WorkflowContext<W>,
        child: C,
        items: I,
        options: ChildWorkflowOptions,
        id: impl Fn(usize) -> String,
    ) -> Result<Outcomes<C::Output>, FanOutError>
    where
        C: WorkflowDefinition + 'static,
        C::Output: TemporalDeserializable,
        I: IntoIterator<Item: Into<C::Input>, IntoIter: ExactSizeIterator>,
    {
        let values = RefCell::new(BTreeMap::new());
        let take = |place, value| drop(values.borrow_mut().insert(place, value));
        let (items, child) = (items.into_iter().enumerate(), Each(Rc::new(child)));
        let start = |(place, item): (usize, I::Item), token: &WorkflowCancellationToken| {
            let mut options = options.clone();
            options.cancellation_token = Some(token.clone());
            options.workflow_id = Some(id(place));
            let started = ctx.start_child_workflow(Each(child.0.clone()), item, options);
            async move {
                let child = started.await.map_err(|error| error.to_string())?;
                child
                    .result()
                    .await
                    .map_err(|error| error.cause().map_or_else(|| error.to_string(), |cause| cause.failure().message.clone()))
            }
            .boxed_local()
        };
        let failures = self.drive(ctx, items, start, take).await?;
        Ok(outcomes(values.into_inner(), failures))
    }

    /// Keeps so many running until all have had their turn or the policy ends it.
    async fn drive<'f, W: 'static, I, V>(
        &self,
        ctx: &WorkflowContext<W>,
        items: impl ExactSizeIterator<Item = I>,
        mut start: impl FnMut(I, &WorkflowCancellationToken) -> LocalBoxFuture<'f, Result<V, String>>,
        mut take: impl FnMut(usize, V),
    ) -> Result<Vec<(usize, String)>, FanOutError> {
        let total = items.len();
        let failures_max = match self.policy {
            Policy::FailFast => 0,
            Policy::CollectAll => total,
            Policy::AtLeast(enough) => match total.checked_sub(enough) {
                Some(max) => max,
                None => {
                    let progress = Progress { total, ..Progress::default() };
                    return Err(FanOutError::Failed {
                        progress,
                        failures: vec![(total, format!("{enough} of {total} items cannot go through"))],
                    });
                }
            },
        };
        self.gauge.change(|progress| *progress = Progress { total, ..Progress::default() });
        let token = ctx.cancellation_token().child_token();
        let mut items = items.enumerate();
        let mut running = Running(Vec::new());
        let mut failures = Vec::new();
        let mut given_up = false;
        loop {
            while running.0.len() < self.running_max.get() && !token.is_cancelled() {
                let Some((place, item)) = items.next() else { break };
                running.0.push((place, start(item, &token)));
            }
            self.gauge.change(|progress| progress.running = running.0.len());
            let ended = running.next().await;
            if ended.is_empty() {
                break;
            }
            for (place, outcome) in ended {
                match outcome {
                    Ok(value) => {
                        self.gauge.change(|progress| progress.done += 1);
                        take(place, value);
                    }
                    // Those that are given up do not count.
                    Err(_) if token.is_cancelled() => {}
                    Err(why) => {
                        self.gauge.change(|progress| progress.failed += 1);
                        failures.push((place, why));
                        if failures.len() > failures_max {
                            given_up = true;
                            token.cancel_with_reason("other items have failed");
                        }
                    }
                }
            }
        }
        let progress = self.gauge.read();
        if given_up {
            return Err(FanOutError::Failed { progress, failures });
        }
        if ctx.cancellation_token().is_cancelled() && progress.done + progress.failed < total {
            return Err(FanOutError::Cancelled(progress));
        }
        Ok(failures)
    }
}

/// A definition that is used for each item: those that the macros of the SDK make cannot be cloned.
struct Each<D>(Rc<D>);

impl<A: ActivityDefinition> ActivityDefinition for Each<A> {
    type Input = A::Input;
    type Output = A::Output;

    fn name(&self) -> &str {
        self.0.name()
    }
}

impl<C: WorkflowDefinition> WorkflowDefinition for Each<C> {
    type Input = C::Input;
    type Output = C::Output;

    fn name(&self) -> &str {
        self.0.name()
    }
}

/// What runs, by place. The sets of the `futures` crate wake themselves, which the SDK takes for something that is not deterministic; these
/// are polled one after the other.
struct Running<'f, V>(Vec<(usize, LocalBoxFuture<'f, Result<V, String>>)>);

impl<V> Running<'_, V> {
    /// Those that have ended, at least one; none if nothing runs.
    async fn next(&mut self) -> Vec<(usize, Result<V, String>)> {
        poll_fn(|cx| {
            let mut ended = Vec::new();
            self.0.retain_mut(|(place, one)| match one.poll_unpin(cx) {
                Poll::Ready(outcome) => {
                    ended.push((*place, outcome));
                    false
                }
                Poll::Pending => true,
            });
            if ended.is_empty() && !self.0.is_empty() { Poll::Pending } else { Poll::Ready(ended) }
        })
        .await
    }
}

/// Items in groups of `size` (at least one), each for one activity: of many small ones most of the cost is that of the activity.
pub fn batches<T>(items: impl IntoIterator<Item = T>, size: usize) -> Vec<Vec<T>> {
    let mut batches: Vec<Vec<T>> = Vec::new();
    for item in items {
        match batches.last_mut() {
            Some(batch) if batch.len() < size => batch.push(item),
            _ => batches.push(vec![item]),
        }
    }
    batches
}

fn outcomes<T>(values: BTreeMap<usize, T>, failures: Vec<(usize, String)>) -> Outcomes<T> {
    let done = values.into_iter().map(|(place, value)| (place, Ok(value)));
    let all: BTreeMap<_, _> = done.chain(failures.into_iter().map(|(place, why)| (place, Err(why)))).collect();
    Outcomes { of: all.into_values().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_full_but_the_last() {
        assert_eq!(batches(0..7, 3), [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
        assert_eq!(batches(0..2, 0), [[0], [1]]);
        assert!(batches(0..0, 3).is_empty());
    }

    #[test]
    fn outcomes_are_in_the_order_of_the_items() {
        let all = outcomes(BTreeMap::from([(2, 'c'), (0, 'a')]), vec![(1, "no b".to_owned())]);
        assert_eq!(all.of, [Ok('a'), Err("no b".to_owned()), Ok('c')]);
        assert_eq!(all.values().collect::<String>(), "ac");
        assert_eq!(all.failures().collect::<Vec<_>>(), [(1, "no b")]);
    }
}
