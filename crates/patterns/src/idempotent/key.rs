//! Names of effects.

use std::fmt;

use serde::{Deserialize, Serialize};
use temporalio_sdk::{WorkflowContext, activities::ActivityInfo};

/// The name of one effect: whoever asks for the same effect again uses the same one.
///
/// | made by | same for | different for |
/// |---|---|---|
/// | [`new`](Self::new), of the business's own ids | whoever names the same thing | |
/// | [`of_run`](Self::of_run) | attempts, replays, resets of a run | the next run of the chain (continue-as-new, retry, cron) |
/// | [`of_chain`](Self::of_chain) | the same, and all runs of a chain | the next start under the same workflow id |
/// | [`of_activity`](Self::of_activity) | attempts of one activity | a reset: its run has another id |
///
/// A workflow makes the key and passes it to the activity; [`of_activity`](Self::of_activity) is for activities that are not
/// given one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(String);

impl Key {
    /// A key of the business's own: an order number, an invoice.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// For an effect that a run of a workflow has once, whatever is reset. In workflow code.
    pub fn of_run<W>(ctx: &WorkflowContext<W>, effect: &str) -> Self {
        let info = ctx.info();
        // The run of the beginning, which a reset keeps.
        Self::of([ctx.namespace(), ctx.workflow_id(), &info.raw().original_execution_run_id, effect])
    }

    /// For an effect that a chain of runs has once. In workflow code.
    pub fn of_chain<W>(ctx: &WorkflowContext<W>, effect: &str) -> Self {
        Self::of([ctx.namespace(), ctx.workflow_id(), ctx.info().first_execution_run_id(), effect])
    }

    /// For the effect of an activity, in the activity.
    pub fn of_activity(info: &ActivityInfo) -> Self {
        let run = info.workflow_run_id.as_deref().or(info.activity_run_id.as_deref()).unwrap_or_default();
        Self::of([&info.namespace, info.workflow_id.as_deref().unwrap_or_default(), run, &info.activity_id])
    }

    fn of(parts: [&str; 4]) -> Self {
        // Ids may contain any character; `a/b` and `c` must not be `a` and `b/c`.
        Self(parts.map(|part| part.replace('%', "%25").replace('/', "%2F")).join("/"))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_with_separators_in_them_stay_apart() {
        assert_ne!(Key::of(["n", "a/b", "c", "d"]), Key::of(["n", "a", "b/c", "d"]));
        assert_ne!(Key::of(["n", "a%2Fb", "c", "d"]), Key::of(["n", "a/b", "c", "d"]));
    }
}
