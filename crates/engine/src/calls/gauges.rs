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
    /// By what hurts them (`SempreHealth`); those that are well are not among them.
    pub by_health: Vec<(String, u64)>,
}

impl Engine {
    /// The task queues that are in memory, which all are that have tasks or pollers.
    pub fn queue_summaries(&self) -> Vec<QueueSummary> {
        self.shared.matching.all_queues()
    }

    /// Open runs, of at most 50 namespaces. Refused while the index is made anew.
    pub async fn open_runs(&self) -> Result<Vec<OpenRuns>, Refusal> {
        Rebuild::ready(&self.shared).await?;
        let open = Filter::Compare(
            Field::System(SystemField::ExecutionStatus),
            Comparison::Equal,
            Value::Int(WorkflowExecutionStatus::Running as i64),
        );
        let mut all = Vec::new();
        for namespace in self.shared.namespaces.first(NAMESPACES_MAX) {
            let by_type = self.open_by(&namespace, &open, &Field::System(SystemField::WorkflowType)).await?;
            let health = Field::Attribute { name: HEALTH.to_owned(), kind: AttributeType::Keyword };
            // Closed runs have none. Asked for by value, which an index answers.
            let values = HEALTHS.map(|kind| Value::Keyword(kind.to_owned())).into();
            let hurt = Filter::In { field: health.clone(), values, negated: false };
            let by_health = self.open_by(&namespace, &hurt, &health).await?;
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
