//! Lists and counts of runs (spec 06 §2).
//!
//! A page's token is the place of its last run in the list order. The next page begins behind that place, whatever was
//! started, closed or deleted in between; a token that somebody made up is just another place in the same namespace.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use prost::Message;
use sempre_api::v1::{
    common::Payload,
    enums::{ResourceExhaustedCause, WorkflowExecutionStatus},
    filter::StartTimeFilter,
    workflow::WorkflowExecutionInfo,
    workflowservice::{
        CountWorkflowExecutionsRequest, CountWorkflowExecutionsResponse, GetSearchAttributesRequest, GetSearchAttributesResponse,
        ListArchivedWorkflowExecutionsRequest, ListArchivedWorkflowExecutionsResponse, ListClosedWorkflowExecutionsRequest,
        ListClosedWorkflowExecutionsResponse, ListOpenWorkflowExecutionsRequest, ListOpenWorkflowExecutionsResponse,
        ListWorkflowExecutionsRequest, ListWorkflowExecutionsResponse, ScanWorkflowExecutionsRequest, ScanWorkflowExecutionsResponse,
        count_workflow_executions_response::AggregationGroup, list_closed_workflow_executions_request as closed,
        list_open_workflow_executions_request as open,
    },
};
use sempre_core::{
    NamespaceId, Refusal, RunId, Timestamp,
    ids::Uuid,
    visibility::{self, Comparison, Field, Filter, ParseOptions, Query, Record, SystemField, Value, parse},
};

use super::named;
use crate::{
    Engine,
    namespaces::Namespace,
    rebuild::Rebuild,
    shared::STOPPING,
    visibility::{IndexError, Position},
};

/// Runs of a page (`frontend.visibilityMaxPageSize`).
const PAGE_MAX: i32 = 1000;
/// Bytes of a page, unless its only run has more: memos can be large, and clients take messages of some length only.
const PAGE_BYTES_MAX: usize = 16 << 20;
const INVALID_TOKEN: &str = "Invalid NextPageToken.";
const NOT_ARCHIVED: &str = "Cluster is not configured for visibility archival.";
const EARLIEST_AFTER_LATEST: &str = "EarliestTime in StartTimeFilter should not be larger than LatestTime.";
const STATUS_NOT_CLOSED: &str = "StatusFilter must be specified and must be not Running.";

/// A page of runs, see [`Engine::visit_runs`].
#[derive(Clone, Debug, Default)]
pub struct Runs {
    /// The runs, in list order: open ones first, the newest start first; then closed ones, the newest close first.
    pub records: Vec<Arc<Record>>,
    /// Where the next page begins; `None` when there is none.
    pub next: Option<Position>,
}

/// A page token.
#[derive(Clone, PartialEq, Message)]
struct PageToken {
    #[prost(int64, tag = "1")]
    close: i64,
    #[prost(int64, tag = "2")]
    start: i64,
    #[prost(bytes = "bytes", tag = "3")]
    run: Bytes,
}

pub(super) fn token(position: &Position) -> Bytes {
    let run = Bytes::copy_from_slice(&position.run.0.0);
    PageToken { close: position.close, start: position.start, run }.encode_to_vec().into()
}

pub(super) fn position(token: &Bytes) -> Result<Option<Position>, Refusal> {
    if token.is_empty() {
        return Ok(None);
    }
    let invalid = || Refusal::invalid(INVALID_TOKEN);
    let token = PageToken::decode(token.clone()).map_err(|_| invalid())?;
    let run = <[u8; 16]>::try_from(token.run.as_ref()).map_err(|_| invalid())?;
    Ok(Some(Position { close: token.close, start: token.start, run: RunId(Uuid(run)) }))
}

pub(crate) fn refused(error: IndexError) -> Refusal {
    match error {
        IndexError::TooComplex => Refusal::InvalidArgument(format!("invalid query: operation is not supported: {error}")),
        IndexError::Busy => Refusal::ResourceExhausted { cause: ResourceExhaustedCause::ConcurrentLimit, message: error.to_string() },
        IndexError::TooLong { .. } => Refusal::DeadlineExceeded(error.to_string()),
        IndexError::Closed => Refusal::Unavailable(STOPPING.into()),
        IndexError::NeedsRebuild { .. } | IndexError::NewerFormat { .. } | IndexError::Failed { .. } => {
            tracing::error!(%error, "a list or count of runs failed");
            Refusal::Unavailable(error.to_string())
        }
    }
}

