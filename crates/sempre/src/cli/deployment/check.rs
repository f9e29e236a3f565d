//! `sempre deployment check`: the gate before a version gets the work.
#![expect(clippy::disallowed_methods, reason = "progress is told by the wall clock; nothing is decided by it")]

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use clap::Args;
use sempre_api::sempre::v1::{
    CheckDeploymentVersionRequest, CheckProgress, CheckVerdict, DeploymentCheck, ReplayOutcome, ReplayProblem, WorkflowTypeCheck,
};

use crate::cli::{
    Failure,
    output::{Cell, Hue, Table},
    session::Session,
    values,
};

/// Between two lines of progress.
const TELL: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(crate) struct Options {
    /// The deployment
    #[arg(long, value_name = "NAME")]
    pub(crate) deployment_name: String,
    /// Its build
    #[arg(long, value_name = "ID")]
    pub(crate) build_id: String,
    #[command(flatten)]
    pub(crate) extent: Extent,
}

/// What is looked at.
#[derive(Args, Default)]
pub(crate) struct Extent {
    /// Only this workflow type; can be repeated [default: all]
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Also runs that are pinned, which stay with their version whatever becomes current
    #[arg(long)]
    include_pinned: bool,
    /// Histories read of each workflow type, spread over start times [default: 200]
    #[arg(long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    runs_per_type: i32,
    /// Shapes of history replayed of each workflow type, the commonest first [default: 25]
    #[arg(long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    shapes_per_type: i32,
    /// Runs replayed of each shape [default: 1]
    #[arg(long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    runs_per_shape: i32,
    /// How long one replay may take [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration)]
    replay_timeout: Option<sempre_api::Duration>,
}

/// Checks, shows the result, and fails unless it passed.
pub(crate) async fn run(session: &mut Session, options: Options) -> Result<(), Failure> {
    let (deployment, build) = (options.deployment_name.clone(), options.build_id.clone());
    let request = CheckDeploymentVersionRequest {
        namespace: session.namespace(),
        deployment_name: options.deployment_name,
        build_id: options.build_id,
        workflow_types: options.extent.types,
        include_pinned: options.extent.include_pinned,
        runs_per_type: options.extent.runs_per_type,
        shapes_per_type: options.extent.shapes_per_type,
        runs_per_shape: options.extent.runs_per_shape,
        replay_timeout: options.extent.replay_timeout,
    };
    let mut messages = session.client().await?.version.check_deployment_version(request).await?.into_inner();
    let (mut told, terminal) = (Instant::now(), io::stderr().is_terminal());
    let mut result = None;
    while let Some(message) = messages.message().await? {
        if let Some(progress) = message.progress.filter(|_| terminal && told.elapsed() >= TELL) {
            told = Instant::now();
            // Progress that cannot be told harms nobody.
            let _ = writeln!(io::stderr(), "{}", how_far(&progress));
        }
        result = message.result.or(result);
    }
    let check = result.ok_or_else(|| Failure::new("the server ended the check without a result"))?;
    session.out.message(&check)?;
    show(session, &check)?;
    match check.verdict() {
        CheckVerdict::Passed => session.out.line_in(Hue::Good, format!("{deployment}:{build} can go on with what was replayed")),
        CheckVerdict::Failed => Err(Failure::new(format_args!("{deployment}:{build} cannot go on with all runs"))),
        CheckVerdict::Undecided | CheckVerdict::Unspecified => {
            Err(Failure::undecided(format_args!("whether {deployment}:{build} can go on with all runs is not known")))
        }
    }
}

fn how_far(progress: &CheckProgress) -> String {
    let CheckProgress { types_total, types_done, workflow_type, runs_read, runs_replayed, problems } = progress;
    format!(
        "{types_done} of {types_total} types, at {workflow_type}: {runs_read} histories read, {runs_replayed} replayed, {problems} problems"
    )
}

