//! Pushes spans as they end, and the metrics every so often.
#![expect(clippy::disallowed_methods, reason = "what is pushed goes by the wall clock")]

use std::time::Duration;

use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval_at, sleep, timeout},
};

use super::{
    messages::{
        ExportMetrics, ExportTraces, KeyValue, ResourceAttributes, ResourceMetrics, ResourceSpans, Scope, ScopeMetrics, ScopeSpans,
    },
    metrics::metrics,
    sender::{Failed, Sender, Signal},
    settings::OtlpSettings,
    trace::{EndedSpan, Tracer, now},
};
use crate::metrics::Metrics;

/// Attempts to send one batch of spans; those that come after it wait in the queue meanwhile.
const ATTEMPTS_MAX: u32 = 5;
/// Pause after the first of them; it doubles.
const PAUSE: Duration = Duration::from_secs(1);

/// Who tells.
#[derive(Clone)]
pub(super) struct Resource(Vec<KeyValue>);

impl Resource {
    pub(super) fn new(settings: &OtlpSettings, instance: &str) -> Self {
        let ours = [("service.version", env!("CARGO_PKG_VERSION")), ("service.instance.id", instance)];
        let named = |key: &str| settings.resource.iter().any(|(name, _)| name == key);
        let ours = ours.into_iter().filter(|(key, _)| !named(key)).map(|(key, value)| KeyValue::text(key, value));
        Self(settings.resource.iter().map(|(key, value)| KeyValue::text(key, value.as_str())).chain(ours).collect())
    }

    fn attributes(&self) -> Option<ResourceAttributes> {
        Some(ResourceAttributes { attributes: self.0.clone() })
    }
}

fn scope() -> Option<Scope> {
    Some(Scope { name: "sempre".into(), version: env!("CARGO_PKG_VERSION").into() })
}

/// What is told of a receiver: that it does not take what it is sent, once; that it does again; what was lost meanwhile.
struct Told {
    what: &'static str,
    failing: bool,
    lost: u64,
}

impl Told {
    fn taken(&mut self) {
        if std::mem::take(&mut self.failing) {
            let lost = std::mem::take(&mut self.lost);
            tracing::info!(lost, "{} are taken again by the OTLP receiver", self.what);
        }
    }

    fn failed(&mut self, receiver: &str, error: &str, lost: u64) {
        self.lost += lost;
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(receiver, error, "{} cannot be sent by OTLP; it is tried again and told when it works", self.what);
        }
    }
}

/// Until `stop` is true; then what is left is tried once.
pub(super) async fn push_spans(
    mut sender: Sender,
    resource: Resource,
    (tracer, mut spans): (Tracer, mpsc::Receiver<EndedSpan>),
    (batch_max, delay): (usize, Duration),
    mut stop: watch::Receiver<bool>,
) {
    let mut told = Told { what: "spans", failing: false, lost: 0 };
    let mut full = false;
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            _ = spans.recv_many(&mut batch, batch_max) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        let gather = async {
            while batch.len() < batch_max {
                let room = batch_max - batch.len();
                spans.recv_many(&mut batch, room).await;
            }
        };
        tokio::select! {
            _ = timeout(delay, gather) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        let stopping = *stop.borrow();
        while stopping && batch.len() < batch_max {
            let Ok(span) = spans.try_recv() else { break };
            batch.push(span);
        }
        if batch.is_empty() {
            // All that is left has been sent.
            return;
        }
        let dropped = tracer.dropped();
        if dropped > 0 && !told.failing && !std::mem::replace(&mut full, true) {
            tracing::warn!(dropped, "more spans end than can be sent; OTEL_BSP_MAX_QUEUE_SIZE and OTEL_TRACES_SAMPLER bound them");
        }
        told.lost += if told.failing { dropped } else { 0 };
        let count = batch.len() as u64;
        let spans = batch.into_iter().map(Into::into).collect();
        let spans = ResourceSpans { resource: resource.attributes(), scope_spans: vec![ScopeSpans { scope: scope(), spans }] };
        let message = ExportTraces { resource_spans: vec![spans] };
        let mut pause = PAUSE;
        for attempt in 1..=ATTEMPTS_MAX {
            match sender.send(Signal::Traces, &message).await {
                Ok(()) => {
                    told.taken();
                    break;
                }
                Err(Failed { text, again }) => {
                    let last = !again || attempt == ATTEMPTS_MAX || *stop.borrow();
                    told.failed(sender.receiver(), &text, if last { count } else { 0 });
                    if last {
                        break;
                    }
                    tokio::select! {
                        () = sleep(pause) => pause *= 2,
                        _ = stop.wait_for(|stop| *stop) => {}
                    }
                }
            }
        }
    }
}

/// Until `stop` is true; then once more. Metrics are sums, so one that was not taken is in the next.
pub(super) async fn push_metrics(
    mut sender: Sender,
    resource: Resource,
    read: Metrics,
    interval: Duration,
    mut stop: watch::Receiver<bool>,
) {
    let start = now();
    let mut told = Told { what: "metrics", failing: false, lost: 0 };
    let mut due = interval_at(tokio::time::Instant::now() + interval, interval);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let stopping = tokio::select! {
            _ = due.tick() => false,
            _ = stop.wait_for(|stop| *stop) => true,
        };
        let metrics = metrics(&read.collect().await, start, now());
        let metrics = ResourceMetrics { resource: resource.attributes(), scope_metrics: vec![ScopeMetrics { scope: scope(), metrics }] };
        match sender.send(Signal::Metrics, &ExportMetrics { resource_metrics: vec![metrics] }).await {
            Ok(()) => told.taken(),
            Err(failed) => told.failed(sender.receiver(), &failed.text, 0),
        }
        if stopping {
            return;
        }
    }
}
