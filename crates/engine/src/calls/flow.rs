//! `FlowService`: rules are set, taken away and looked at; starts that wait for them are listed.

use bytes::Bytes;
use prost::Message;
use sempre_api::{
    sempre::v1::{
        DeleteFlowRuleRequest, DeleteFlowRuleResponse, DescribeFlowRuleRequest, DescribeFlowRuleResponse, DescribeWaitingStartRequest,
        DescribeWaitingStartResponse, FlowKeyStatus, FlowReason, FlowRule, FlowRuleInfo, ListFlowRulesRequest, ListFlowRulesResponse,
        ListWaitingStartsRequest, ListWaitingStartsResponse, SetFlowRuleRequest, SetFlowRuleResponse, WaitingStart,
    },
    v1::common::WorkflowExecution,
};
use sempre_core::{
    Refusal, RunId, Timestamp,
    flow::{
        RuleRecord,
        lines::Why,
        report::{From, Reason, Standing},
        rule,
    },
    ids::Uuid,
    visibility,
};

use super::workflow_of;
use crate::{
    Engine, flow,
    namespaces::Namespace,
    records::{Change, Shown},
    shard::message::Ask,
};

/// Values of a rule's key that are told.
const KEYS_TOLD: usize = 100;
const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;
/// In `SetFlowRuleRequest.version`: only if there is none.
const NEW: i64 = -1;

/// Where a list goes on.
#[derive(Clone, PartialEq, Message)]
struct Page {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(int64, tag = "2")]
    since: i64,
    #[prost(bytes = "bytes", tag = "3")]
    run: Bytes,
}

fn unknown(name: &str) -> Refusal {
    Refusal::NotFound(format!("there is no flow rule {name:?}"))
}

/// Search attributes by field, as runs have them.
fn to_fields(namespace: &Namespace, rule: &mut FlowRule) -> Result<(), Refusal> {
    let translate = |name: &mut String| {
        if name.is_empty() {
            return Ok(());
        }
        if namespace.attributes.kind(name).is_none() && visibility::predefined(name).is_none() {
            return Err(Refusal::InvalidArgument(format!("flow rule: namespace {} has no search attribute {name:?}", namespace.view.name)));
        }
        *name = namespace.attributes.field(name).to_owned();
        Ok(())
    };
    if let Some(conditions) = &mut rule.r#match {
        translate(&mut conditions.search_attribute)?;
    }
    rule.key.as_mut().map_or(Ok(()), |key| translate(&mut key.search_attribute))
}

/// Search attributes as clients call them.
fn to_names(namespace: &Namespace, rule: &mut FlowRule) {
    if let Some(conditions) = &mut rule.r#match {
        conditions.search_attribute = namespace.attributes.name(&conditions.search_attribute).to_owned();
    }
    if let Some(key) = &mut rule.key {
        key.search_attribute = namespace.attributes.name(&key.search_attribute).to_owned();
    }
}

fn waiting(standing: Standing) -> WaitingStart {
    let reason = match standing.reason {
        Reason::Blocked(Why::MaxOpen) => FlowReason::MaxOpen,
        Reason::Blocked(Why::Singleton) => FlowReason::Singleton,
        Reason::Blocked(Why::Rate) => FlowReason::Rate,
        Reason::Blocked(Why::Debounce) => FlowReason::Debounce,
        Reason::Loading => FlowReason::Loading,
        Reason::Going => FlowReason::Going,
        Reason::Replaced => FlowReason::Replaced,
    };
    let by = standing.by.map(|run| run.to_api()).unwrap_or_default();
    WaitingStart {
        run_id: standing.run.run.to_string(),
        workflow_id: standing.run.workflow.workflow_id,
        waiting_since: Some(standing.since.to_api()),
        rule: standing.rule,
        key: standing.key,
        place: standing.place as i64,
        reason: reason as i32,
        not_before: standing.until.map(Timestamp::to_api),
        blocked_by_workflow_id: by.workflow_id,
        blocked_by_run_id: by.run_id,
        rules: standing.rules,
    }
}

