//! Task queues as operators and tools see them (spec 05 §6).

use std::collections::BTreeMap;

use sempre_api::v1::{
    enums::{BuildIdTaskReachability, DescribeTaskQueueMode, RateLimitSource, TaskQueueKind, TaskQueueType},
    taskqueue::{
        PollerInfo, TaskIdBlock, TaskQueuePartitionMetadata, TaskQueueStats, TaskQueueStatus, TaskQueueTypeInfo, TaskQueueVersionInfo,
        TaskQueueVersioningInfo,
    },
    workflowservice::{
        DescribeTaskQueueRequest, DescribeTaskQueueResponse, ListTaskQueuePartitionsRequest, ListTaskQueuePartitionsResponse,
        describe_task_queue_response::EffectiveRateLimit,
    },
};
use sempre_core::{
    Refusal, Span, Timestamp,
    transition::{QueueKind, QueueName},
};

use super::deployments::dotted;
use crate::{
    Engine,
    matching::{
        QueueView,
        levels::LevelView,
        limiter::{RateSource, SYSTEM_RATE},
        pollers::SeenPoller,
    },
    namespaces::Namespace,
};

/// The priority of tasks that name none: shown even when no task has come.
const PRIORITY_DEFAULT: u8 = 3;
/// Most build ids that can be asked for with their reachability.
const REACHABILITY_BUILD_IDS_MAX: usize = 5;
/// Go's zero time, which is what the routing of a queue that never had versions was changed at.
const NEVER: prost_types::Timestamp = prost_types::Timestamp { seconds: -62_135_596_800, nanos: 0 };

/// Texts that clients see.
mod text {
    pub(super) const NOT_ROOT_STATS: &str = "DescribeTaskQueue stats are only supported for the root partition";
    pub(super) const ENHANCED_STICKY: &str =
        "Enhanced DescribeTaskQueue is not valid for a sticky queue, use api_mode=UNSPECIFIED or a normal queue.";
}

/// What a type of queue carries; `None` for numbers that mean nothing: such queues are empty.
pub(super) fn kind_of(task_type: i32) -> Option<QueueKind> {
    match TaskQueueType::try_from(task_type) {
        Ok(TaskQueueType::Workflow) => Some(QueueKind::Workflow),
        Ok(TaskQueueType::Activity) => Some(QueueKind::Activity),
        Ok(TaskQueueType::Nexus) => Some(QueueKind::Nexus),
        Ok(TaskQueueType::Unspecified) | Err(_) => None,
    }
}

/// Whether a name is that of a partition other than the first, `/_sys/<queue>/<number>`. This server has only the first.
fn is_partition(name: &str) -> Result<bool, Refusal> {
    let Some(rest) = name.strip_prefix("/_sys/") else { return Ok(false) };
    let parsed = rest.rsplit_once('/').filter(|(queue, number)| !queue.is_empty() && number.parse::<u32>().is_ok_and(|n| n > 0));
    parsed.map(|_| true).ok_or_else(|| Refusal::invalid(format!("invalid task queue partition name {name}")))
}

#[allow(deprecated, reason = "the old version field is what many workers send")]
fn poller((identity, known): (String, SeenPoller)) -> PollerInfo {
    PollerInfo {
        last_access_time: Some(known.seen.to_api()),
        identity,
        rate_per_second: known.rate.unwrap_or(SYSTEM_RATE),
        worker_version_capabilities: known.capabilities,
        deployment_options: known.deployment,
    }
}

/// Pollers, the one seen last first.
fn pollers(view: Option<&QueueView>) -> Vec<PollerInfo> {
    let mut pollers = view.map(|view| view.pollers.clone()).unwrap_or_default();
    pollers.sort_by_key(|(_, known)| std::cmp::Reverse(known.seen));
    pollers.into_iter().map(poller).collect()
}

fn count(backlog: u64) -> i64 {
    i64::try_from(backlog).unwrap_or(i64::MAX)
}

/// The numbers of some priorities together.
fn stats<'a>(levels: impl Iterator<Item = &'a LevelView>, limited: bool, now: Timestamp) -> TaskQueueStats {
    let mut sum = TaskQueueStats { rate_limiting_active: limited, ..TaskQueueStats::default() };
    let mut oldest: Option<Timestamp> = None;
    for level in levels {
        sum.approximate_backlog_count = sum.approximate_backlog_count.saturating_add(count(level.backlog));
        sum.tasks_add_rate += level.add_rate;
        sum.tasks_dispatch_rate += level.dispatch_rate;
        oldest = oldest.into_iter().chain(level.oldest).min();
    }
    sum.approximate_backlog_age = Some(oldest.map_or(Span::ZERO, |oldest| now.since(oldest)).to_api());
    sum
}

