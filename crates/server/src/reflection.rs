//! gRPC server reflection, so that `grpcurl` and the like need no `.proto` files.
//!
//! Built at the first question: the descriptors are a megabyte that most servers never need.

use std::{convert::Infallible, sync::OnceLock};

use futures::future::BoxFuture;
use tonic::{body::Body, codegen::Service};
use tonic_reflection::server::Builder;

/// Name of the current version of the service.
pub(crate) const V1: &str = "grpc.reflection.v1.ServerReflection";
/// Name of the version that most tools still ask for.
pub(crate) const V1_ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";

type Call = Box<dyn Fn(http::Request<Body>) -> BoxFuture<'static, Result<http::Response<Body>, Infallible>> + Send + Sync>;

/// Both versions.
#[derive(Default)]
pub(crate) struct Reflection {
    v1: OnceLock<Call>,
    v1alpha: OnceLock<Call>,
}

impl Reflection {
    /// Answers a call of [`V1`].
    pub(crate) async fn v1(&self, request: http::Request<Body>) -> Result<http::Response<Body>, Infallible> {
        let call = self.v1.get_or_init(|| {
            let service = builder().build_v1().expect("the descriptors of the api crate are sound");
            Box::new(move |request| Box::pin(service.clone().call(request)))
        });
        call(request).await
    }

    /// Answers a call of [`V1_ALPHA`].
    pub(crate) async fn v1alpha(&self, request: http::Request<Body>) -> Result<http::Response<Body>, Infallible> {
        let call = self.v1alpha.get_or_init(|| {
            let service = builder().build_v1alpha().expect("the descriptors of the api crate are sound");
            Box::new(move |request| Box::pin(service.clone().call(request)))
        });
        call(request).await
    }
}

fn builder() -> Builder<'static> {
    Builder::configure().register_encoded_file_descriptor_set(sempre_api::DESCRIPTORS)
}
