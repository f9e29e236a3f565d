//! What must hold of a list of commands before any is carried out (spec 02 §2.4).

use alloc::{format, string::String};

use sempre_api::v1::{command::Command, enums::CommandType};

use crate::Refusal;

/// Refuses unknown commands and anything after a close command; the task does not fail by it.
pub(crate) fn check_sequence(commands: &[Command]) -> Result<(), Refusal> {
    for command in commands {
        match CommandType::try_from(command.command_type) {
            Ok(CommandType::Unspecified) => return Err(Refusal::InvalidArgument("unknown command type: Unspecified".into())),
            Err(_) => {
                return Err(Refusal::InvalidArgument(format!("unknown command type: {}", command.command_type)));
            }
            Ok(_) => {}
        }
    }
    let before_last = &commands[..commands.len().saturating_sub(1)];
    let Some(close) = before_last.iter().map(Command::command_type).find(|t| is_close(*t)) else { return Ok(()) };
    let mut list = String::new();
    for command in commands {
        if !list.is_empty() {
            list.push_str(", ");
        }
        list.push_str(name(command.command_type()));
    }
    let close = name(close);
    Err(Refusal::InvalidArgument(format!("invalid command sequence: [{list}], command {close} must be the last command.")))
}

fn is_close(command: CommandType) -> bool {
    matches!(
        command,
        CommandType::CompleteWorkflowExecution
            | CommandType::FailWorkflowExecution
            | CommandType::CancelWorkflowExecution
            | CommandType::ContinueAsNewWorkflowExecution
    )
}

/// A command's name in texts.
pub(super) fn name(command: CommandType) -> &'static str {
    match command {
        CommandType::Unspecified => "Unspecified",
        CommandType::ScheduleActivityTask => "ScheduleActivityTask",
        CommandType::RequestCancelActivityTask => "RequestCancelActivityTask",
        CommandType::StartTimer => "StartTimer",
        CommandType::CompleteWorkflowExecution => "CompleteWorkflowExecution",
        CommandType::FailWorkflowExecution => "FailWorkflowExecution",
        CommandType::CancelTimer => "CancelTimer",
        CommandType::CancelWorkflowExecution => "CancelWorkflowExecution",
        CommandType::RequestCancelExternalWorkflowExecution => "RequestCancelExternalWorkflowExecution",
        CommandType::RecordMarker => "RecordMarker",
        CommandType::ContinueAsNewWorkflowExecution => "ContinueAsNewWorkflowExecution",
        CommandType::StartChildWorkflowExecution => "StartChildWorkflowExecution",
        CommandType::SignalExternalWorkflowExecution => "SignalExternalWorkflowExecution",
        CommandType::UpsertWorkflowSearchAttributes => "UpsertWorkflowSearchAttributes",
        CommandType::ProtocolMessage => "ProtocolMessage",
        CommandType::ModifyWorkflowProperties => "ModifyWorkflowProperties",
        CommandType::ScheduleNexusOperation => "ScheduleNexusOperation",
        CommandType::RequestCancelNexusOperation => "RequestCancelNexusOperation",
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn check(types: &[i32]) -> Result<(), Refusal> {
        let commands: Vec<_> = types.iter().map(|t| Command { command_type: *t, ..Default::default() }).collect();
        check_sequence(&commands)
    }

    #[test]
    fn close_commands_come_last() {
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[CommandType::CompleteWorkflowExecution as i32]), Ok(()));
        assert_eq!(check(&[CommandType::StartTimer as i32, CommandType::FailWorkflowExecution as i32]), Ok(()));
        let text = "invalid command sequence: [CompleteWorkflowExecution, StartTimer], command CompleteWorkflowExecution must be the last command.";
        let types = [CommandType::CompleteWorkflowExecution as i32, CommandType::StartTimer as i32];
        assert_eq!(check(&types), Err(Refusal::invalid(text)));
    }

    #[test]
    fn unknown_commands_are_refused() {
        assert_eq!(check(&[0]), Err(Refusal::invalid("unknown command type: Unspecified")));
        assert_eq!(check(&[15]), Err(Refusal::invalid("unknown command type: 15")));
    }
}
