//! OperatorService: search attributes, the deletion of namespaces, the one cluster, records of Nexus endpoints.

use sempre_api::v1::operatorservice::{
    AddOrUpdateRemoteClusterRequest, AddOrUpdateRemoteClusterResponse, AddSearchAttributesRequest, AddSearchAttributesResponse,
    CreateNexusEndpointRequest, CreateNexusEndpointResponse, DeleteNamespaceRequest, DeleteNamespaceResponse, DeleteNexusEndpointRequest,
    DeleteNexusEndpointResponse, GetNexusEndpointRequest, GetNexusEndpointResponse, ListClustersRequest, ListClustersResponse,
    ListNexusEndpointsRequest, ListNexusEndpointsResponse, ListSearchAttributesRequest, ListSearchAttributesResponse,
    RemoveRemoteClusterRequest, RemoveRemoteClusterResponse, RemoveSearchAttributesRequest, RemoveSearchAttributesResponse,
    UpdateNexusEndpointRequest, UpdateNexusEndpointResponse, operator_service_server::OperatorService,
};
use sempre_core::Refusal;
use tonic::{Request, Response, Status};

use crate::{
    client_version,
    frontend::{Answer, Frontend, answer},
};

/// What a cluster of Temporal that has no global namespaces, as it comes, finds of every other.
const NO_GLOBAL_NAMESPACES: &str =
    "Unable connect to remote cluster with invalid config: Cannot add remote cluster as global namespace is not supported.";
const NO_ADDRESS: &str = "Unable connect to remote cluster  with error: no address is given.";
const NO_CLUSTER: &str = "The cluster to be deleted cannot be found in clusters cache.";
const OWN_CLUSTER: &str = "Unable to delete cluster info with error: Cannot delete current cluster metadata.";

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

    /// Whatever is at the address: this is one cluster, and nobody is asked.
    async fn add_or_update_remote_cluster(
        &self,
        request: Request<AddOrUpdateRemoteClusterRequest>,
    ) -> Answer<AddOrUpdateRemoteClusterResponse> {
        client_version::check(request.metadata().as_ref())?;
        if request.into_inner().frontend_address.is_empty() {
            return Err(Status::unavailable(NO_ADDRESS));
        }
        answer(Err(Refusal::invalid(NO_GLOBAL_NAMESPACES)))
    }

    /// There is no remote cluster, and this one stays.
    async fn remove_remote_cluster(&self, request: Request<RemoveRemoteClusterRequest>) -> Answer<RemoveRemoteClusterResponse> {
        client_version::check(request.metadata().as_ref())?;
        if request.into_inner().cluster_name == self.facts.cluster(&self.host).cluster_name {
            return Err(Status::internal(OWN_CLUSTER));
        }
        answer(Err(Refusal::not_found(NO_CLUSTER)))
    }

    async fn list_clusters(&self, request: Request<ListClustersRequest>) -> Answer<ListClustersResponse> {
        client_version::check(request.metadata().as_ref())?;
        let clusters = vec![self.facts.cluster(&self.host)];
        Ok(Response::new(ListClustersResponse { clusters, ..ListClustersResponse::default() }))
    }

    async fn get_nexus_endpoint(&self, request: Request<GetNexusEndpointRequest>) -> Answer<GetNexusEndpointResponse> {
        client_version::check(request.metadata().as_ref())?;
        answer(self.engine.get_nexus_endpoint(request.into_inner()).await)
    }

    async fn create_nexus_endpoint(&self, request: Request<CreateNexusEndpointRequest>) -> Answer<CreateNexusEndpointResponse> {
        client_version::check(request.metadata().as_ref())?;
        answer(self.engine.create_nexus_endpoint(request.into_inner()).await)
    }

    async fn update_nexus_endpoint(&self, request: Request<UpdateNexusEndpointRequest>) -> Answer<UpdateNexusEndpointResponse> {
        client_version::check(request.metadata().as_ref())?;
        answer(self.engine.update_nexus_endpoint(request.into_inner()).await)
    }

    async fn delete_nexus_endpoint(&self, request: Request<DeleteNexusEndpointRequest>) -> Answer<DeleteNexusEndpointResponse> {
        client_version::check(request.metadata().as_ref())?;
        answer(self.engine.delete_nexus_endpoint(request.into_inner()).await)
    }

    async fn list_nexus_endpoints(&self, request: Request<ListNexusEndpointsRequest>) -> Answer<ListNexusEndpointsResponse> {
        client_version::check(request.metadata().as_ref())?;
        answer(self.engine.list_nexus_endpoints(request.into_inner()).await)
    }
}