impl Engine {
    /// `FlowService.SetFlowRule`.
    pub async fn set_flow_rule(&self, request: SetFlowRuleRequest) -> Result<SetFlowRuleResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let mut rule = request.rule.ok_or_else(|| Refusal::invalid("rule is not set on request"))?;
        rule::check(&rule)?;
        to_fields(&namespace, &mut rule)?;
        let (id, now) = (namespace.id(), self.shared.now());
        let uid = Uuid::parse(&self.with_schedule_ids(sempre_core::IdSource::uuid)).unwrap_or_default();
        let decide = move |shown: &Shown<RuleRecord>| {
            let key = flow::key(id, &rule.name);
            let old = shown.get(&key);
            let there = old.map_or(0, |old| old.version);
            match request.version {
                0 => {}
                NEW if old.is_none() => {}
                NEW => return Err(Refusal::AlreadyExists(format!("there is a flow rule {:?} already", rule.name))),
                version if version == there => {}
                version => {
                    return Err(Refusal::FailedPrecondition(format!(
                        "flow rule {:?} has version {there}, not {version}: read it again",
                        rule.name
                    )));
                }
            }
            if old.is_none() && flow::of_namespace(shown, id).count() >= rule::RULES_MAX {
                let message = format!("a namespace has at most {} flow rules: take one away first", rule::RULES_MAX);
                return Err(Refusal::FailedPrecondition(message));
            }
            let record = RuleRecord {
                uid: old.map_or_else(|| Bytes::copy_from_slice(&uid.0), |old| old.uid.clone()),
                version: there + 1,
                rule: Some(rule),
                created: old.map_or(now.0, |old| old.created),
                changed: now.0,
            };
            Ok((Change::put(key, record.clone()), record))
        };
        let record = self.shared.flow_rules.change(decide).await?;
        Ok(SetFlowRuleResponse { rule: Some(self.rule_info(&namespace, &record)) })
    }

    /// `FlowService.DeleteFlowRule`.
    pub async fn delete_flow_rule(&self, request: DeleteFlowRuleRequest) -> Result<DeleteFlowRuleResponse, Refusal> {
        let id = self.namespace(&request.namespace)?.id();
        let decide = move |shown: &Shown<RuleRecord>| {
            let key = flow::key(id, &request.name);
            if !shown.contains_key(&key) {
                return Err(unknown(&request.name));
            }
            Ok((Change::remove(key), ()))
        };
        self.shared.flow_rules.change(decide).await?;
        Ok(DeleteFlowRuleResponse {})
    }

    /// `FlowService.ListFlowRules`.
    pub fn list_flow_rules(&self, request: &ListFlowRulesRequest) -> Result<ListFlowRulesResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let records: Vec<_> = flow::of_namespace(&self.shared.flow_rules.read(), namespace.id()).cloned().collect();
        Ok(ListFlowRulesResponse { rules: records.iter().map(|record| self.rule_info(&namespace, record)).collect() })
    }

    /// `FlowService.DescribeFlowRule`.
    pub fn describe_flow_rule(&self, request: &DescribeFlowRuleRequest) -> Result<DescribeFlowRuleResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let record = self.rule_record(&namespace, &request.name)?;
        let keys = self.shared.flow.lines().keys(uid_of(&record), KEYS_TOLD);
        let keys = keys.into_iter().map(|(key, open, waiting)| FlowKeyStatus { key, open: open as i64, waiting: waiting as i64 });
        Ok(DescribeFlowRuleResponse { rule: Some(self.rule_info(&namespace, &record)), keys: keys.collect() })
    }

    /// `FlowService.ListWaitingStarts`.
    pub fn list_waiting_starts(&self, request: &ListWaitingStartsRequest) -> Result<ListWaitingStartsResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let record = self.rule_record(&namespace, &request.rule)?;
        let from = match request.next_page_token.is_empty() {
            true => None,
            false => Some(page_of(&request.next_page_token).ok_or_else(|| Refusal::invalid("invalid next page token"))?),
        };
        let max = match usize::try_from(request.page_size) {
            Ok(0) => PAGE_DEFAULT,
            Ok(max) if max <= PAGE_MAX => max,
            _ => return Err(Refusal::invalid(format!("page_size is 0 to {PAGE_MAX}"))),
        };
        let (found, next) = self.shared.flow.lines().waiting(self.shared.now(), uid_of(&record), from.as_ref(), max);
        let next_page_token = next.map_or_else(Bytes::new, |next| {
            Page { key: next.key, since: next.since.0, run: Bytes::copy_from_slice(&next.run.0.0) }.encode_to_vec().into()
        });
        Ok(ListWaitingStartsResponse { starts: found.into_iter().map(waiting).collect(), next_page_token })
    }

    /// `FlowService.DescribeWaitingStart`.
    pub async fn describe_waiting_start(&self, request: DescribeWaitingStartRequest) -> Result<DescribeWaitingStartResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let execution = WorkflowExecution { workflow_id: request.workflow_id, run_id: request.run_id };
        let (workflow, run) = workflow_of(namespace.id(), Some(execution))?;
        let run = self.shared.ask(workflow, run, Ask::Describe).await?.run;
        let standing = self.shared.flow.lines().standing(self.shared.now(), run);
        Ok(DescribeWaitingStartResponse { start: standing.map(waiting) })
    }

    fn rule_record(&self, namespace: &Namespace, name: &str) -> Result<std::sync::Arc<RuleRecord>, Refusal> {
        self.shared.flow_rules.get(&flow::key(namespace.id(), name)).ok_or_else(|| unknown(name))
    }

    fn rule_info(&self, namespace: &Namespace, record: &RuleRecord) -> FlowRuleInfo {
        let mut rule = record.rule.clone().unwrap_or_default();
        to_names(namespace, &mut rule);
        let lines = self.shared.flow.lines();
        let counts = lines.counts(uid_of(record));
        FlowRuleInfo {
            rule: Some(rule),
            version: record.version,
            created_time: Some(Timestamp(record.created).to_api()),
            changed_time: Some(Timestamp(record.changed).to_api()),
            open: counts.open as i64,
            waiting: counts.waiting as i64,
            delayed: counts.delayed as i64,
            keys: counts.keys as i64,
            loading: lines.is_loading(),
        }
    }
}

fn uid_of(record: &RuleRecord) -> Uuid {
    Uuid(record.uid.as_ref().try_into().unwrap_or_default())
}

pub(super) fn page_of(token: &Bytes) -> Option<From> {
    let page = Page::decode(token.clone()).ok()?;
    Some(From { key: page.key, since: Timestamp(page.since), run: RunId(Uuid(page.run.as_ref().try_into().ok()?)) })
}
