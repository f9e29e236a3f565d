//! Settings of task queues made by hand (spec 05 §4).

use std::{collections::BTreeSet, sync::Arc};

use sempre_api::v1::{
    enums::TaskQueueType,
    taskqueue::{ConfigMetadata, RateLimitConfig, TaskQueueConfig},
    workflowservice::{UpdateTaskQueueConfigRequest, UpdateTaskQueueConfigResponse, update_task_queue_config_request::RateLimitUpdate},
};
use sempre_core::{Limits, Refusal, Timestamp, transition::QueueName, validate};

use super::describe_queue::kind_of;
use crate::{Engine, matching::rates::Settings};

const REASON_MAX: usize = 1000;
const WEIGHTS_MAX: usize = 1000;
const FAIRNESS_KEY_MAX: usize = 64;

/// Texts that clients see.
mod text {
    pub(super) const WORKFLOW_RATE: &str = "Setting rate limit on workflow task queues is not allowed.";
    pub(super) const WORKFLOW_KEY_RATE: &str = "Setting fairness key rate limit on workflow task queues is not allowed.";
    pub(super) const KEY_EMPTY: &str = "fairness weight override key must not be empty";
    pub(super) const KEY_TOO_LONG: &str = "fairness key length exceeds limit";
    pub(super) const TYPE: &str = "TaskQueueType must be workflow, activity or nexus.";
    pub(super) const TOO_MANY_KEYS: &str = "fairness weight overrides update rejected: exceeding maximum key size";
}

fn check_length(field: &str, value: &str, max: usize) -> Result<(), Refusal> {
    if value.len() > max {
        return Err(Refusal::invalid(format!("{field} field too long (max {max} characters).")));
    }
    Ok(())
}

fn check_rate(update: Option<&RateLimitUpdate>, label: &str) -> Result<(), Refusal> {
    let Some(update) = update else { return Ok(()) };
    let Some(rate) = &update.rate_limit else { return Ok(()) };
    if rate.requests_per_second < 0.0 || rate.requests_per_second.is_nan() {
        return Err(Refusal::invalid(format!("RequestsPerSecond for {label} rate limit must be non-negative.")));
    }
    check_length(&format!("{label}.Reason"), &update.reason, REASON_MAX)
}

fn check_fairness_key(key: &str) -> Result<(), Refusal> {
    if key.is_empty() {
        return Err(Refusal::invalid(text::KEY_EMPTY));
    }
    if key.len() > FAIRNESS_KEY_MAX {
        return Err(Refusal::invalid(text::KEY_TOO_LONG));
    }
    Ok(())
}

fn check_weights(request: &UpdateTaskQueueConfigRequest) -> Result<(), Refusal> {
    let (set, unset) = (&request.set_fairness_weight_overrides, &request.unset_fairness_weight_overrides);
    let total = set.len() + unset.len();
    if total > WEIGHTS_MAX {
        return Err(Refusal::invalid(format!("too many fairness weight overrides in request: got {total}, maximum {WEIGHTS_MAX}")));
    }
    for (key, weight) in set {
        check_fairness_key(key)?;
        if *weight <= 0.0 || weight.is_nan() {
            return Err(Refusal::invalid(format!("invalid fairness weight weight for key {key:?}: must be greater than zero")));
        }
    }
    unset.iter().try_for_each(|key| check_fairness_key(key))?;
    match unset.iter().find(|key| set.contains_key(*key)) {
        Some(key) => Err(Refusal::invalid(format!("fairness weight override key {key:?} present in both set and unset lists"))),
        None => Ok(()),
    }
}

fn check(request: &UpdateTaskQueueConfigRequest, limits: &Limits) -> Result<(), Refusal> {
    let sets = |update: &Option<RateLimitUpdate>| update.as_ref().is_some_and(|update| update.rate_limit.is_some());
    let workflow = request.task_queue_type == TaskQueueType::Workflow as i32;
    if workflow && sets(&request.update_queue_rate_limit) {
        return Err(Refusal::invalid(text::WORKFLOW_RATE));
    }
    check_rate(request.update_queue_rate_limit.as_ref(), "UpdateQueueRateLimit")?;
    if workflow && sets(&request.update_fairness_key_rate_limit_default) {
        return Err(Refusal::invalid(text::WORKFLOW_KEY_RATE));
    }
    check_rate(request.update_fairness_key_rate_limit_default.as_ref(), "UpdateFairnessKeyRateLimitDefault")?;
    check_length("Identity", &request.identity, limits.id_length_max)?;
    check_weights(request)
}

