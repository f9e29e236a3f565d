//! Workflow rules of a namespace: `CreateWorkflowRule` and its like. What they do: `sempre_core::rules`.
//!
//! They are off unless `frontend.workflowRulesAPIsEnabled` says otherwise, as on Temporal's server; rules that there are go on.

use std::collections::BTreeMap;

use sempre_api::v1::{
    rules::WorkflowRule,
    workflowservice::{
        CreateWorkflowRuleRequest, CreateWorkflowRuleResponse, DeleteWorkflowRuleRequest, DeleteWorkflowRuleResponse,
        DescribeWorkflowRuleRequest, DescribeWorkflowRuleResponse, ListWorkflowRulesRequest, ListWorkflowRulesResponse,
    },
};
use sempre_core::{Refusal, Timestamp, rules};

use crate::{Engine, namespaces::Namespace};

const NO_ID: &str = "Workflow Rule ID is not set.";
const NOT_FOUND: &str = "Workflow Rule with this ID not Found.";

impl Engine {
    /// The namespace, if there are workflow rules here.
    fn with_workflow_rules(&self, namespace: &str, method: &str) -> Result<std::sync::Arc<Namespace>, Refusal> {
        let namespace = self.namespace(namespace)?;
        match self.shared.settings.workflow_rules {
            true => Ok(namespace),
            false => Err(Refusal::Unimplemented(format!("method {method} not supported"))),
        }
    }

    /// `CreateWorkflowRule`. No scan is made of runs that wait: `force_scan` changes nothing, as on Temporal's server.
    pub async fn create_workflow_rule(&self, request: CreateWorkflowRuleRequest) -> Result<CreateWorkflowRuleResponse, Refusal> {
        let namespace = self.with_workflow_rules(&request.namespace, "CreateWorkflowRule")?;
        let spec = request.spec.ok_or_else(|| Refusal::invalid("Rule Specification is not set."))?;
        if spec.id.is_empty() {
            return Err(Refusal::invalid(NO_ID));
        }
        if spec.id.len() > self.shared.settings.limits.id_length_max {
            return Err(Refusal::invalid("Workflow Rule Id length exceeds limit."));
        }
        let (now, max) = (self.now(), self.shared.settings.workflow_rules_max);
        let rule = WorkflowRule {
            create_time: Some(now.to_api()),
            spec: Some(spec.clone()),
            created_by_identity: request.identity,
            description: request.description,
        };
        rules::WorkflowRule::of(&rule, &namespace.attributes).map_err(|error| rules::refused(&error))?;
        let made = rule.clone();
        let change = move |record: &mut crate::namespaces::NamespaceRecord| {
            let rules = &mut record.workflow_rules;
            if rules.len() >= max {
                remove_oldest_expired(rules, now);
            }
            if rules.len() >= max {
                return Err(Refusal::invalid(format!("Workflow Rule limit exceeded. Max: {max}")));
            }
            if rules.contains_key(&spec.id) {
                return Err(Refusal::invalid("Workflow Rule with this ID already exists."));
            }
            rules.insert(spec.id.clone(), rule.clone());
            Ok(())
        };
        self.shared.namespaces.update(namespace.id(), change).await?;
        Ok(CreateWorkflowRuleResponse { rule: Some(made), job_id: String::new() })
    }

    /// `DescribeWorkflowRule`.
    pub fn describe_workflow_rule(&self, request: &DescribeWorkflowRuleRequest) -> Result<DescribeWorkflowRuleResponse, Refusal> {
        let namespace = self.with_workflow_rules(&request.namespace, "DescribeWorkflowRule")?;
        if request.rule_id.is_empty() {
            return Err(Refusal::invalid(NO_ID));
        }
        let rule = namespace.record.workflow_rules.get(&request.rule_id).cloned();
        Ok(DescribeWorkflowRuleResponse { rule: Some(rule.ok_or_else(|| Refusal::invalid(NOT_FOUND))?) })
    }

    /// `DeleteWorkflowRule`. What it has paused stays paused.
    pub async fn delete_workflow_rule(&self, request: DeleteWorkflowRuleRequest) -> Result<DeleteWorkflowRuleResponse, Refusal> {
        let namespace = self.with_workflow_rules(&request.namespace, "DeleteWorkflowRule")?;
        if request.rule_id.is_empty() {
            return Err(Refusal::invalid(NO_ID));
        }
        let change = move |record: &mut crate::namespaces::NamespaceRecord| {
            record.workflow_rules.remove(&request.rule_id).map(drop).ok_or_else(|| Refusal::invalid(NOT_FOUND))
        };
        self.shared.namespaces.update(namespace.id(), change).await?;
        Ok(DeleteWorkflowRuleResponse {})
    }

    /// `ListWorkflowRules`: by id, on one page.
    pub fn list_workflow_rules(&self, request: &ListWorkflowRulesRequest) -> Result<ListWorkflowRulesResponse, Refusal> {
        let namespace = self.with_workflow_rules(&request.namespace, "ListWorkflowRules")?;
        let rules = namespace.record.workflow_rules.values().cloned().collect();
        Ok(ListWorkflowRulesResponse { rules, ..Default::default() })
    }
}

/// Makes room for a new one.
fn remove_oldest_expired(rules: &mut BTreeMap<String, WorkflowRule>, now: Timestamp) {
    let expired = rules.iter().filter_map(|(id, rule)| {
        let at = Timestamp::from_api(rule.spec.as_ref()?.expiration_time.as_ref()?);
        (at < now).then_some((at, id))
    });
    if let Some((_, id)) = expired.min() {
        let id = id.clone();
        rules.remove(&id);
    }
}
