//! ProtocolMessage: the place of a message among the commands (spec 02 §2.5, §7.3). Has no event of its own.

use alloc::format;

use sempre_api::v1::{command::ProtocolMessageCommandAttributes, enums::WorkflowTaskFailedCause::BadUpdateWorkflowExecutionMessage};

use super::{CommandFailure, Completion};
use crate::{step::Step, update};

pub(super) fn apply(
    step: &mut Step<'_, '_>,
    completion: &mut Completion,
    command: ProtocolMessageCommandAttributes,
) -> Result<(), CommandFailure> {
    let bad = |text| Err(CommandFailure::new(BadUpdateWorkflowExecutionMessage, text));
    if command.message_id.is_empty() {
        return bad("MessageID is not set on ProtocolMessageCommand.".into());
    }
    match completion.messages.take(&command.message_id) {
        Some(message) => update::apply_message(step, completion, &message),
        None => bad(format!("ProtocolMessageCommand referenced absent message ID {}", command.message_id)),
    }
}
