//! OperatorService: search attributes and the deletion of namespaces; the rest answers UNIMPLEMENTED.

use sempre_api::v1::operatorservice::{
    AddSearchAttributesRequest, AddSearchAttributesResponse, DeleteNamespaceRequest, DeleteNamespaceResponse, ListSearchAttributesRequest,
    ListSearchAttributesResponse, RemoveSearchAttributesRequest, RemoveSearchAttributesResponse, operator_service_server::OperatorService,
};
use tonic::Request;

use crate::frontend::{Answer, Frontend, answer};

#[tonic::async_trait]
impl OperatorService for Frontend {
    async fn add_search_attributes(&self, request: Request<AddSearchAttributesRequest>) -> Answer<AddSearchAttributesResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.add_search_attributes(call.body).await)
    }

    async fn remove_search_attributes(&self, request: Request<RemoveSearchAttributesRequest>) -> Answer<RemoveSearchAttributesResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.remove_search_attributes(call.body).await)
    }

    async fn list_search_attributes(&self, request: Request<ListSearchAttributesRequest>) -> Answer<ListSearchAttributesResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.list_search_attributes(call.body).await)
    }

    async fn delete_namespace(&self, request: Request<DeleteNamespaceRequest>) -> Answer<DeleteNamespaceResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.delete_namespace(call.body).await)
    }
}
