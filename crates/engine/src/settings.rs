//! What an operator may tune, with defaults. Numbers nobody will tune are constants beside their use.

use std::collections::BTreeMap;

use sempre_core::{Limits, Span};

use crate::usage::{NamespaceLimits, Rates};

/// Settings of an engine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Shard runners; one per core is right.
    pub shards: u32,
    /// Messages that wait for one shard; one more is answered with RESOURCE_EXHAUSTED.
    pub inbox_max: usize,
    /// Bytes of executions kept in memory, over all shards.
    pub cache_bytes_max: usize,
    /// Offers of one task queue kept in memory; more stay in the store and are paged in.
    pub queue_window_max: usize,
    /// How long a poll waits for a task (`matching.longPollExpirationInterval`).
    pub poll_wait: Span,
    /// How long a history read waits for new events (`history.longPollExpirationInterval`).
    pub history_wait: Span,
    /// How long a wait for an activity without workflow lasts (`activity.longPollTimeout`).
    pub activity_wait: Span,
    /// How long a wait for a Nexus operation without workflow lasts (`nexusoperation.longPollTimeout`).
    pub operation_wait: Span,
    /// Inputs of one commit.
    pub batch_inputs_max: usize,
    /// Bytes after which a commit takes no more inputs.
    pub batch_bytes_max: usize,
    /// Commits of one shard under way at once.
    pub commits_in_flight_max: usize,
    /// ShutdownWorker ends the polls of its worker (`frontend.enableCancelWorkerPollsOnShutdown`).
    pub end_polls_on_shutdown: bool,
    /// Heartbeats of workers are remembered (`frontend.WorkerHeartbeatsEnabled`).
    pub worker_heartbeats: bool,
    /// Search attributes that nobody has defined are defined by the first request that sets them, with the type that it
    /// names, instead of being refused. For development.
    pub auto_register_search_attributes: bool,
    /// Activities without workflow can be started (`activity.enableStandalone`).
    pub standalone_activities: bool,
    /// Nexus operations without workflow can be started (`nexusoperation.enableStandalone`).
    pub standalone_operations: bool,
    /// There are schedules (`frontend.enableSchedules`).
    pub schedules: bool,
    /// Batch operations of a namespace that may run at once (`frontend.MaxConcurrentBatchOperationPerNamespace`).
    pub batch_jobs_max: usize,
    /// Runs that one batch operation may act on in a second (`worker.batcherRPS`).
    pub batch_rate_max: f64,
    /// Calls of one method that may be open at once in a namespace, of those that may take long: polls, queries, updates, reads
    /// that wait (`frontend.namespaceCount`).
    pub long_calls_max: usize,
    /// Bytes of completions that have come in part and are kept in memory, over all shards; one page more is answered with
    /// RESOURCE_EXHAUSTED (`history.workflowTaskCompletionBufferTotalSizeLimit`).
    pub completion_pages_bytes_max: usize,
    /// Binaries that one namespace may mark bad (`frontend.maxBadBinaries`).
    pub bad_binaries_max: usize,
    /// How long after it went out of use it is first looked whether runs are pinned to a worker version
    /// (`matching.wv.VersionDrainageStatusVisibilityGracePeriod`).
    pub drainage_grace: Span,
    /// How long until it is looked again (`matching.wv.VersionDrainageStatusRefreshInterval`).
    pub drainage_interval: Span,
    /// Workflow rules can be made (`frontend.workflowRulesAPIsEnabled`).
    pub workflow_rules: bool,
    /// Workflow rules of one namespace (`frontend.maxWorkflowRulesPerNamespace`).
    pub workflow_rules_max: usize,
    /// Notices of changes of runs that are kept for those who follow them, over all namespaces; 0: none are written, and rules of
    /// alerts see no single runs.
    pub notices_kept: u64,
    /// Bounds that decide about runs.
    pub limits: Limits,
    /// How often a namespace may be called.
    pub rates: Rates,
    /// By name: limits and rates of those namespaces that have their own.
    pub of_namespaces: BTreeMap<String, NamespaceLimits>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shards: 1,
            inbox_max: 4096,
            cache_bytes_max: 32 << 20,
            queue_window_max: 20_000,
            poll_wait: Span::seconds(60),
            history_wait: Span::seconds(20),
            activity_wait: Span::seconds(20),
            operation_wait: Span::seconds(20),
            batch_inputs_max: 256,
            batch_bytes_max: 1 << 20,
            commits_in_flight_max: 4,
            end_polls_on_shutdown: true,
            worker_heartbeats: true,
            auto_register_search_attributes: false,
            standalone_activities: true,
            standalone_operations: true,
            schedules: true,
            batch_jobs_max: 10,
            batch_rate_max: 500.0,
            long_calls_max: 1200,
            completion_pages_bytes_max: 256 << 20,
            bad_binaries_max: 10,
            workflow_rules: false,
            workflow_rules_max: 10,
            drainage_grace: Span::seconds(180),
            drainage_interval: Span::seconds(180),
            notices_kept: 1_000_000,
            limits: Limits::default(),
            rates: Rates::default(),
            of_namespaces: BTreeMap::new(),
        }
    }
}
