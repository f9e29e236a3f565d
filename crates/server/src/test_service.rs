//! TestService: lets a test hold virtual time, let it go, and sleep in it (spec 08 §6.1).
//!
//! A server whose time cannot be skipped answers UNIMPLEMENTED to all of it.

use sempre_api::v1::testservice::{
    GetCurrentTimeResponse, LockTimeSkippingRequest, LockTimeSkippingResponse, SleepRequest, SleepResponse, SleepUntilRequest,
    UnlockTimeSkippingRequest, UnlockTimeSkippingResponse, test_service_server::TestService,
};
use sempre_core::{Refusal, Span, Timestamp};
use sempre_engine::{Clock, Unbalanced, VirtualTime};
use tonic::{Request, Response, Status};

use crate::{frontend::Answer, status};

const NOT_VIRTUAL: &str = "time cannot be skipped on this server";

/// See the module.
#[derive(Clone)]
pub(crate) struct TimeService {
    time: Option<VirtualTime>,
}

impl TimeService {
    /// `None`: the server's time is the world's.
    pub(crate) fn new(time: Option<VirtualTime>) -> Self {
        Self { time }
    }

    fn time(&self) -> Result<&VirtualTime, Status> {
        self.time.as_ref().ok_or_else(|| Status::unimplemented(NOT_VIRTUAL))
    }
}

fn span(request: &SleepRequest) -> Result<Span, Status> {
    Span::from_api(request.duration.as_ref())
        .map_err(|invalid| status::from_refusal(Refusal::invalid(format!("invalid duration: {invalid}"))))
}

fn unbalanced(unbalanced: Unbalanced) -> Status {
    status::from_refusal(Refusal::FailedPrecondition(unbalanced.to_string()))
}

#[tonic::async_trait]
impl TestService for TimeService {
    async fn lock_time_skipping(&self, _: Request<LockTimeSkippingRequest>) -> Answer<LockTimeSkippingResponse> {
        self.time()?.lock();
        Ok(Response::new(LockTimeSkippingResponse::default()))
    }

    async fn unlock_time_skipping(&self, _: Request<UnlockTimeSkippingRequest>) -> Answer<UnlockTimeSkippingResponse> {
        self.time()?.unlock().map_err(unbalanced)?;
        Ok(Response::new(UnlockTimeSkippingResponse::default()))
    }

    async fn sleep(&self, request: Request<SleepRequest>) -> Answer<SleepResponse> {
        let time = self.time()?;
        time.sleep(span(request.get_ref())?).await;
        Ok(Response::new(SleepResponse::default()))
    }

    async fn sleep_until(&self, request: Request<SleepUntilRequest>) -> Answer<SleepResponse> {
        let at = request.get_ref().timestamp.as_ref().map(Timestamp::from_api).unwrap_or_default();
        self.time()?.sleep_to(at).await;
        Ok(Response::new(SleepResponse::default()))
    }

    async fn unlock_time_skipping_with_sleep(&self, request: Request<SleepRequest>) -> Answer<SleepResponse> {
        let time = self.time()?;
        time.unlock_for(span(request.get_ref())?).await.map_err(unbalanced)?;
        Ok(Response::new(SleepResponse::default()))
    }

    async fn get_current_time(&self, _: Request<()>) -> Answer<GetCurrentTimeResponse> {
        Ok(Response::new(GetCurrentTimeResponse { time: Some(self.time()?.now().to_api()) }))
    }
}
