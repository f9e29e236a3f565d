//! The numbers of single shards: who has one is the owner of something that there is once. They are on disk.

/// Namespaces, with what belongs to one: search attributes, workflow rules.
pub const NAMESPACES: u32 = crate::namespaces::OWNER;
/// What belongs to the server as a whole, and the settings of task queues.
pub const META: u32 = crate::meta::OWNER;
/// All schedules.
pub const SCHEDULES: u32 = crate::schedules::OWNER;
/// Nexus endpoints.
pub const NEXUS_ENDPOINTS: u32 = crate::records::NEXUS_ENDPOINTS.owner;
/// Batch jobs, and the work that they do.
pub const BATCH_JOBS: u32 = crate::records::BATCH_JOBS.owner;
/// Worker deployments.
pub const DEPLOYMENTS: u32 = crate::records::DEPLOYMENTS.owner;
/// Flow rules.
pub const FLOW_RULES: u32 = crate::records::FLOW_RULES.owner;
/// API keys.
pub const API_KEYS: u32 = crate::records::API_KEYS.owner;
/// What alert rules have found, and what is sent.
pub const ALERTS: u32 = crate::alerts::runner::OWNER;
/// The numbers of notices.
pub const NOTICES: u32 = crate::notices::keeper::OWNER;
/// Alert rules.
pub const ALERT_RULES: u32 = crate::records::ALERT_RULES.owner;

/// Who makes the index of runs whole.
pub const INDEX: u32 = crate::listing::OWNER;

/// All of them.
pub const ALL: [u32; 12] =
    [NAMESPACES, META, SCHEDULES, NEXUS_ENDPOINTS, BATCH_JOBS, DEPLOYMENTS, FLOW_RULES, API_KEYS, ALERT_RULES, ALERTS, NOTICES, INDEX];
