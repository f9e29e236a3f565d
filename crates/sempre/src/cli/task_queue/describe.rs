//! `task-queue describe`.

use clap::Args;
use sempre_api::v1::{
    enums::TaskQueueType,
    workflowservice::{DescribeTaskQueueRequest, DescribeTaskQueueResponse},
};
use serde_json::{Value, json};

use super::{Kind, queue};
use crate::cli::{
    Failure,
    output::{Cell, Table},
    session::Session,
    values,
};

#[derive(Args)]
pub(crate) struct Options {
    /// The task queue
    #[arg(short, long, value_name = "NAME")]
    task_queue: String,
    /// Kind of tasks; may be given several times, all without it
    #[arg(long, value_enum, value_name = "TYPE", ignore_case = true)]
    task_queue_type: Vec<Kind>,
    /// Leave out what waits
    #[arg(long)]
    disable_stats: bool,
    /// Show the rate limits too
    #[arg(long)]
    report_config: bool,
}

/// Asks for one kind of tasks of a queue.
pub(crate) async fn ask(session: &mut Session, name: &str, kind: TaskQueueType, stats: bool) -> Result<DescribeTaskQueueResponse, Failure> {
    let request = DescribeTaskQueueRequest {
        namespace: session.namespace(),
        task_queue: queue(name),
        task_queue_type: kind as i32,
        report_stats: stats,
        report_config: true,
        ..Default::default()
    };
    Ok(session.client().await?.workflow.describe_task_queue(request).await?.into_inner())
}

pub(crate) async fn run(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let all = [Kind::Workflow, Kind::Activity, Kind::Nexus];
    let kinds = if options.task_queue_type.is_empty() { &all[..] } else { &options.task_queue_type };
    let mut answers = Vec::new();
    for kind in kinds {
        answers.push((kind_name(*kind), ask(session, &options.task_queue, (*kind).into(), !options.disable_stats).await?));
    }
    if session.out.is_json() {
        let value = as_json(session, &answers, options);
        return session.out.value(&value);
    }
    if !options.disable_stats {
        session.out.title("Task Queue Statistics:")?;
        let columns =
            &["Type", "ApproximateBacklogCount", "ApproximateBacklogAge", "BacklogIncreaseRate", "TasksAddRate", "TasksDispatchRate"];
        let rows: Vec<_> = answers
            .iter()
            .map(|(kind, answer)| {
                let stats = answer.stats.unwrap_or_default();
                let age = stats.approximate_backlog_age.as_ref().map(values::duration_text).unwrap_or_default();
                let rates = [stats.tasks_add_rate - stats.tasks_dispatch_rate, stats.tasks_add_rate, stats.tasks_dispatch_rate];
                let mut row: Vec<Cell> = vec![(*kind).into(), stats.approximate_backlog_count.to_string().into(), age.into()];
                row.extend(rates.map(|rate| Cell::from(format!("{rate:.2}"))));
                row
            })
            .collect();
        session.out.table(&mut Table::new(columns), &rows)?;
    }
    session.out.title("Pollers:")?;
    let mut rows = Vec::new();
    for (kind, answer) in &answers {
        for poller in &answer.pollers {
            let seen = session.out.time(poller.last_access_time.as_ref());
            let rate = format!("{}", poller.rate_per_second);
            rows.push(vec![Cell::from(*kind), poller.identity.as_str().into(), seen.into(), rate.into()]);
        }
    }
    session.out.table(&mut Table::new(&["Type", "Identity", "LastAccessTime", "RatePerSecond"]), &rows)?;
    if options.report_config {
        for (kind, answer) in &answers {
            if let Some(config) = &answer.config {
                session.out.title(format!("Configuration of {kind}:"))?;
                super::config::card(session, config)?;
            }
        }
    }
    Ok(())
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Workflow => "workflow",
        Kind::Activity => "activity",
        Kind::Nexus => "nexus",
    }
}

/// The form of Temporal's CLI: pollers and statistics of all kinds together.
fn as_json(session: &Session, answers: &[(&str, DescribeTaskQueueResponse)], options: &Options) -> Value {
    let (mut pollers, mut stats, mut configs) = (Vec::new(), Vec::new(), serde_json::Map::new());
    for (kind, answer) in answers {
        for poller in &answer.pollers {
            let seen = poller.last_access_time.as_ref().map(ToString::to_string);
            pollers.push(json!({
                "buildId": "UNVERSIONED",
                "taskQueueType": kind,
                "identity": poller.identity,
                "lastAccessTime": seen,
                "ratePerSecond": poller.rate_per_second,
            }));
        }
        if let Some(of) = &answer.stats {
            stats.push(json!({
                "buildId": "UNVERSIONED",
                "taskQueueType": kind,
                "approximateBacklogCount": of.approximate_backlog_count,
                "approximateBacklogAge": of.approximate_backlog_age.as_ref().map(values::duration_text),
                "backlogIncreaseRate": of.tasks_add_rate - of.tasks_dispatch_rate,
                "tasksAddRate": of.tasks_add_rate,
                "tasksDispatchRate": of.tasks_dispatch_rate,
            }));
        }
        if let Some(config) = &answer.config {
            configs.insert((*kind).to_owned(), session.out.json_of(config));
        }
    }
    let mut value = json!({ "pollers": pollers });
    if !options.disable_stats {
        value["stats"] = stats.into();
    }
    if options.report_config {
        value["config"] = configs.into();
    }
    value
}
