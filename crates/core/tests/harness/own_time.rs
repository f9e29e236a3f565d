//! Runs that skip time by themselves.

use sempre_api::v1::{
    common::{FastForwardConfig, TimeSkippingConfig},
    workflow::{PostResetOperation, WorkflowExecutionOptions},
    workflowservice::{StartWorkflowExecutionRequest, UpdateWorkflowExecutionOptionsResponse},
};
use sempre_core::{Refusal, Span, time_skipping::FastForwardStatus};

use super::{World, duration, options::options_after_reset, start_request, with};

pub const HOUR: i64 = 3600;
const PATH: &[&str] = &["time_skipping_config"];

/// Where runs may skip time.
pub fn skipping_world() -> World {
    with(World::new(), |world| world.limits.time_skipping = true)
}

/// It skips.
pub fn on() -> TimeSkippingConfig {
    TimeSkippingConfig { enabled: true, ..Default::default() }
}

/// It skips so far.
pub fn ahead(id: &str, seconds: i64) -> TimeSkippingConfig {
    TimeSkippingConfig { fast_forward_config: Some(FastForwardConfig { id: id.into(), duration: duration(seconds) }), ..on() }
}

/// A start of `w`.
pub fn skipping(config: TimeSkippingConfig) -> StartWorkflowExecutionRequest {
    with(start_request("w"), |r| r.time_skipping_config = Some(config))
}

fn options(time_skipping_config: Option<TimeSkippingConfig>) -> WorkflowExecutionOptions {
    WorkflowExecutionOptions { time_skipping_config, ..Default::default() }
}

/// A reset gives it to the run that it makes.
pub fn skipping_after_reset(config: TimeSkippingConfig) -> Vec<PostResetOperation> {
    vec![options_after_reset(PATH, options(Some(config)))]
}

impl World {
    /// Gives it to `w`'s current run, or takes it away.
    pub fn set_time_skipping(
        &mut self,
        config: impl Into<Option<TimeSkippingConfig>>,
    ) -> Result<UpdateWorkflowExecutionOptionsResponse, Refusal> {
        self.set_options(PATH, options(config.into()))
    }

    /// Wakes what is due, at once.
    pub fn tick(&mut self) {
        self.advance(Span::ZERO);
    }

    /// What became of a fast-forward of `w`.
    pub fn fast_forward(&self, id: &str) -> FastForwardStatus {
        self.run("w").execution.fast_forward(id).0
    }
}
