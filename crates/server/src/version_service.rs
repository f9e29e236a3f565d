//! VersionService: versions against the runs there are (`crates/api/proto/sempre/v1/versions.proto`).

use futures::{Stream, StreamExt, stream};
use sempre_api::sempre::v1::{
    CheckDeploymentVersionRequest, CheckDeploymentVersionResponse, ListPatchesRequest, ListPatchesResponse,
    version_service_server::VersionService,
};
use sempre_core::Refusal;
use tokio::sync::mpsc::Receiver;
use tonic::{Request, Response, Status, codegen::BoxStream};

use crate::{
    frontend::{Answer, Frontend},
    status,
};

/// What the engine sends, as a stream of answers.
fn stream_of<T: Send + 'static>(messages: Receiver<Result<T, Refusal>>) -> impl Stream<Item = Result<T, Status>> + Send + 'static {
    let messages = stream::unfold(messages, |mut messages| async move { Some((messages.recv().await?, messages)) });
    messages.map(|message| message.map_err(status::from_refusal))
}

#[tonic::async_trait]
impl VersionService for Frontend {
    async fn check_deployment_version(
        &self,
        request: Request<CheckDeploymentVersionRequest>,
    ) -> Answer<BoxStream<CheckDeploymentVersionResponse>> {
        let call = self.admit(request).await?;
        let messages = self.engine.check_version(call.body).map_err(status::from_refusal)?;
        Ok(Response::new(stream_of(messages).boxed()))
    }

    async fn list_patches(&self, request: Request<ListPatchesRequest>) -> Answer<BoxStream<ListPatchesResponse>> {
        let call = self.admit(request).await?;
        let messages = self.engine.list_patches(call.body).map_err(status::from_refusal)?;
        Ok(Response::new(stream_of(messages).boxed()))
    }
}