pub(super) fn all_stats(view: Option<&QueueView>, now: Timestamp) -> TaskQueueStats {
    stats(view.iter().flat_map(|view| &view.levels), view.is_some_and(|view| view.limited), now)
}

pub(super) fn stats_by_priority(view: Option<&QueueView>, now: Timestamp) -> BTreeMap<i32, TaskQueueStats> {
    let limited = view.is_some_and(|view| view.limited);
    let mut by_priority = BTreeMap::from([(i32::from(PRIORITY_DEFAULT), stats(std::iter::empty(), limited, now))]);
    for level in view.iter().flat_map(|view| &view.levels) {
        by_priority.insert(i32::from(level.priority), stats(std::iter::once(level), limited, now));
    }
    by_priority
}

fn effective_rate((rate, source): (f64, RateSource)) -> EffectiveRateLimit {
    let rate_limit_source = match source {
        RateSource::Api => RateLimitSource::Api,
        RateSource::Worker => RateLimitSource::Worker,
        RateSource::System => RateLimitSource::System,
    };
    EffectiveRateLimit { requests_per_second: rate as f32, rate_limit_source: rate_limit_source as i32 }
}

/// Where the queue's new work goes.
#[allow(deprecated, reason = "old clients read the versions as texts")]
fn versioning(namespace: &Namespace, queue: Option<&QueueName>) -> TaskQueueVersioningInfo {
    let route = queue.and_then(|queue| namespace.view.deployments.route(queue.kind, &queue.name));
    let Some(route) = route else {
        let current_version = dotted(None);
        return TaskQueueVersioningInfo { current_version, update_time: Some(NEVER), ..TaskQueueVersioningInfo::default() };
    };
    let ramp = route.ramp.as_ref();
    TaskQueueVersioningInfo {
        current_deployment_version: route.current.as_ref().map(|version| version.to_api()),
        current_version: dotted(route.current.as_ref()),
        ramping_deployment_version: ramp.and_then(|ramp| ramp.version.as_ref()).map(|version| version.to_api()),
        ramping_version: ramp.map_or_else(String::new, |ramp| dotted(ramp.version.as_ref())),
        ramping_version_percentage: ramp.map_or(0.0, |ramp| ramp.percentage),
        update_time: Some(route.changed.to_api()),
    }
}

