//! A completion that comes in pages, because it is larger than one request may be (spec 02 §2.8).
//!
//! The worker sends its commands in *intermediate pages*, in any order and side by side, then a final page with the rest
//! of the completion, which says how many pages came before it. Pages are kept in memory only, for the started task:
//!
//! | pages | what comes | next |
//! |---|---|---|
//! | any | an intermediate page | kept, unless that page is there already |
//! | more than the limit | – | the task fails and the run is ended: the worker would send the same again |
//! | all | the final page | their commands come before its own; carried out as one completion |
//! | some are missing | the final page | refused: the worker sends all of them again |
//! | any | the task ends, or the memory is lost | none |

use alloc::{boxed::Box, collections::BTreeMap, format, vec::Vec};

use prost::Message;
use sempre_api::v1::{
    command::Command,
    enums::WorkflowTaskFailedCause,
    workflowservice::{RespondWorkflowTaskCompletedRequest, RespondWorkflowTaskCompletedResponse},
};

use super::{complete::commands_failed, named_by};
use crate::{Execution, Refusal, Reply, TaskToken, command, command::CommandFailure, state::Task, step::Step};

const DISABLED: &str = "Workflow task completion pagination is not enabled for this namespace.";
const LOST: &str = "Pages of the workflow task completion are missing, send all of them again.";
const NEGATIVE: &str = "PageNumber cannot be negative.";
/// What a command in memory weighs beside its bytes.
const COMMAND_BYTES: usize = 256;

/// The pages of one started task.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    scheduled_event_id: i64,
    attempt: i32,
    started_time: i64,
    pages: BTreeMap<i32, Vec<Command>>,
    /// Bytes of their commands.
    bytes: usize,
}

impl Pages {
    fn of(task: &Task) -> Self {
        let (scheduled_event_id, attempt, started_time) = (task.scheduled_event_id, task.attempt, task.started_time);
        Self { scheduled_event_id, attempt, started_time, ..Self::default() }
    }

    fn belongs_to(&self, task: Option<&Task>) -> bool {
        task.is_some_and(|task| {
            task.is_started()
                && (self.scheduled_event_id, self.attempt, self.started_time) == (task.scheduled_event_id, task.attempt, task.started_time)
        })
    }

    /// Rough size in memory.
    pub(crate) fn weight(&self) -> usize {
        self.bytes + self.pages.values().map(|commands| (commands.len() + 1) * COMMAND_BYTES).sum::<usize>()
    }
}

fn bytes(commands: &[Command]) -> usize {
    commands.iter().map(Message::encoded_len).sum()
}

/// Puts the commands of the pages before a final page in front of its own; nothing to do for a whole completion.
/// The pages stay until the task has ended: what is refused has changed nothing.
pub(super) fn merge(step: &Step<'_, '_>, task: &Task, request: &mut RespondWorkflowTaskCompletedRequest) -> Result<(), Refusal> {
    if request.page_number == 0 {
        return Ok(());
    }
    check(step, request)?;
    let pages = step.run.pages.as_deref().filter(|pages| pages.belongs_to(Some(task)));
    let mut commands = Vec::new();
    for number in 0..request.page_number {
        let page = pages.and_then(|pages| pages.pages.get(&number)).ok_or_else(|| Refusal::BufferLost(LOST.into()))?;
        commands.extend(page.iter().cloned());
    }
    commands.append(&mut request.commands);
    request.commands = commands;
    Ok(())
}

/// Keeps an intermediate page.
pub(super) fn keep(
    step: &mut Step<'_, '_>,
    token: &TaskToken,
    mut request: RespondWorkflowTaskCompletedRequest,
) -> Result<Result<Reply, Refusal>, Refusal> {
    let task = named_by(step, token)?.clone();
    check(step, &request)?;
    command::check_sequence(&request.commands)?;
    let commands = core::mem::take(&mut request.commands);
    let mut pages = step.run.pages.take().filter(|pages| pages.belongs_to(Some(&task))).unwrap_or_else(|| Box::new(Pages::of(&task)));
    let more = bytes(&commands);
    let limit = step.cx.limits.completion_pages_max;
    if limit > 0 && !pages.pages.contains_key(&request.page_number) && pages.bytes + more > limit {
        let message = format!("the pages of the workflow task completion exceed the limit of {limit} bytes");
        let failure = CommandFailure::too_large(WorkflowTaskFailedCause::RequestTooLarge, message);
        let saved = step.save();
        return commands_failed(step, *saved, &task, &request, failure);
    }
    let Pages { pages: kept, bytes, .. } = &mut *pages;
    kept.entry(request.page_number).or_insert_with(|| {
        *bytes += more;
        commands
    });
    step.run.pages = Some(pages);
    let response = Box::new(RespondWorkflowTaskCompletedResponse::default());
    Ok(Ok(Reply::WorkflowTaskCompleted { response, inline: None }))
}

fn check(step: &Step<'_, '_>, request: &RespondWorkflowTaskCompletedRequest) -> Result<(), Refusal> {
    if !step.cx.limits.completion_pages {
        return Err(Refusal::FailedPrecondition(DISABLED.into()));
    }
    if request.page_number < 0 { Err(Refusal::invalid(NEGATIVE)) } else { Ok(()) }
}

/// Drops the pages of a task that has ended.
pub(crate) fn drop_ended(run: &mut Execution) {
    let task = run.state.progress.main.task.as_deref();
    if run.pages.as_ref().is_some_and(|pages| !pages.belongs_to(task)) {
        run.pages = None;
    }
}
