//! Every bound of the core, with its name, unit and default (spec 09 §2, §5).

use alloc::vec::Vec;

use crate::{Span, validate::AddressRule};

/// Request ids of later calls that a run remembers beside its own; the oldest is forgotten first (spec 09 §2.3).
pub const ATTACHED_REQUEST_IDS_MAX: usize = 25;

/// Links of later starts that an activity without workflow shows beside its own; the oldest is forgotten first.
pub const ATTACHED_LINKS_MAX: usize = 100;

/// Bytes of history that one step may write whatever the settings say: the rows that come with them (what is pending
/// holds its event too) must fit into one commit of a store.
pub const TRANSACTION_BYTES_MAX: usize = 12 << 20;

/// Bytes of a list query.
pub const QUERY_BYTES_MAX: usize = 256 << 10;
/// Parentheses and `NOT`s around a condition of a list query.
pub const QUERY_DEPTH_MAX: usize = 64;
/// Conditions of a list query.
pub const QUERY_CONDITIONS_MAX: usize = 500;
/// Values of a list query, all lists together.
pub const QUERY_VALUES_MAX: usize = 10_000;

/// Bounds and waits that decide about runs. One value per namespace; tests set them low.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one payload field (`limit.blobSize.error`).
    pub blob_size_max: usize,
    /// Bytes of a memo, merged (`limit.memoSize.error`).
    pub memo_size_max: usize,
    /// Bytes of a name or id (`limit.maxIDLength`).
    pub id_length_max: usize,
    /// Bytes of a run's history (`limit.historySize.error`).
    pub history_size_max: usize,
    /// Events of a run's history (`limit.historyCount.error`).
    pub history_count_max: i64,
    /// Bytes of a run's state (`limit.mutableStateSize.error`).
    pub state_size_max: usize,
    /// Bytes of history that one completed workflow task may write (`system.transactionSizeLimit`); never more than
    /// [`TRANSACTION_BYTES_MAX`].
    pub transaction_size_max: usize,
    /// Completions of workflow tasks may come in pages (`history.enableWorkflowTaskCompletionPagination`).
    pub completion_pages: bool,
    /// Bytes of commands in the pages before the last; 0 = no limit (`history.workflowTaskCompletionBufferSizeLimit`).
    pub completion_pages_max: usize,
    /// A run over one of these limits is paused instead of terminated, and says how to go on
    /// (`sempre.pauseInsteadOfTerminate`). Off by default: SDKs' users expect the end.
    pub pause_over_limits: bool,
    /// Bytes of history from which continue-as-new is suggested.
    pub history_size_suggest: usize,
    /// Events from which continue-as-new is suggested (`limit.historyCount.suggestContinueAsNew`).
    pub history_count_suggest: i64,
    /// Pending activities of a run.
    pub pending_activities_max: usize,
    /// Pending children of a run.
    pub pending_children_max: usize,
    /// Pending signals to other workflows.
    pub pending_signals_max: usize,
    /// Pending cancel requests to other workflows.
    pub pending_cancels_max: usize,
    /// Pending Nexus operations of a run (`component.nexusoperations.limit.operation.concurrency`).
    pub pending_operations_max: usize,
    /// Longest schedule-to-close timeout of a Nexus operation; zero = none
    /// (`component.nexusoperations.limit.scheduleToCloseTimeout`).
    pub operation_timeout_max: Span,
    /// Signals a run may receive (`history.maximumSignalsPerExecution`).
    pub signals_max: i64,
    /// Completion callbacks of a run (`system.maxCallbacksPerWorkflow`).
    pub callbacks_max: usize,
    /// Completion callbacks of one update (`system.maxCallbacksPerUpdateID`).
    pub update_callbacks_max: usize,
    /// Completion callbacks of all updates of a run (`callback.maxPerExecution`).
    pub updates_callbacks_max: usize,
    /// Addresses that completion callbacks may go to (`component.callbacks.allowedAddresses`).
    pub callback_addresses: Vec<AddressRule>,
    /// Buffered events of a run, count (`history.maximumBufferedEventsBatch`).
    pub buffered_events_max: usize,
    /// Buffered events of a run, bytes.
    pub buffered_bytes_max: usize,
    /// Buffered queries of a run (`history.MaxBufferedQueryCount`).
    pub buffered_queries_max: usize,
    /// Updates of a run that are admitted and not completed; 0 = no limit (`history.maxInFlightUpdates`).
    pub updates_in_flight_max: usize,
    /// Bytes of their requests; 0 = no limit (`history.maxInFlightUpdatePayloads`).
    pub updates_in_flight_bytes_max: usize,
    /// Updates of a run, completed ones too; 0 = no limit (`history.maxTotalUpdates`).
    pub updates_max: usize,
    /// Updates from which continue-as-new is suggested, in thousandths of `updates_max`; 0 = never
    /// (`history.maxTotalUpdates.suggestContinueAsNewThreshold`).
    pub updates_suggest_permille: usize,
    /// Events that a speculative workflow task may have brought to the worker and still be discarded
    /// (`history.discardSpeculativeWorkflowTaskMaximumEventsCount`).
    pub discarded_events_max: i64,
    /// Bytes of a failure kept for a pending activity.
    pub activity_failure_max: usize,
    /// Default workflow task timeout (`history.defaultWorkflowTaskTimeout`).
    pub task_timeout_default: Span,
    /// Longest workflow task timeout.
    pub task_timeout_max: Span,
    /// How long local activities may keep a workflow task alive (`history.workflowTaskHeartbeatTimeout`).
    pub task_heartbeat_max: Span,
    /// Longest extra time given to late attempts of a failing task (`history.workflowTaskRetryMaxInterval`).
    pub task_retry_interval_max: Span,
    /// Failures and timeouts of workflow tasks in a row from which they are reported; 0 = never
    /// (`system.numConsecutiveWorkflowTaskProblemsToTriggerSearchAttribute`).
    pub task_problems_reported: i32,
    /// Shortest time between runs of a continue-as-new chain (`history.workflowIdReuseMinimalInterval`).
    pub continue_as_new_interval_min: Span,
    /// How long a run waits before lists say what for; zero = they never do.
    pub waits_told_after: Span,
    /// Eager activities allowed (`system.enableActivityEagerExecution`).
    pub eager_activities: bool,
    /// Eager workflow start allowed (`system.enableEagerWorkflowStart`).
    pub eager_start: bool,
    /// Bytes of the summary in user metadata (`limit.userMetadataSummarySize`).
    pub summary_size_max: usize,
    /// Bytes of the details in user metadata (`limit.userMetadataDetailsSize`).
    pub details_size_max: usize,
    /// Runs may skip time (`frontend.WorkflowTimeSkippingEnabled`).
    pub time_skipping: bool,
    /// Skips of a run that says no number itself, from one setting of its configuration to the next
    /// (`frontend.WorkflowTimeSkippingMaxSkipPerSession`).
    pub skips_max: i32,
    /// Runs may be paused (`frontend.WorkflowPauseEnabled`).
    pub workflow_pause: bool,
    /// Commands may address other namespaces (`system.enableCrossNamespaceCommands`).
    pub cross_namespace_commands: bool,
    /// Open runs of the namespace from which clients start no more; 0 = no limit (`sempre.limit.openRuns`).
    pub open_runs_max: u64,
    /// Bytes of history of the namespace's runs, open or kept, from which clients add nothing; 0 = no limit
    /// (`sempre.limit.storageBytes`).
    pub storage_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            blob_size_max: 2 << 20,
            memo_size_max: 2 << 20,
            id_length_max: 1000,
            history_size_max: 50 << 20,
            history_count_max: 51_200,
            state_size_max: 8 << 20,
            transaction_size_max: 4 << 20,
            completion_pages: false,
            completion_pages_max: 40 << 20,
            pause_over_limits: false,
            history_size_suggest: 4 << 20,
            history_count_suggest: 4096,
            pending_activities_max: 2000,
            pending_children_max: 2000,
            pending_signals_max: 2000,
            pending_cancels_max: 2000,
            pending_operations_max: 2000,
            operation_timeout_max: Span::ZERO,
            signals_max: 10_000,
            callbacks_max: 32,
            update_callbacks_max: 32,
            updates_callbacks_max: 2000,
            callback_addresses: Vec::new(),
            buffered_events_max: 100,
            buffered_bytes_max: 2 << 20,
            buffered_queries_max: 1,
            updates_in_flight_max: 10,
            updates_in_flight_bytes_max: 20 << 20,
            updates_max: 2000,
            updates_suggest_permille: 900,
            discarded_events_max: 10,
            activity_failure_max: 4 << 10,
            task_timeout_default: Span::seconds(10),
            task_timeout_max: Span::seconds(120),
            task_heartbeat_max: Span::seconds(30 * 60),
            task_retry_interval_max: Span::seconds(10 * 60),
            task_problems_reported: 5,
            continue_as_new_interval_min: Span::seconds(1),
            waits_told_after: Span::seconds(60),
            eager_activities: true,
            eager_start: true,
            summary_size_max: 400,
            details_size_max: 20_000,
            time_skipping: false,
            skips_max: 200,
            workflow_pause: true,
            cross_namespace_commands: false,
            open_runs_max: 0,
            storage_bytes_max: 0,
        }
    }
}
