//! StorageService: the data as a whole (`crates/api/proto/sempre/v1/storage.proto`).

use futures::{StreamExt, stream};
use sempre_api::sempre::v1::{BackupChunk, BackupRequest, storage_service_server::StorageService};
use tonic::{Request, Response, Status, codegen::BoxStream};

use crate::{
    frontend::{Answer, Frontend},
    status,
};

const PROGRAM: &str = concat!("sempre ", env!("CARGO_PKG_VERSION"));

#[tonic::async_trait]
impl StorageService for Frontend {
    async fn backup(&self, _: Request<BackupRequest>) -> Answer<BoxStream<BackupChunk>> {
        let pieces = self.engine.backup(PROGRAM).await.map_err(status::from_refusal)?;
        let chunks = stream::unfold(pieces, |mut pieces| async move { Some((pieces.recv().await?, pieces)) });
        let chunks = chunks.map(|piece| piece.map(|data| BackupChunk { data }).map_err(Status::internal));
        Ok(Response::new(chunks.boxed()))
    }
}