fn verdict(verdict: CheckVerdict) -> Cell {
    match verdict {
        CheckVerdict::Passed => Cell::in_hue("passed", Hue::Good),
        CheckVerdict::Failed => Cell::in_hue("FAILED", Hue::Bad),
        CheckVerdict::Undecided | CheckVerdict::Unspecified => Cell::in_hue("not known", Hue::Odd),
    }
}

fn show(session: &mut Session, check: &DeploymentCheck) -> Result<(), Failure> {
    for queue in check.task_queues.iter().filter(|queue| !queue.polled && queue.open_runs > 0) {
        let who = if queue.known { "no worker of the version polls it now" } else { "only workers of the current version have polled it" };
        session.out.line_in(Hue::Odd, format!("task queue {} with {} open runs: {who}", queue.name, queue.open_runs))?;
    }
    let mut table = Table::new(&["WorkflowType", "Verdict", "Open", "Pinned", "Read", "Shapes", "Replayed", "Problems"]);
    let row = |kind: &WorkflowTypeCheck| {
        let numbers = [kind.open_runs, kind.pinned, kind.runs_read, kind.shapes, kind.runs_replayed, kind.problems_total];
        let mut cells = vec![Cell::from(kind.workflow_type.clone()), verdict(kind.verdict())];
        cells.extend(numbers.map(|number| Cell::from(number.to_string())));
        cells
    };
    let rows: Vec<_> = check.types.iter().map(row).collect();
    if rows.is_empty() {
        session.out.line("no open runs on the task queues of the version")?;
    } else {
        session.out.table(&mut table, &rows)?;
    }
    for kind in &check.types {
        for problem in &kind.problems {
            session.out.line_in(Hue::Bad, format!("{}: {}", kind.workflow_type, told(problem)))?;
            session
                .out
                .line(format!("  run {} {}, {} of this shape were read", problem.workflow_id, problem.run_id, problem.runs_alike))?;
            session.out.line(format!("  the worker: {}", problem.message.lines().next().unwrap_or_default()))?;
        }
        if kind.shapes > kind.shapes_replayed {
            let left = kind.shapes - kind.shapes_replayed;
            session.out.line(format!("{}: {left} of {} shapes were not replayed", kind.workflow_type, kind.shapes))?;
        }
    }
    if check.truncated {
        session.out.line_in(Hue::Odd, "not all was looked at: name the workflow types with --type")?;
    }
    Ok(())
}

/// A problem in one line.
fn told(problem: &ReplayProblem) -> String {
    match problem.outcome() {
        ReplayOutcome::NonDeterministic if problem.event_id == 0 => "the code does something else than the history has".to_owned(),
        ReplayOutcome::NonDeterministic => {
            let which = if problem.event_is_guessed { "event (the first that fits)" } else { "event" };
            let instead = match problem.command.as_str() {
                "" => "something else".to_owned(),
                "none" => "no command".to_owned(),
                command => command.to_owned(),
            };
            format!("{which} {} is {}, the code has {instead}", problem.event_id, problem.event)
        }
        ReplayOutcome::Failed => "the code failed on replay".to_owned(),
        ReplayOutcome::Unanswered | ReplayOutcome::Unspecified => "no answer".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_in_a_line() {
        let mut problem = ReplayProblem {
            outcome: ReplayOutcome::NonDeterministic as i32,
            event_id: 5,
            event: "ActivityTaskScheduled charge".into(),
            command: "activity type refund".into(),
            ..ReplayProblem::default()
        };
        assert_eq!(told(&problem), "event 5 is ActivityTaskScheduled charge, the code has activity type refund");
        problem.command = "none".into();
        problem.event_is_guessed = true;
        assert_eq!(told(&problem), "event (the first that fits) 5 is ActivityTaskScheduled charge, the code has no command");
        problem.event_id = 0;
        assert_eq!(told(&problem), "the code does something else than the history has");
    }
}