impl Engine {
    /// `DescribeTaskQueue`: pollers of the last five minutes, backlog, rates and limits.
    #[allow(deprecated, reason = "the enhanced mode and the status block are what older clients ask for")]
    pub async fn describe_task_queue(&self, request: DescribeTaskQueueRequest) -> Result<DescribeTaskQueueResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        if request.report_task_reachability
            && request.versions.as_ref().is_some_and(|versions| versions.build_ids.len() > REACHABILITY_BUILD_IDS_MAX)
        {
            return Err(Refusal::invalid(format!(
                "Too many build ids queried at once with ReportTaskReachability==true, limit: {REACHABILITY_BUILD_IDS_MAX}"
            )));
        }
        if request.api_mode == DescribeTaskQueueMode::Enhanced as i32 {
            let sticky = request.task_queue.as_ref().is_some_and(|queue| queue.kind == TaskQueueKind::Sticky as i32);
            let queue = self.queue_of(&namespace, request.task_queue.clone(), QueueKind::Workflow)?;
            if sticky {
                return Err(Refusal::invalid(text::ENHANCED_STICKY));
            }
            return Ok(self.describe_versions(&request, &queue));
        }
        let partition = match &request.task_queue {
            Some(queue) => is_partition(&queue.name)?,
            None => false,
        };
        let sticky = request.task_queue.as_ref().is_some_and(|queue| queue.kind == TaskQueueKind::Sticky as i32);
        // Nothing is ever in another partition than the first.
        let kind = match request.task_queue_type {
            0 => Some(QueueKind::Workflow),
            task_type => kind_of(task_type),
        };
        let kind = kind.filter(|_| !partition);
        let named = match (partition, request.task_queue) {
            (true, _) => None,
            (false, queue) => Some(self.queue_of(&namespace, queue, kind.unwrap_or(QueueKind::Workflow))?),
        };
        if request.report_stats && (partition || sticky) {
            return Err(Refusal::invalid(text::NOT_ROOT_STATS));
        }
        let queue = named.filter(|_| kind.is_some());
        let view = queue.as_ref().and_then(|queue| self.shared.matching.view(queue));
        let view = view.as_ref();
        let now = self.now();
        let rate = match (view, &queue) {
            (Some(view), _) => view.rate,
            (None, Some(queue)) => self.shared.matching.rate_of_unused(queue),
            (None, None) => (SYSTEM_RATE, RateSource::System),
        };
        let config = queue.as_ref().filter(|_| request.report_config && !sticky).and_then(|queue| self.shared.meta.config(queue));
        let config = config.map(|config| (*config).clone());
        let status = || TaskQueueStatus {
            backlog_count_hint: view.map_or(0, |view| count(view.levels.iter().map(|level| level.backlog).sum())),
            rate_per_second: rate.0,
            // Tasks have no numbers here.
            task_id_block: Some(TaskIdBlock::default()),
            ..TaskQueueStatus::default()
        };
        Ok(DescribeTaskQueueResponse {
            pollers: pollers(view),
            stats: request.report_stats.then(|| all_stats(view, now)),
            stats_by_priority_key: if request.report_stats { stats_by_priority(view, now) } else { BTreeMap::new() },
            versioning_info: (!sticky).then(|| versioning(&namespace, queue.as_ref())),
            config,
            effective_rate_limit: Some(effective_rate(rate)),
            task_queue_status: request.include_task_queue_status.then(status),
            versions_info: BTreeMap::new(),
        })
    }

    /// The enhanced mode: the same by build id, of which only the empty one, of workers without version, has any tasks.
    #[allow(deprecated, reason = "the enhanced mode as a whole")]
    fn describe_versions(&self, request: &DescribeTaskQueueRequest, queue: &QueueName) -> DescribeTaskQueueResponse {
        let now = self.now();
        let mut types = request.task_queue_types.clone();
        if types.is_empty() {
            types = vec![TaskQueueType::Workflow as i32, TaskQueueType::Activity as i32];
        }
        let build_ids = match &request.versions {
            None => vec![String::new()],
            Some(versions) => {
                let unversioned = versions.unversioned.then(String::new);
                versions.build_ids.iter().cloned().chain(unversioned).collect()
            }
        };
        let describe = |build_id: &str| {
            let info = |task_type: &i32| {
                let queue = |kind| QueueName { kind, ..queue.clone() };
                let view = kind_of(*task_type).filter(|_| build_id.is_empty()).and_then(|kind| self.shared.matching.view(&queue(kind)));
                let info = TaskQueueTypeInfo {
                    pollers: if request.report_pollers { pollers(view.as_ref()) } else { Vec::new() },
                    stats: request.report_stats.then(|| all_stats(view.as_ref(), now)),
                };
                (*task_type, info)
            };
            // New runs always go to workers without version, and nothing goes to any other.
            let reachability = match (request.report_task_reachability, build_id) {
                (false, _) => BuildIdTaskReachability::Unspecified,
                (true, "") => BuildIdTaskReachability::Reachable,
                (true, _) => BuildIdTaskReachability::Unreachable,
            };
            TaskQueueVersionInfo { types_info: types.iter().map(info).collect(), task_reachability: reachability as i32 }
        };
        let versions_info = build_ids.into_iter().map(|build_id| (build_id.clone(), describe(&build_id))).collect();
        DescribeTaskQueueResponse { versions_info, ..DescribeTaskQueueResponse::default() }
    }

    /// `ListTaskQueuePartitions`: a queue is one line here, known by its own name. `host` is the server's address.
    pub async fn list_task_queue_partitions(
        &self,
        request: ListTaskQueuePartitionsRequest,
        host: &str,
    ) -> Result<ListTaskQueuePartitionsResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let name = self.queue_of(&namespace, request.task_queue, QueueKind::Workflow)?.name;
        let partitions = vec![TaskQueuePartitionMetadata { key: name, owner_host_name: host.to_owned() }];
        Ok(ListTaskQueuePartitionsResponse {
            activity_task_queue_partitions: partitions.clone(),
            workflow_task_queue_partitions: partitions,
        })
    }
}
