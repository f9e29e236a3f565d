//! `task-queue config get` and `set`: rate limits and weights.

use clap::{Args, Subcommand};
use sempre_api::v1::{
    enums::TaskQueueType,
    taskqueue::{RateLimit, RateLimitConfig, TaskQueueConfig},
    workflowservice::{UpdateTaskQueueConfigRequest, update_task_queue_config_request::RateLimitUpdate},
};

use super::{Kind, ask};
use crate::cli::{Failure, output::Cell, session::Session};

/// Takes a limit or a weight away.
const DEFAULT: &str = "default";

#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show the rate limits
    Get(Target),
    /// Change the rate limits
    Set(Set),
}

#[derive(Args)]
pub(crate) struct Target {
    /// The task queue
    #[arg(short, long, value_name = "NAME")]
    task_queue: String,
    /// Kind of tasks
    #[arg(long, value_enum, value_name = "TYPE", ignore_case = true)]
    task_queue_type: Kind,
}

#[derive(Args)]
pub(crate) struct Set {
    #[command(flatten)]
    target: Target,
    /// Tasks a second of the whole queue, or default
    #[arg(long, value_name = "NUMBER", value_parser = parse_limit)]
    queue_rps_limit: Option<Limit>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    queue_rps_limit_reason: String,
    /// Tasks a second of each fairness key, or default
    #[arg(long, value_name = "NUMBER", value_parser = parse_limit)]
    fairness_key_rps_limit_default: Option<Limit>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    fairness_key_rps_limit_reason: String,
    /// Weight of a fairness key, or default; may be given several times
    #[arg(long, value_name = "KEY=NUMBER", value_parser = parse_weight)]
    fairness_key_weight: Vec<(String, Option<f32>)>,
    /// Take all weights away
    #[arg(long)]
    fairness_key_weight_clear_all: bool,
}

/// A limit; `None` takes it away.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Limit(Option<f32>);

fn parse_limit(text: &str) -> Result<Limit, String> {
    if text.eq_ignore_ascii_case(DEFAULT) {
        return Ok(Limit(None));
    }
    let limit = text.parse::<f32>().ok().filter(|limit| limit.is_finite() && *limit >= 0.0);
    limit.map(|limit| Limit(Some(limit))).ok_or_else(|| "it is neither a number from 0 on nor `default`".to_owned())
}

fn parse_weight(text: &str) -> Result<(String, Option<f32>), String> {
    let (key, weight) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or("it must look like KEY=NUMBER")?;
    if weight.eq_ignore_ascii_case(DEFAULT) {
        return Ok((key.to_owned(), None));
    }
    let weight = weight.parse::<f32>().ok().filter(|weight| weight.is_finite() && *weight > 0.0);
    Ok((key.to_owned(), Some(weight.ok_or("the weight is neither a number above 0 nor `default`")?)))
}

pub(super) async fn run(session: &mut Session, command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Get(target) => {
            let answer = ask(session, &target.task_queue, target.task_queue_type.into(), false).await?;
            print(session, answer.config.as_ref())
        }
        ConfigCommand::Set(set) => {
            let kind = TaskQueueType::from(set.target.task_queue_type);
            let update = |limit: Option<Limit>, reason: &str| {
                let rate = |Limit(limit): Limit| limit.map(|limit| RateLimit { requests_per_second: limit });
                limit.map(|limit| RateLimitUpdate { rate_limit: rate(limit), reason: reason.to_owned() })
            };
            if set.queue_rps_limit == Some(Limit(Some(0.0))) {
                eprintln!("warning: a limit of 0 stops all tasks of this queue until it is changed");
            }
            let mut unset: Vec<String> =
                set.fairness_key_weight.iter().filter(|(_, weight)| weight.is_none()).map(|(key, _)| key.clone()).collect();
            if set.fairness_key_weight_clear_all {
                let today = ask(session, &set.target.task_queue, kind, false).await?.config.unwrap_or_default();
                unset.extend(today.fairness_weight_overrides.into_keys());
            }
            let request = UpdateTaskQueueConfigRequest {
                namespace: session.namespace(),
                identity: session.identity(),
                task_queue: set.target.task_queue.clone(),
                task_queue_type: kind as i32,
                update_queue_rate_limit: update(set.queue_rps_limit, &set.queue_rps_limit_reason),
                update_fairness_key_rate_limit_default: update(set.fairness_key_rps_limit_default, &set.fairness_key_rps_limit_reason),
                set_fairness_weight_overrides: set
                    .fairness_key_weight
                    .into_iter()
                    .filter_map(|(key, weight)| Some((key, weight?)))
                    .collect(),
                unset_fairness_weight_overrides: unset,
            };
            let answer = session.client().await?.workflow.update_task_queue_config(request).await?.into_inner();
            print(session, answer.config.as_ref())
        }
    }
}

fn print(session: &mut Session, config: Option<&TaskQueueConfig>) -> Result<(), Failure> {
    match config {
        None => session.out.line("No configuration found for task queue"),
        Some(config) => {
            session.out.message(config)?;
            card(session, config)
        }
    }
}

/// Limits and weights as a card.
pub(super) fn card(session: &mut Session, config: &TaskQueueConfig) -> Result<(), Failure> {
    let weights: Vec<_> = config.fairness_weight_overrides.iter().map(|(key, weight)| format!("{key}={weight}")).collect();
    let entries: [(&str, Cell); 3] = [
        ("QueueRateLimit", limit(session, config.queue_rate_limit.as_ref()).into()),
        ("FairnessKeysRateLimitDefault", limit(session, config.fairness_keys_rate_limit_default.as_ref()).into()),
        ("FairnessWeights", weights.join(", ").into()),
    ];
    session.out.card(&entries)
}

fn limit(session: &Session, limit: Option<&RateLimitConfig>) -> String {
    let Some(limit) = limit else { return String::new() };
    let rate = limit.rate_limit.map_or_else(|| "none".to_owned(), |rate| format!("{} a second", rate.requests_per_second));
    match &limit.metadata {
        None => rate,
        Some(by) => {
            let reason = if by.reason.is_empty() { String::new() } else { format!(": {}", by.reason) };
            format!("{rate}, set {} by {}{reason}", session.out.time(by.update_time.as_ref()), by.update_identity)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_weights() {
        assert_eq!(parse_limit("1.5"), Ok(Limit(Some(1.5))));
        assert_eq!(parse_limit("Default"), Ok(Limit(None)));
        assert!(parse_limit("-1").is_err() && parse_limit("NaN").is_err() && parse_limit("").is_err());
        assert_eq!(parse_weight("a=2"), Ok(("a".into(), Some(2.0))));
        assert_eq!(parse_weight("a=default"), Ok(("a".into(), None)));
        assert!(parse_weight("a=0").is_err() && parse_weight("=1").is_err() && parse_weight("a").is_err());
    }
}