pub(super) fn page_size(size: i32) -> usize {
    let size = if size <= 0 || size > PAGE_MAX { PAGE_MAX } else { size };
    usize::try_from(size).unwrap_or_default()
}

fn system(field: SystemField) -> Field {
    Field::System(field)
}

fn equal(field: SystemField, value: Value) -> Filter {
    Filter::Compare(system(field), Comparison::Equal, value)
}

fn keyword(field: SystemField, value: String) -> Filter {
    equal(field, Value::Keyword(value))
}

fn status(status: WorkflowExecutionStatus) -> Filter {
    equal(SystemField::ExecutionStatus, Value::Int(status as i64))
}

/// The time range of the old lists.
fn within(field: SystemField, range: Option<StartTimeFilter>) -> Result<Option<Filter>, Refusal> {
    let Some(StartTimeFilter { earliest_time, latest_time }) = range else { return Ok(None) };
    let low = earliest_time.as_ref().map_or(Timestamp(0), Timestamp::from_api);
    let high = latest_time.as_ref().map_or(Timestamp(i64::MAX), Timestamp::from_api);
    if low > high {
        return Err(Refusal::invalid(EARLIEST_AFTER_LATEST));
    }
    Ok(Some(Filter::Between { field: system(field), low: Value::Datetime(low), high: Value::Datetime(high), negated: false }))
}

fn of_execution(filter: sempre_api::v1::filter::WorkflowExecutionFilter) -> Vec<Filter> {
    let mut all = vec![keyword(SystemField::WorkflowId, filter.workflow_id)];
    if !filter.run_id.is_empty() {
        all.push(keyword(SystemField::RunId, filter.run_id));
    }
    all
}

/// A value of a group, as search attributes are encoded.
pub(super) fn group_value(field: &Field, value: Option<Value>) -> Payload {
    let (encoding, data) = match value {
        None => ("binary/null", Vec::new()),
        Some(Value::Int(status)) if *field == system(SystemField::ExecutionStatus) => {
            let name = i32::try_from(status).ok().and_then(visibility::status_name).unwrap_or("Unspecified");
            ("json/plain", format!("\"{name}\"").into_bytes())
        }
        Some(Value::Keyword(text) | Value::Text(text)) => ("json/plain", visibility::json_string(&text).into_bytes()),
        Some(Value::Int(n)) => ("json/plain", n.to_string().into_bytes()),
        Some(Value::Double(n)) => ("json/plain", n.to_string().into_bytes()),
        Some(Value::Bool(b)) => ("json/plain", b.to_string().into_bytes()),
        Some(Value::Datetime(at)) => ("json/plain", visibility::json_string(&visibility::format_datetime(at)).into_bytes()),
        Some(Value::KeywordList(_)) => ("binary/null", Vec::new()),
    };
    let metadata = BTreeMap::from([
        ("encoding".to_owned(), Bytes::from_static(encoding.as_bytes())),
        ("type".to_owned(), Bytes::from_static(field.kind().name().as_bytes())),
    ]);
    Payload { metadata, data: data.into(), ..Default::default() }
}

impl Engine {
    /// Runs of a namespace that a list query selects, a page at a time: for whatever acts on many runs.
    ///
    /// `query` is what ListWorkflowExecutions takes; empty means all. The first page begins with `after` of `None`, the
    /// next with [`Runs::next`] of the page before. What changes in between is seen where it is then: a run that is
    /// started behind the place is not seen, a run that is closed meanwhile may be seen twice. All that was answered
    /// before the call is seen.
    pub async fn visit_runs(&self, namespace: &str, query: &str, after: Option<Position>, limit: usize) -> Result<Runs, Refusal> {
        self.selected(namespace, query, ParseOptions::default(), after, limit).await
    }

