//! The registry of search attributes of a namespace (spec 06 §4, §6).

use sempre_api::v1::{
    enums::IndexedValueType::{self, Bool, Datetime, Double, Int, Keyword, KeywordList, Text},
    operatorservice::{
        AddSearchAttributesRequest, AddSearchAttributesResponse, ListSearchAttributesRequest, ListSearchAttributesResponse,
        RemoveSearchAttributesRequest, RemoveSearchAttributesResponse,
    },
};
use sempre_core::Refusal;

use crate::Engine;

/// Attributes that every run has, and those that only the server and SDKs define.
const SYSTEM: &[(&str, IndexedValueType)] = &[
    ("WorkflowId", Keyword),
    ("RunId", Keyword),
    ("WorkflowType", Keyword),
    ("TaskQueue", Keyword),
    ("ExecutionStatus", Keyword),
    ("ParentWorkflowId", Keyword),
    ("ParentRunId", Keyword),
    ("RootWorkflowId", Keyword),
    ("RootRunId", Keyword),
    ("StartTime", Datetime),
    ("ExecutionTime", Datetime),
    ("CloseTime", Datetime),
    ("HistoryLength", Int),
    ("HistorySizeBytes", Int),
    ("ExecutionDuration", Int),
    ("StateTransitionCount", Int),
    ("TemporalChangeVersion", KeywordList),
    ("BinaryChecksums", KeywordList),
    ("BuildIds", KeywordList),
    ("TemporalPauseInfo", KeywordList),
    ("TemporalReportedProblems", KeywordList),
    ("TemporalUsedWorkerDeploymentVersions", KeywordList),
    ("BatcherNamespace", Keyword),
    ("BatcherUser", Keyword),
    ("TemporalScheduledById", Keyword),
    ("TemporalScheduledStartTime", Datetime),
    ("TemporalSchedulePaused", Bool),
    ("TemporalNamespaceDivision", Keyword),
    ("TemporalWorkerDeployment", Keyword),
    ("TemporalWorkerDeploymentVersion", Keyword),
    ("TemporalWorkflowVersioningBehavior", Keyword),
];

const TYPES: [IndexedValueType; 7] = [Text, Keyword, Int, Double, Bool, Datetime, KeywordList];

fn is_system(name: &str) -> bool {
    SYSTEM.iter().any(|(system, _)| *system == name)
}

fn not_set() -> Refusal {
    Refusal::invalid("SearchAttributes are not set on request.")
}

impl Engine {
    /// `OperatorService.AddSearchAttributes`. Names that exist already are skipped.
    pub async fn add_search_attributes(&self, request: AddSearchAttributesRequest) -> Result<AddSearchAttributesResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        if request.search_attributes.is_empty() {
            return Err(not_set());
        }
        for (name, kind) in &request.search_attributes {
            if is_system(name) {
                return Err(Refusal::invalid(format!("Search attribute {name} is reserved by system.")));
            }
            if !TYPES.iter().any(|known| *known as i32 == *kind) {
                return Err(Refusal::invalid(format!("Unknown search attribute type: {kind}.")));
            }
        }
        self.shared
            .namespaces
            .update(namespace.id(), |record| {
                for (name, kind) in request.search_attributes {
                    record.search_attributes.entry(name).or_insert(kind);
                }
                Ok(())
            })
            .await?;
        Ok(AddSearchAttributesResponse::default())
    }

    /// `OperatorService.RemoveSearchAttributes`.
    pub async fn remove_search_attributes(
        &self,
        request: RemoveSearchAttributesRequest,
    ) -> Result<RemoveSearchAttributesResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        if request.search_attributes.is_empty() {
            return Err(not_set());
        }
        let system: Vec<&str> = request.search_attributes.iter().map(String::as_str).filter(|name| is_system(name)).collect();
        if !system.is_empty() {
            return Err(Refusal::invalid(format!("Unable to remove non-custom search attributes: {}.", system.join(", "))));
        }
        self.shared
            .namespaces
            .update(namespace.id(), |record| {
                for name in &request.search_attributes {
                    if record.search_attributes.remove(name).is_none() {
                        return Err(Refusal::not_found(format!("Search attribute {name} doesn't exist.")));
                    }
                }
                Ok(())
            })
            .await?;
        Ok(RemoveSearchAttributesResponse::default())
    }

    /// `OperatorService.ListSearchAttributes`.
    pub async fn list_search_attributes(&self, request: ListSearchAttributesRequest) -> Result<ListSearchAttributesResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        Ok(ListSearchAttributesResponse {
            custom_attributes: namespace.record.search_attributes.clone(),
            system_attributes: SYSTEM.iter().map(|(name, kind)| ((*name).to_owned(), *kind as i32)).collect(),
            ..Default::default()
        })
    }
}
