//! The account given to the reader: histories in short, files with sizes, and the proof that each step ran once.

use std::fs;
use std::path::Path;

use temporalio_common::protos::temporal::api::history::v1::HistoryEvent;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;

use crate::Outcome;
use crate::ledger::{Counts, Ledger};

/// One step as the history tells it.
struct Step {
    scheduled_id: i64,
    name: String,
    attempt: i32,
    completed: usize,
    failed: usize,
}

/// Prints the events, numbered, with the one attribute that says what each is about.
pub(crate) fn print_history(title: &str, events: &[HistoryEvent]) {
    println!("\n   {title}");
    for event in events {
        let line = format!("{:>4}  {:<26} {}", event.event_id, name(event), about(event));
        println!("   {}", line.trim_end());
    }
}

/// Checks the ledger against the history: the steps of `wanted` in this order, no more attempts than the history
/// tells, each effect exactly once.
pub(crate) fn check_steps(order: &str, wanted: &[&str], events: &[HistoryEvent], ledger: &Ledger) -> Outcome {
    let steps = steps(events);
    let names: Vec<_> = steps.iter().map(|step| step.name.as_str()).collect();
    if names != wanted {
        return Err(format!("the steps of {order} are {names:?}, not {wanted:?}").into());
    }
    println!("\n   step                history               ledger");
    for step in steps {
        let found = ledger.counts(order, &step.name)?;
        println!(
            "   {:<18}  attempt {}, {:<9}  begun {}, done {}",
            step.name,
            step.attempt,
            if step.failed > 0 { "failed" } else { "completed" },
            found.begun,
            found.done,
        );
        let refused = step.failed == 1 && step.completed == 0 && found == Counts::default();
        let once = step.failed == 0 && step.completed == 1 && found.done == 1 && found.begun >= 1;
        let attempts_told = found.begun <= usize::try_from(step.attempt)?;
        if !refused && !(once && attempts_told) {
            return Err(format!("step {} of {order} was not done exactly once", step.name).into());
        }
    }
    Ok(())
}

fn steps(events: &[HistoryEvent]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for event in events {
        match &event.attributes {
            Some(Attributes::ActivityTaskScheduledEventAttributes(it)) => {
                let name = it.activity_type.as_ref().map(|kind| kind.name.clone()).unwrap_or_default();
                steps.push(Step { scheduled_id: event.event_id, name, attempt: 0, completed: 0, failed: 0 });
            }
            Some(Attributes::ActivityTaskStartedEventAttributes(it)) => {
                if let Some(step) = step_of(&mut steps, it.scheduled_event_id) {
                    step.attempt = it.attempt;
                }
            }
            Some(Attributes::ActivityTaskCompletedEventAttributes(it)) => {
                if let Some(step) = step_of(&mut steps, it.scheduled_event_id) {
                    step.completed += 1;
                }
            }
            Some(Attributes::ActivityTaskFailedEventAttributes(it)) => {
                if let Some(step) = step_of(&mut steps, it.scheduled_event_id) {
                    step.failed += 1;
                }
            }
            _ => {}
        }
    }
    steps
}

fn step_of(steps: &mut [Step], scheduled_id: i64) -> Option<&mut Step> {
    steps.iter_mut().find(|step| step.scheduled_id == scheduled_id)
}

/// Prints the files below `folder` with their sizes.
pub(crate) fn print_files(folder: &Path) -> Outcome {
    let mut files = Vec::new();
    collect(folder, folder, &mut files)?;
    files.sort();
    for (path, size) in files {
        println!("     {size:>10} bytes  {path}");
    }
    Ok(())
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, u64)>) -> Outcome {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(root, &entry.path(), files)?;
        } else {
            let path = entry.path();
            let shown = path.strip_prefix(root).unwrap_or(&path);
            files.push((shown.display().to_string(), entry.metadata()?.len()));
        }
    }
    Ok(())
}

/// `EVENT_TYPE_TIMER_FIRED` as `TimerFired`.
pub(crate) fn name(event: &HistoryEvent) -> String {
    let name = event.event_type().as_str_name();
    let words = name.strip_prefix("EVENT_TYPE_").unwrap_or(name).split('_');
    words
        .map(|word| {
            let (head, tail) = word.split_at(word.len().min(1));
            format!("{head}{}", tail.to_lowercase())
        })
        .collect()
}

fn about(event: &HistoryEvent) -> String {
    match &event.attributes {
        Some(Attributes::WorkflowExecutionStartedEventAttributes(it)) => {
            it.workflow_type.as_ref().map(|kind| kind.name.clone()).unwrap_or_default()
        }
        Some(Attributes::ActivityTaskScheduledEventAttributes(it)) => {
            it.activity_type.as_ref().map(|kind| kind.name.clone()).unwrap_or_default()
        }
        Some(Attributes::ActivityTaskStartedEventAttributes(it)) => {
            format!("of {}, attempt {}", it.scheduled_event_id, it.attempt)
        }
        Some(Attributes::ActivityTaskCompletedEventAttributes(it)) => {
            format!("of {}", it.scheduled_event_id)
        }
        Some(Attributes::ActivityTaskFailedEventAttributes(it)) => {
            let message = it.failure.as_ref().map(|failure| failure.message.as_str()).unwrap_or_default();
            format!("of {}: {message}", it.scheduled_event_id)
        }
        Some(Attributes::TimerStartedEventAttributes(it)) => {
            let seconds = it.start_to_fire_timeout.as_ref().map(|time| time.seconds).unwrap_or_default();
            format!("{seconds} s")
        }
        Some(Attributes::TimerFiredEventAttributes(it)) => format!("of {}", it.started_event_id),
        Some(Attributes::WorkflowExecutionFailedEventAttributes(it)) => {
            it.failure.as_ref().map(|failure| failure.message.clone()).unwrap_or_default()
        }
        _ => String::new(),
    }
}
