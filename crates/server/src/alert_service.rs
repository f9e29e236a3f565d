//! AlertService: what happens to runs, and rules about whom to tell (`crates/api/proto/sempre/v1/alerts.proto`).

use sempre_api::sempre::v1::{
    DeleteAlertRuleRequest, DeleteAlertRuleResponse, ListAlertRulesRequest, ListAlertRulesResponse, ListAlertsRequest, ListAlertsResponse,
    ListNoticesRequest, ListNoticesResponse, SetAlertRuleRequest, SetAlertRuleResponse, TestAlertRuleRequest, TestAlertRuleResponse,
    alert_service_server::AlertService,
};
use sempre_core::Refusal;
use tonic::Request;

use crate::{
    alerts,
    frontend::{Answer, Frontend, answer},
    status,
};

#[tonic::async_trait]
impl AlertService for Frontend {
    async fn list_notices(&self, request: Request<ListNoticesRequest>) -> Answer<ListNoticesResponse> {
        let call = self.admit(request).await?;
        let _open = call.body.wait.then(|| self.long(&call.body, "list_notices")).transpose()?;
        let deadline = call.deadline();
        answer(self.engine.list_notices(call.body, deadline).await)
    }

    async fn set_alert_rule(&self, request: Request<SetAlertRuleRequest>) -> Answer<SetAlertRuleResponse> {
        let call = self.admit(request).await?;
        let secret = call.body.rule.as_ref().and_then(|rule| rule.webhook.as_ref()).map_or("", |webhook| &webhook.secret);
        if !secret.is_empty() {
            alerts::check_secret(secret).map_err(status::from_refusal)?;
        }
        let fresh = alerts::new_secret().ok_or_else(|| Refusal::Unavailable("the system gives no random bits".into()));
        let fresh = fresh.map_err(status::from_refusal)?;
        answer(self.engine.set_alert_rule(call.body, fresh).await)
    }

    async fn delete_alert_rule(&self, request: Request<DeleteAlertRuleRequest>) -> Answer<DeleteAlertRuleResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.delete_alert_rule(call.body).await)
    }

    async fn list_alert_rules(&self, request: Request<ListAlertRulesRequest>) -> Answer<ListAlertRulesResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.list_alert_rules(&call.body))
    }

    async fn test_alert_rule(&self, request: Request<TestAlertRuleRequest>) -> Answer<TestAlertRuleResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.test_alert_rule(call.body).await)
    }

    async fn list_alerts(&self, request: Request<ListAlertsRequest>) -> Answer<ListAlertsResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.list_alerts(&call.body))
    }
}