    /// As [`Engine::visit_runs`], of what the options let the query select.
    pub(crate) async fn selected(
        &self,
        namespace: &str,
        query: &str,
        options: ParseOptions,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Runs, Refusal> {
        let namespace = self.namespace(namespace)?;
        let query = self.as_of_now(namespace.id(), parse(query, &*namespace, options)?);
        self.runs(namespace.id(), query.filter.as_ref(), after, limit).await
    }

    /// How many runs a list query selects.
    pub async fn count_runs(&self, namespace: &str, query: &str) -> Result<u64, Refusal> {
        self.count_selected(namespace, query, ParseOptions::default()).await
    }

    /// As [`Engine::count_runs`], of what the options let the query select.
    pub(crate) async fn count_selected(&self, namespace: &str, query: &str, options: ParseOptions) -> Result<u64, Refusal> {
        let namespace = self.namespace(namespace)?;
        let query = self.as_of_now(namespace.id(), parse(query, &*namespace, options)?);
        Rebuild::ready(&self.shared).await?;
        self.shared.listing.visibility.count(namespace.id(), query.filter.as_ref()).await.map_err(refused)
    }

    pub(crate) async fn runs(
        &self,
        namespace: NamespaceId,
        filter: Option<&Filter>,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Runs, Refusal> {
        Rebuild::ready(&self.shared).await?;
        let records = self.shared.listing.visibility.list(namespace, filter, after.as_ref(), limit).await.map_err(refused)?;
        let next = records.last().filter(|_| records.len() >= limit).map(|record| Position::of(record));
        Ok(Runs { records, next })
    }

    async fn page(
        &self,
        namespace: &Namespace,
        query: Query,
        page: i32,
        after: &Bytes,
    ) -> Result<(Vec<WorkflowExecutionInfo>, Bytes), Refusal> {
        let after = position(after)?;
        let runs = self.runs(namespace.id(), query.filter.as_ref(), after, page_size(page)).await?;
        let (mut shown, mut bytes, mut next) = (Vec::with_capacity(runs.records.len()), 0, runs.next);
        for record in &runs.records {
            let mut info = record.to_api();
            named::shown(namespace, info.search_attributes.as_mut());
            bytes += info.encoded_len();
            if bytes > PAGE_BYTES_MAX && !shown.is_empty() {
                next = runs.records.get(shown.len() - 1).map(|last| Position::of(last));
                break;
            }
            shown.push(info);
        }
        Ok((shown, next.as_ref().map(token).unwrap_or_default()))
    }

    /// `ListWorkflowExecutions`.
    pub async fn list_workflows(&self, request: ListWorkflowExecutionsRequest) -> Result<ListWorkflowExecutionsResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let query = self.as_of_now(namespace.id(), parse(&request.query, &*namespace, ParseOptions::default())?);
        let (executions, next_page_token) = self.page(&namespace, query, request.page_size, &request.next_page_token).await?;
        Ok(ListWorkflowExecutionsResponse { executions, next_page_token })
    }

    /// `ScanWorkflowExecutions`: the same list.
    pub async fn scan_workflows(&self, request: ScanWorkflowExecutionsRequest) -> Result<ScanWorkflowExecutionsResponse, Refusal> {
        let ScanWorkflowExecutionsRequest { namespace, page_size, next_page_token, query } = request;
        let list = self.list_workflows(ListWorkflowExecutionsRequest { namespace, page_size, next_page_token, query }).await?;
        Ok(ScanWorkflowExecutionsResponse { executions: list.executions, next_page_token: list.next_page_token })
    }

    /// `CountWorkflowExecutions`.
    pub async fn count_workflows(&self, request: CountWorkflowExecutionsRequest) -> Result<CountWorkflowExecutionsResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let query = parse(&request.query, &*namespace, ParseOptions { groups: true, ..Default::default() })?;
        let query = self.as_of_now(namespace.id(), query);
        let (count, groups) = self.counted(namespace.id(), &query).await?;
        let group = |(value, count)| AggregationGroup { group_values: vec![value], count };
        Ok(CountWorkflowExecutionsResponse { count, groups: groups.into_iter().map(group).collect() })
    }

    /// How many runs a query selects, and how many of each group that it asks for.
    pub(super) async fn counted(&self, namespace: NamespaceId, query: &Query) -> Result<(i64, Vec<(Payload, i64)>), Refusal> {
        Rebuild::ready(&self.shared).await?;
        let (visibility, filter) = (&self.shared.listing.visibility, query.filter.as_ref());
        let Some(field) = &query.group_by else {
            let count = visibility.count(namespace, filter).await.map_err(refused)?;
            return Ok((count as i64, Vec::new()));
        };
        let groups = visibility.count_by(namespace, filter, field).await.map_err(refused)?;
        let count = groups.iter().map(|(_, runs)| *runs as i64).sum();
        Ok((count, groups.into_iter().map(|(value, runs)| (group_value(field, value), runs as i64)).collect()))
    }

