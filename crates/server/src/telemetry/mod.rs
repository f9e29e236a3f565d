//! OpenTelemetry: spans of calls, and the metrics, pushed to a receiver by OTLP.
//!
//! ```text
//! router ─► trace: begin … end ─► bounded queue ─► spans ─┐
//!                        metrics ─► every so often ───────┴─► sender ─► receiver (gRPC, or protobuf over HTTP)
//! ```
//! Off unless it is asked for; then a call costs one branch. Nothing here makes a call wait: spans that find the queue full
//! are dropped and counted, and a receiver that is down is told of in the log once, not with each attempt.
//!
//! The messages and what sends them are written here rather than taken from OpenTelemetry's libraries: their metrics are made
//! of instruments that are counted again, and cannot be given histograms that have been counted already. Their receiver is
//! what the tests read with.

mod export;
mod messages;
mod metrics;
mod sender;
mod settings;
pub(crate) mod trace;

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};

pub use self::settings::{OtlpError, OtlpSettings};
use self::{
    export::{Resource, push_metrics, push_spans},
    sender::Sender,
    trace::{EndedSpan, Tracer},
};
use crate::metrics::Metrics;

/// How long what is left may take to be sent when the server stops.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// What pushes, until it is stopped or dropped.
pub(crate) struct Telemetry {
    stopping: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
}

/// The one who makes spans, and where they come out. `None`: no spans are wanted.
pub(crate) fn tracer(settings: &OtlpSettings) -> Option<(Tracer, mpsc::Receiver<EndedSpan>)> {
    settings.traces.as_ref().map(|_| Tracer::new(settings.sampler, settings.span_queue_max))
}

impl Telemetry {
    /// Begins to push. `instance` names this server among others.
    pub(crate) fn start(
        settings: &OtlpSettings,
        instance: &str,
        spans: Option<(Tracer, mpsc::Receiver<EndedSpan>)>,
        metrics: Metrics,
    ) -> Self {
        let (stopping, stop) = watch::channel(false);
        let resource = Resource::new(settings, instance);
        let mut tasks = JoinSet::new();
        if let (Some(target), Some((tracer, spans))) = (&settings.traces, spans) {
            let sender = Sender::new(target.clone());
            let bounds = (settings.span_batch_max, settings.span_delay);
            tasks.spawn(push_spans(sender, resource.clone(), (tracer, spans), bounds, stop.clone()));
        }
        if let Some(target) = &settings.metrics {
            tasks.spawn(push_metrics(Sender::new(target.clone()), resource, metrics, settings.metric_interval, stop));
        }
        Self { stopping, tasks: Mutex::new(tasks) }
    }

    /// Sends what there is still, within a bounded time, and ends.
    #[expect(clippy::disallowed_methods, reason = "a stop is bounded by the wall clock")]
    pub(crate) async fn stop(&self) {
        self.stopping.send_replace(true);
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = timeout(FLUSH_MAX, async { while tasks.join_next().await.is_some() {} });
        if ended.await.is_err() {
            tracing::warn!("the last spans or metrics could not be sent within {} seconds", FLUSH_MAX.as_secs());
        }
    }
}
