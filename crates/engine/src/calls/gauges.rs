//! What there is now, for metrics. Each call looks at everything: not for hot paths.

use std::sync::Arc;

use sempre_api::v1::enums::WorkflowExecutionStatus;
use sempre_core::{
    Refusal,
    visibility::{AttributeType, Comparison, Field, Filter, HEALTH, SystemField, Value},
};

use super::lists::refused;
use crate::{Engine, QueueSummary, namespaces::Namespace, rebuild::Rebuild};

/// Namespaces that are looked at.
const NAMESPACES_MAX: usize = 50;

/// Values of `SempreHealth`.
const HEALTHS: [&str; 2] = ["workflow-task-failing", "activity-retrying"];

/// Open runs of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenRuns {
    /// The namespace's name.
    pub namespace: String,
    /// By type; the largest first.
    pub by_type: Vec<(String, u64)>,
    /// By what hurts them (`SempreHealth`), and of each by type; those that are well are not among them.
    pub by_health: Vec<(&'static str, Vec<(String, u64)>)>,
}

impl Engine {
    /// The task queues that are in memory, which all are that have tasks or pollers.
    pub fn queue_summaries(&self) -> Vec<QueueSummary> {
        self.shared.matching.all_queues()
    }

    /// Open runs, of at most 50 namespaces. Refused while the index is made anew.
    pub async fn open_runs(&self) -> Result<Vec<OpenRuns>, Refusal> {
        Rebuild::ready(&self.shared).await?;
        // A paused run is open.
        let open = Filter::In {
            field: Field::System(SystemField::ExecutionStatus),
            values: [WorkflowExecutionStatus::Running, WorkflowExecutionStatus::Paused].map(|status| Value::Int(status as i64)).into(),
            negated: false,
        };
        let kind = Field::System(SystemField::WorkflowType);
        let mut all = Vec::new();
        for namespace in self.shared.namespaces.first(NAMESPACES_MAX) {
            let by_type = self.open_by(&namespace, &open, &kind).await?;
            let mut by_health = Vec::new();
            for health in HEALTHS {
                // Closed runs have none. Asked for by value, which an index answers.
                let field = Field::Attribute { name: HEALTH.to_owned(), kind: AttributeType::Keyword };
                let hurt = Filter::Compare(field, Comparison::Equal, Value::Keyword(health.to_owned()));
                by_health.push((health, self.open_by(&namespace, &hurt, &kind).await?));
            }
            all.push(OpenRuns { namespace: namespace.view.name.clone(), by_type, by_health });
        }
        Ok(all)
    }

    async fn open_by(&self, namespace: &Arc<Namespace>, filter: &Filter, field: &Field) -> Result<Vec<(String, u64)>, Refusal> {
        let visibility = &self.shared.listing.visibility;
        let groups = visibility.count_by(namespace.id(), Some(filter), field).await.map_err(refused)?;
        let named = groups.into_iter().filter_map(|(value, runs)| match value {
            Some(Value::Keyword(name)) => Some((name, runs)),
            _ => None,
        });
        Ok(named.collect())
    }
}
