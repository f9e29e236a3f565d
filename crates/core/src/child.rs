//! Children as their parent sees them (spec 04 §4).

use crate::{Refusal, Reply, input::ChildClosed, step::Step};

/// A child's chain has ended.
pub(crate) fn closed(_step: &mut Step<'_, '_>, _news: ChildClosed) -> Result<Result<Reply, Refusal>, Refusal> {
    Ok(Ok(Reply::Done))
}

/// The run has closed: applies the parent close policies of the pending children (spec 01 §14).
pub(crate) fn apply_close_policies(_step: &mut Step<'_, '_>) {}