    /// `ListOpenWorkflowExecutions`.
    pub async fn list_open_workflows(
        &self,
        request: ListOpenWorkflowExecutionsRequest,
    ) -> Result<ListOpenWorkflowExecutionsResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let mut all = vec![status(WorkflowExecutionStatus::Running)];
        all.extend(within(SystemField::StartTime, request.start_time_filter)?);
        match request.filters {
            Some(open::Filters::ExecutionFilter(filter)) => all.extend(of_execution(filter)),
            Some(open::Filters::TypeFilter(filter)) => all.push(keyword(SystemField::WorkflowType, filter.name)),
            None => {}
        }
        let query = old_list(&namespace, all)?;
        let (executions, next_page_token) = self.page(&namespace, query, request.maximum_page_size, &request.next_page_token).await?;
        Ok(ListOpenWorkflowExecutionsResponse { executions, next_page_token })
    }

    /// `ListClosedWorkflowExecutions`.
    pub async fn list_closed_workflows(
        &self,
        request: ListClosedWorkflowExecutionsRequest,
    ) -> Result<ListClosedWorkflowExecutionsResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let mut all = Vec::new();
        all.extend(within(SystemField::CloseTime, request.start_time_filter)?);
        match request.filters {
            Some(closed::Filters::StatusFilter(filter)) => match filter.status() {
                WorkflowExecutionStatus::Unspecified | WorkflowExecutionStatus::Running => {
                    return Err(Refusal::invalid(STATUS_NOT_CLOSED));
                }
                closed => all.push(status(closed)),
            },
            Some(closed::Filters::ExecutionFilter(filter)) => all.extend(of_execution(filter)),
            Some(closed::Filters::TypeFilter(filter)) => all.push(keyword(SystemField::WorkflowType, filter.name)),
            None => {}
        }
        // A paused run has another status than Running and is open.
        all.push(Filter::IsNull { field: system(SystemField::CloseTime), negated: true });
        let query = old_list(&namespace, all)?;
        let (executions, next_page_token) = self.page(&namespace, query, request.maximum_page_size, &request.next_page_token).await?;
        Ok(ListClosedWorkflowExecutionsResponse { executions, next_page_token })
    }

    /// `ListArchivedWorkflowExecutions`: nothing is archived.
    pub async fn list_archived_workflows(
        &self,
        request: ListArchivedWorkflowExecutionsRequest,
    ) -> Result<ListArchivedWorkflowExecutionsResponse, Refusal> {
        self.namespace(&request.namespace)?;
        Err(Refusal::invalid(NOT_ARCHIVED))
    }

    /// `GetSearchAttributes`: names no namespace, so those that every namespace has.
    pub fn search_attributes_of_all(&self, _: GetSearchAttributesRequest) -> GetSearchAttributesResponse {
        let system = visibility::SYSTEM.iter().map(|(name, _, kind)| (*name, *kind));
        let predefined = visibility::PREDEFINED.iter().map(|(name, kind, _)| (*name, *kind));
        let keys = system.chain(predefined).map(|(name, kind)| (name.to_owned(), kind.to_api() as i32)).collect();
        GetSearchAttributesResponse { keys }
    }
}

/// Of users' workflows those that pass all of these.
fn old_list(namespace: &Namespace, all: Vec<Filter>) -> Result<Query, Refusal> {
    let mut query = parse("", namespace, ParseOptions::default())?;
    query.filter = Some(Filter::And(query.filter.into_iter().chain(all).collect()));
    Ok(query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_and_others_are_refused() {
        let place = Position { close: i64::MAX, start: 7, run: RunId(Uuid([9; 16])) };
        assert_eq!(position(&token(&place)), Ok(Some(place)));
        assert_eq!(position(&Bytes::new()), Ok(None));
        for bytes in [&b"x"[..], b"\x08\x01", b"\x1a\x02ab"] {
            assert_eq!(position(&Bytes::from_static(bytes)), Err(Refusal::invalid("Invalid NextPageToken.")));
        }
    }

    #[test]
    fn page_sizes() {
        assert_eq!([-1, 0, 1, 1000, 1001].map(page_size), [1000, 1000, 1, 1000, 1000]);
    }
}
