//! `AlertService`: rules are set, taken away and looked at; alerts are listed. No answer holds a secret, nor what of a URL may be one.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use sempre_api::sempre::v1::{
    Alert, AlertDelivery, AlertDeliveryState, AlertRuleInfo, AlertScope, AlertWebhook, DeleteAlertRuleRequest, DeleteAlertRuleResponse,
    ListAlertRulesRequest, ListAlertRulesResponse, ListAlertsRequest, ListAlertsResponse, SetAlertRuleRequest, SetAlertRuleResponse,
    TestAlertRuleRequest, TestAlertRuleResponse,
};
use sempre_core::{Refusal, Timestamp};
use tokio::sync::oneshot;

use super::{named, notices::page_size};
use crate::{
    Engine,
    alerts::{
        self,
        rule::{self, RULES_MAX, RuleRecord},
        state::{AlertRecord, Asked, State},
    },
    namespaces::Namespace,
    records::{Change, Shown},
};

/// In `SetAlertRuleRequest.version`: only if there is none.
const NEW: i64 = -1;

fn unknown(name: &str) -> Refusal {
    Refusal::NotFound(format!("there is no alert rule {name:?}"))
}

impl Engine {
    /// `AlertService.SetAlertRule`. `fresh` is the secret of a rule that had none and is given none.
    pub async fn set_alert_rule(&self, request: SetAlertRuleRequest, fresh: String) -> Result<SetAlertRuleResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let mut rule = request.rule.ok_or_else(|| Refusal::invalid("rule is not set on request"))?;
        // An address that is kept is checked like one that is given, and taken from the rule as it is when it is changed.
        let keeps_url = rule.webhook.as_ref().is_some_and(|webhook| webhook.url.is_empty());
        if keeps_url {
            let old = self.shared.alerts.rules.get(&alerts::key(namespace.id(), &rule.name));
            rule.webhook = with_url_of(rule.webhook, old.as_deref());
        }
        rule::check(&rule, &namespace, &self.shared.settings.limits, self.shared.notices.are_on())?;
        if rule.scope() == AlertScope::Unspecified {
            rule.set_scope(AlertScope::EachRun);
        }
        let (id, now) = (namespace.id(), self.shared.wall_now());
        let (new_uid, memory) = (self.new_id(), self.new_id());
        let declared = self.shared.alerts.declared.load(Ordering::Acquire);
        let after = self.shared.notices.shown();
        let decide = move |shown: &Shown<RuleRecord>| {
            let key = alerts::key(id, &rule.name);
            let old = shown.get(&key);
            let there = old.map_or(0, |old| old.version);
            old.map_or(Ok(()), |old| old.check_free(declared))?;
            match request.version {
                0 => {}
                NEW if old.is_some() => {
                    return Err(Refusal::FailedPrecondition(format!("there is an alert rule {:?} already", rule.name)));
                }
                NEW => {}
                wanted if wanted != there => {
                    return Err(Refusal::FailedPrecondition(format!("alert rule {:?} has version {there}, not {wanted}", rule.name)));
                }
                _ => {}
            }
            if old.is_none() && alerts::of_namespace(shown, id).count() >= RULES_MAX {
                return Err(Refusal::FailedPrecondition(format!("a namespace has at most {RULES_MAX} alert rules: take one away first")));
            }
            if keeps_url {
                rule.webhook = with_url_of(rule.webhook, old.map(|old| &**old));
                if rule.webhook.is_none() {
                    return Err(unknown(&rule.name));
                }
            }
            let mut made = String::new();
            if let Some(webhook) = rule.webhook.as_mut().filter(|webhook| webhook.secret.is_empty()) {
                let kept = old.and_then(|old| old.says().webhook).map(|old| old.secret);
                webhook.secret = kept.unwrap_or_else(|| {
                    made.clone_from(&fresh);
                    fresh
                });
            }
            let memory = match old.filter(|old| old.means(&rule)) {
                Some(old) => old.memory.clone(),
                None => memory,
            };
            let record = RuleRecord {
                memory,
                declared: false,
                uid: old.map_or(new_uid, |old| old.uid.clone()),
                version: there + 1,
                rule: Some(rule),
                created: old.map_or(now.0, |old| old.created),
                changed: now.0,
                after,
                namespace_id: Bytes::copy_from_slice(&id.0.0),
            };
            Ok((Change::put(key, record.clone()), (record, made)))
        };
        let (record, secret) = self.shared.alerts.rules.change(decide).await?;
        let info = rule_info(&self.shared.alerts.state(), &record, declared);
        Ok(SetAlertRuleResponse { rule: Some(info), secret })
    }

    /// `AlertService.DeleteAlertRule`.
    pub async fn delete_alert_rule(&self, request: DeleteAlertRuleRequest) -> Result<DeleteAlertRuleResponse, Refusal> {
        let id = self.namespace(&request.namespace)?.id();
        let declared = self.shared.alerts.declared.load(Ordering::Acquire);
        let decide = move |shown: &Shown<RuleRecord>| {
            let key = alerts::key(id, &request.name);
            shown.get(&key).ok_or_else(|| unknown(&request.name))?.check_free(declared)?;
            Ok((Change::remove(key), ()))
        };
        self.shared.alerts.rules.change(decide).await?;
        Ok(DeleteAlertRuleResponse {})
    }

    /// `AlertService.ListAlertRules`.
    pub fn list_alert_rules(&self, request: &ListAlertRulesRequest) -> Result<ListAlertRulesResponse, Refusal> {
        let id = self.namespace(&request.namespace)?.id();
        let records: Vec<Arc<RuleRecord>> = alerts::of_namespace(&self.shared.alerts.rules.read(), id).cloned().collect();
        let declared = self.shared.alerts.declared.load(Ordering::Acquire);
        let state = self.shared.alerts.state();
        let refused = self.shared.alerts.file_refused.load(Ordering::Acquire);
        Ok(ListAlertRulesResponse {
            rules: records.iter().map(|record| rule_info(&state, record, declared)).collect(),
            file_refused_time: (refused != 0).then(|| Timestamp(refused).to_api()),
        })
    }

    /// `AlertService.TestAlertRule`.
    pub async fn test_alert_rule(&self, request: TestAlertRuleRequest) -> Result<TestAlertRuleResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let rule = self.shared.alerts.rules.get(&alerts::key(namespace.id(), &request.name)).ok_or_else(|| unknown(&request.name))?;
        let (reply, told) = oneshot::channel();
        self.shared.alerts.ask(Asked { rule, reply })?;
        let alert = told.await.map_err(|_| {
            Refusal::Unavailable("the alert could not be written, or too many wait for this rule; see `sempre alert history`".into())
        })?;
        Ok(TestAlertRuleResponse { alert: Some(self.shown_alert(&namespace, &alert)) })
    }

    /// `AlertService.ListAlerts`.
    pub fn list_alerts(&self, request: &ListAlertsRequest) -> Result<ListAlertsResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let limit = page_size(request.page_size)?;
        let before = match request.next_page_token.as_ref() {
            [] => u64::MAX,
            token => u64::from_be_bytes(token.try_into().map_err(|_| Refusal::invalid("invalid next page token"))?),
        };
        let state = self.shared.alerts.state();
        let is_meant = |alert: &AlertRecord| {
            alert.namespace_id.as_ref() == namespace.id().0.0 && (request.rule.is_empty() || alert.rule == request.rule)
        };
        let mut found = state.alerts.range(..before).rev().map(|(_, alert)| alert).filter(|alert| is_meant(alert));
        let page: Vec<Arc<AlertRecord>> = found.by_ref().take(limit).cloned().collect();
        let next = page.last().filter(|_| found.next().is_some()).map(|last| Bytes::copy_from_slice(&last.number.to_be_bytes()));
        let delivery = |alert: &Arc<AlertRecord>| self.delivery(&namespace, &state, alert);
        Ok(ListAlertsResponse { alerts: page.iter().map(delivery).collect(), next_page_token: next.unwrap_or_default() })
    }

    /// Alerts that wait to be taken, of all rules.
    pub fn alerts_waiting(&self) -> u64 {
        self.shared.alerts.state().waiting.values().map(|waiting| waiting.len() as u64).sum()
    }

    fn shown_alert(&self, namespace: &Namespace, alert: &AlertRecord) -> Alert {
        let mut told = alert.to_api(self.cluster_id(), &namespace.view.name);
        named::shown(namespace, told.run.as_mut().and_then(|run| run.search_attributes.as_mut()));
        told
    }

    fn delivery(&self, namespace: &Namespace, state: &State, alert: &AlertRecord) -> AlertDelivery {
        let tries = state.tries.get(&alert.number).filter(|_| alert.ended == 0);
        let delivery = match (alert.ended, alert.given_up) {
            (0, _) => AlertDeliveryState::Waiting,
            (_, true) => AlertDeliveryState::GivenUp,
            (_, false) => AlertDeliveryState::Delivered,
        };
        AlertDelivery {
            alert: Some(self.shown_alert(namespace, alert)),
            state: delivery as i32,
            ended_time: (alert.ended != 0).then(|| Timestamp(alert.ended).to_api()),
            attempts: tries.map_or(0, |tries| i32::try_from(tries.count).unwrap_or(i32::MAX)),
            last_error: tries.map_or_else(|| alert.last_error.clone(), |tries| tries.error.clone()),
        }
    }
}