fn limit(update: RateLimitUpdate, identity: &str, now: Timestamp) -> RateLimitConfig {
    let metadata = ConfigMetadata { reason: update.reason, update_identity: identity.to_owned(), update_time: Some(now.to_api()) };
    RateLimitConfig { rate_limit: update.rate_limit, metadata: Some(metadata) }
}

fn rate_of(config: Option<&RateLimitConfig>) -> Option<f64> {
    Some(f64::from(config?.rate_limit.as_ref()?.requests_per_second))
}

/// What the settings of a queue are to matching.
pub(crate) fn settings_of(config: &TaskQueueConfig) -> Settings {
    Settings {
        rate: rate_of(config.queue_rate_limit.as_ref()),
        key_rate: rate_of(config.fairness_keys_rate_limit_default.as_ref()),
        weights: Arc::new(config.fairness_weight_overrides.clone()),
    }
}

/// Whether a change leaves no more weights than a queue may have. The first that are set for it were counted with the request.
fn fits(config: &TaskQueueConfig, request: &UpdateTaskQueueConfigRequest) -> bool {
    let known = &config.fairness_weight_overrides;
    let gone = request.unset_fairness_weight_overrides.iter().filter(|key| known.contains_key(*key)).collect::<BTreeSet<_>>();
    let new = request.set_fairness_weight_overrides.keys().filter(|key| !known.contains_key(*key)).count();
    known.is_empty() || known.len() - gone.len() + new <= WEIGHTS_MAX
}

impl Engine {
    /// `UpdateTaskQueueConfig`: the rate limits of an activity or Nexus queue and of its fairness keys, and the weights of the
    /// keys; durable.
    pub async fn update_task_queue_config(&self, request: UpdateTaskQueueConfigRequest) -> Result<UpdateTaskQueueConfigResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let limits = &self.shared.settings.limits;
        check(&request, limits)?;
        let name = request.task_queue.clone();
        if name.is_empty() {
            return Err(Refusal::invalid("missing task queue name"));
        }
        validate::at_most(&name, "taskQueue length exceeds limit", limits)?;
        if name.starts_with("/_sys/") {
            return Err(Refusal::invalid(format!("task queue family name cannot have prefix /_sys/ {name}")));
        }
        let kind = kind_of(request.task_queue_type).ok_or_else(|| Refusal::invalid(text::TYPE))?;
        let queue = QueueName { namespace: namespace.id(), name, kind, sticky: false, version: None };
        let weights = !request.set_fairness_weight_overrides.is_empty() || !request.unset_fairness_weight_overrides.is_empty();
        if request.update_queue_rate_limit.is_none() && request.update_fairness_key_rate_limit_default.is_none() && !weights {
            let config = self.shared.meta.config(&queue).as_deref().cloned().unwrap_or_default();
            return Ok(UpdateTaskQueueConfigResponse { config: Some(config) });
        }
        let now = self.now();
        let change = move |config: &mut TaskQueueConfig| {
            if !fits(config, &request) {
                return Err(Refusal::invalid(text::TOO_MANY_KEYS));
            }
            let identity = &request.identity;
            if let Some(update) = request.update_queue_rate_limit {
                config.queue_rate_limit = Some(limit(update, identity, now));
            }
            if let Some(update) = request.update_fairness_key_rate_limit_default {
                config.fairness_keys_rate_limit_default = Some(limit(update, identity, now));
            }
            for key in &request.unset_fairness_weight_overrides {
                config.fairness_weight_overrides.remove(key);
            }
            config.fairness_weight_overrides.extend(request.set_fairness_weight_overrides);
            Ok(())
        };
        let (matching, named) = (self.shared.matching.clone(), queue.clone());
        let done = move |config: &TaskQueueConfig| matching.set_up(&named, settings_of(config));
        let config = self.shared.meta.update_config(queue, change, done).await?;
        Ok(UpdateTaskQueueConfigResponse { config: Some((*config).clone()) })
    }
}
