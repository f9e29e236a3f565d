//! FlowService: rules that hold starts back until it is their turn (`crates/api/proto/sempre/v1/flow.proto`).

use sempre_api::sempre::v1::{
    DeleteFlowRuleRequest, DeleteFlowRuleResponse, DescribeFlowRuleRequest, DescribeFlowRuleResponse, DescribeWaitingStartRequest,
    DescribeWaitingStartResponse, ListFlowRulesRequest, ListFlowRulesResponse, ListWaitingStartsRequest, ListWaitingStartsResponse,
    SetFlowRuleRequest, SetFlowRuleResponse, flow_service_server::FlowService,
};
use tonic::Request;

use crate::frontend::{Answer, Frontend, answer};

#[tonic::async_trait]
impl FlowService for Frontend {
    async fn set_flow_rule(&self, request: Request<SetFlowRuleRequest>) -> Answer<SetFlowRuleResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.set_flow_rule(call.body).await)
    }

    async fn delete_flow_rule(&self, request: Request<DeleteFlowRuleRequest>) -> Answer<DeleteFlowRuleResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.delete_flow_rule(call.body).await)
    }

    async fn list_flow_rules(&self, request: Request<ListFlowRulesRequest>) -> Answer<ListFlowRulesResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.list_flow_rules(&call.body))
    }

    async fn describe_flow_rule(&self, request: Request<DescribeFlowRuleRequest>) -> Answer<DescribeFlowRuleResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.describe_flow_rule(&call.body))
    }

    async fn list_waiting_starts(&self, request: Request<ListWaitingStartsRequest>) -> Answer<ListWaitingStartsResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.list_waiting_starts(&call.body))
    }

    async fn describe_waiting_start(&self, request: Request<DescribeWaitingStartRequest>) -> Answer<DescribeWaitingStartResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.describe_waiting_start(call.body).await)
    }
}