/// The webhook with the address of the rule as it was. `None`: there is no such rule, or it has none.
fn with_url_of(webhook: Option<AlertWebhook>, old: Option<&RuleRecord>) -> Option<AlertWebhook> {
    let url = old.and_then(|old| old.says().webhook)?.url;
    webhook.map(|webhook| AlertWebhook { url, ..webhook })
}

fn rule_info(state: &State, record: &RuleRecord, settings_declare: bool) -> AlertRuleInfo {
    let mut rule = record.says();
    if let Some(webhook) = &mut rule.webhook {
        webhook.secret.clear();
        webhook.url = rule::told_url(&webhook.url);
    }
    let uid = record.uid();
    let problem = state.problems.get(&uid).or_else(|| state.uncounted.get(&uid));
    AlertRuleInfo {
        rule: Some(rule),
        version: record.version,
        created_time: Some(Timestamp(record.created).to_api()),
        changed_time: Some(Timestamp(record.changed).to_api()),
        waiting: state.waits(uid) as i64,
        raised: state.raised.count(record.memory()) as i64,
        firing: state.standing.get(&uid).is_some_and(|standing| standing.told && standing.is_of(record)),
        last_error: state.trouble.get(&uid).map(|trouble| trouble.error.clone()).unwrap_or_default(),
        problem: problem.cloned().unwrap_or_default(),
        from_file: record.declared && settings_declare,
    }
}
