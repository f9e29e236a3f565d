//! A span for each call that is sampled: whose child it is, what it was about, how it ended.
#![expect(clippy::disallowed_methods, reason = "spans are told with the times of the world")]

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{Extensions, HeaderMap};
use tokio::sync::mpsc;
use tonic::{Code, Status};

use super::{
    messages::{KeyValue, Span, SpanKind, SpanStatus, SpanStatusCode},
    settings::{Base, Sampler},
};

/// Bit of the flags of a context: it is sampled.
const SAMPLED: u8 = 1;
/// Bits of the flags of a span: whether it is known where its parent is, and that it is elsewhere.
const PARENT_IS_KNOWN: u32 = 0x100;
const PARENT_IS_REMOTE: u32 = 0x200;
/// Bytes of `tracestate` that are handed on; more are not, as the specification allows.
const TRACE_STATE_BYTES_MAX: usize = 512;
/// Bytes of a value that a caller chose; the rest is cut off.
const VALUE_BYTES_MAX: usize = 255;

/// Makes spans; cheap to clone.
#[derive(Clone)]
pub(crate) struct Tracer(Arc<Inner>);

struct Inner {
    sampler: Sampler,
    ids: Ids,
    ended: mpsc::Sender<EndedSpan>,
    dropped: AtomicU64,
}

/// A span whose call has ended.
pub(crate) struct EndedSpan {
    trace: u128,
    id: u64,
    parent: Option<u64>,
    state: String,
    path: String,
    began: SystemTime,
    took: Duration,
    code: Code,
    text: String,
    subject: Option<Subject>,
}

/// What a call is about, as far as its request says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) namespace: String,
    pub(crate) workflow_id: Option<String>,
    pub(crate) workflow_type: Option<String>,
    pub(crate) task_queue: Option<String>,
}

/// Where a handler says what its call is about; among the extensions of a call that has a span.
#[derive(Clone, Default)]
pub(crate) struct SubjectOf(Arc<OnceLock<Subject>>);

/// The span of a call under way; one that is dropped was given up.
pub(crate) struct OpenSpan(Option<Box<Open>>);

struct Open {
    tracer: Tracer,
    span: EndedSpan,
    subject: SubjectOf,
    begun: tokio::time::Instant,
}

/// What a caller says of its own span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Context {
    trace: u128,
    span: u64,
    flags: u8,
}

impl Tracer {
    pub(crate) fn new(sampler: Sampler, queue_max: usize) -> (Self, mpsc::Receiver<EndedSpan>) {
        let (ended, spans) = mpsc::channel(queue_max);
        (Self(Arc::new(Inner { sampler, ids: Ids::new(), ended, dropped: AtomicU64::new(0) })), spans)
    }

    /// The span of a call that comes in, if it is sampled. `path` is `/service/method`.
    pub(crate) fn begin(&self, path: &str, headers: &HeaderMap, extensions: &mut Extensions) -> Option<OpenSpan> {
        let context = Context::of(headers);
        let trace = context.map_or_else(|| self.0.ids.trace(), |context| context.trace);
        if !self.0.sampler.takes(trace, context.map(|context| context.flags & SAMPLED != 0)) {
            return None;
        }
        let state = context.map(|_| trace_state(headers)).unwrap_or_default();
        let span = EndedSpan {
            trace,
            id: self.0.ids.span(),
            parent: context.map(|context| context.span),
            state,
            path: path.to_owned(),
            began: SystemTime::now(),
            took: Duration::ZERO,
            code: Code::Cancelled,
            text: String::new(),
            subject: None,
        };
        let subject = SubjectOf::default();
        extensions.insert(subject.clone());
        Some(OpenSpan(Some(Box::new(Open { tracer: self.clone(), span, subject, begun: tokio::time::Instant::now() }))))
    }

    /// Spans dropped since the last time this was asked, because too many waited.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.swap(0, Ordering::Relaxed)
    }

    fn ended(&self, span: EndedSpan) {
        if self.0.ended.try_send(span).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl SubjectOf {
    /// Says it; the first word counts.
    pub(crate) fn say(&self, subject: impl FnOnce() -> Subject) {
        self.0.get_or_init(subject);
    }
}

impl OpenSpan {
    /// The call has ended with this answer.
    pub(crate) fn end(mut self, answer: &HeaderMap) {
        if let Some(open) = self.0.as_mut() {
            let status = Status::from_header_map(answer);
            open.span.code = status.as_ref().map_or(Code::Ok, Status::code);
            open.span.text = status.map(|status| status.message().to_owned()).unwrap_or_default();
        }
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        let Some(open) = self.0.take() else { return };
        let Open { tracer, mut span, subject, begun } = *open;
        span.took = begun.elapsed();
        span.subject = subject.0.get().cloned();
        tracer.ended(span);
    }
}

impl Context {
    /// What `traceparent` says (W3C Trace Context, level 1). One that cannot be read is none.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all("traceparent").iter();
        let (Some(value), None) = (all.next(), all.next()) else { return None };
        let text = value.to_str().ok()?.trim();
        let hex = |part: &str, digits: usize| {
            let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            (part.len() == digits && part.bytes().all(lower)).then(|| u128::from_str_radix(part, 16).ok())?
        };
        let mut parts = text.split('-');
        let version = hex(parts.next()?, 2)?;
        let (trace, span, flags) = (hex(parts.next()?, 32)?, hex(parts.next()?, 16)?, hex(parts.next()?, 2)?);
        // Versions to come may say more behind; this one does not.
        let is_whole = version != 0xff && (version > 0 || parts.next().is_none());
        let context = Self { trace, span: u64::try_from(span).ok()?, flags: u8::try_from(flags).ok()? };
        (is_whole && context.trace != 0 && context.span != 0).then_some(context)
    }
}

/// All of `tracestate`, which may come in parts.
fn trace_state(headers: &HeaderMap) -> String {
    let parts: Vec<_> = headers.get_all("tracestate").iter().filter_map(|part| part.to_str().ok()).collect();
    Some(parts.join(",")).filter(|all| all.len() <= TRACE_STATE_BYTES_MAX).unwrap_or_default()
}

impl Sampler {
    /// Whether a span is wanted; `parent` says whether its parent was, if there is one.
    fn takes(self, trace: u128, parent: Option<bool>) -> bool {
        if let (true, Some(parent)) = (self.by_parent, parent) {
            return parent;
        }
        match self.base {
            Base::On => true,
            Base::Off => false,
            // As all others decide, so that a trace is whole: by the lower half of its id.
            Base::Below(bound) => (trace as u64) >> 1 < bound,
        }
    }
}

/// Numbers that nobody else has, without asking the system for each: a counter, mixed (SplitMix64), from a place of chance.
struct Ids {
    seed: u64,
    next: AtomicU64,
}

impl Ids {
    fn new() -> Self {
        // The hasher's keys are the one source of chance in the standard library.
        let chance = || RandomState::new().hash_one(0);
        Self { seed: chance(), next: AtomicU64::new(chance()) }
    }

    fn span(&self) -> u64 {
        loop {
            let mut z = self.next.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed) ^ self.seed;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            // 0 is no id.
            if z != 0 {
                return z;
            }
        }
    }

    fn trace(&self) -> u128 {
        u128::from(self.span()) << 64 | u128::from(self.span())
    }
}

fn nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Now, nanoseconds since 1970.
pub(super) fn now() -> u64 {
    nanos(SystemTime::now())
}

/// What a caller chose, bounded.
fn cut(text: String) -> String {
    match text.len() {
        0..=VALUE_BYTES_MAX => text,
        _ => text[..text.floor_char_boundary(VALUE_BYTES_MAX)].to_owned(),
    }
}

/// Ends that are the server's fault, as OpenTelemetry has it: a refusal is no error of the server.
fn is_error(code: Code) -> bool {
    use Code::{DataLoss, DeadlineExceeded, Internal, Unavailable, Unimplemented, Unknown};
    matches!(code, Unknown | DeadlineExceeded | Unimplemented | Internal | Unavailable | DataLoss)
}

impl From<EndedSpan> for Span {
    fn from(span: EndedSpan) -> Self {
        let name = span.path.strip_prefix('/').unwrap_or_default();
        let mut attributes = vec![KeyValue::text("rpc.system", "grpc")];
        if let Some((service, method)) = name.split_once('/') {
            attributes.extend([KeyValue::text("rpc.service", service), KeyValue::text("rpc.method", method)]);
        }
        attributes.push(KeyValue::int("rpc.grpc.status_code", i64::from(i32::from(span.code))));
        if let Some(subject) = span.subject {
            let told = [
                ("temporal.namespace", Some(subject.namespace).filter(|name| !name.is_empty())),
                ("temporal.workflow.id", subject.workflow_id),
                ("temporal.workflow.type", subject.workflow_type),
                ("temporal.task_queue", subject.task_queue),
            ];
            attributes.extend(told.into_iter().filter_map(|(key, value)| Some(KeyValue::text(key, cut(value?)))));
        }
        let status = match is_error(span.code) {
            true => SpanStatus { message: cut(span.text), code: SpanStatusCode::Error as i32 },
            false => SpanStatus { message: String::new(), code: SpanStatusCode::Unset as i32 },
        };
        let parent_flags = if span.parent.is_some() { PARENT_IS_REMOTE } else { 0 };
        Self {
            trace_id: span.trace.to_be_bytes().to_vec(),
            span_id: span.id.to_be_bytes().to_vec(),
            trace_state: span.state,
            parent_span_id: span.parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
            name: if name.is_empty() { "unknown".to_owned() } else { name.to_owned() },
            kind: SpanKind::Server as i32,
            start_time_unix_nano: nanos(span.began),
            end_time_unix_nano: nanos(span.began + span.took),
            attributes,
            status: Some(status),
            flags: u32::from(SAMPLED) | PARENT_IS_KNOWN | parent_flags,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const ALWAYS: Sampler = Sampler { by_parent: true, base: Base::On };

    fn headers(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("traceparent", HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn parents_are_read_as_w3c_writes_them() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = Context { trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, span: 0xb7ad_6b71_6920_3331, flags: 1 };
        assert_eq!(Context::of(&headers(&[good])), Some(context));
        let newer = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more";
        assert_eq!(Context::of(&headers(&[newer])), Some(context));
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        ] {
            assert_eq!(Context::of(&headers(&[bad])), None, "{bad}");
        }
        assert_eq!(Context::of(&headers(&[good, good])), None, "two say nothing");
        assert_eq!(Context::of(&HeaderMap::new()), None);
    }

    #[test]
    fn samplers_decide_as_they_are_named() {
        let (low, high) = (0, u128::MAX);
        let half = Base::Below(1 << 62);
        let of = |by_parent, base| Sampler { by_parent, base };
        assert!(of(false, Base::On).takes(low, Some(false)) && !of(false, Base::Off).takes(low, Some(true)));
        assert!(of(true, Base::Off).takes(low, Some(true)) && !of(true, Base::On).takes(low, Some(false)));
        assert!(of(true, Base::On).takes(low, None) && !of(true, Base::Off).takes(low, None));
        assert!(of(false, half).takes(low, None) && !of(false, half).takes(high, None));
        // A half is a half.
        let ids = Ids::new();
        let taken = (0..10_000).filter(|_| of(true, half).takes(ids.trace(), None)).count();
        assert!((4_700..5_300).contains(&taken), "{taken}");
    }

    #[test]
    fn what_is_not_sampled_has_no_span() {
        let (tracer, mut spans) = Tracer::new(ALWAYS, 10);
        let mut extensions = Extensions::new();
        let unsampled = headers(&["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"]);
        assert!(tracer.begin("/s/m", &unsampled, &mut extensions).is_none());
        assert!(extensions.get::<SubjectOf>().is_none() && spans.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_span_tells_what_became_of_its_call() {
        let (tracer, mut spans) = Tracer::new(ALWAYS, 2);
        let mut extensions = Extensions::new();
        let parent = headers(&["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]);
        let open = tracer.begin("/s/m", &parent, &mut extensions).expect("sampled");
        let subject = extensions.get::<SubjectOf>().expect("a place");
        subject.say(|| Subject { namespace: "n".into(), task_queue: Some("é".repeat(200)), ..Subject::default() });
        open.end(Status::internal("broken").into_http::<tonic::body::Body>().headers());
        // Given up.
        drop(tracer.begin("", &HeaderMap::new(), &mut extensions).expect("sampled"));
        // No room.
        drop(tracer.begin("", &HeaderMap::new(), &mut extensions).expect("sampled"));
        assert_eq!((tracer.dropped(), tracer.dropped()), (1, 0));
        let span = Span::from(spans.try_recv().expect("a span"));
        assert_eq!((span.name.as_str(), span.parent_span_id.len(), span.flags), ("s/m", 8, 0x301));
        assert_eq!(span.status, Some(SpanStatus { message: "broken".into(), code: 2 }));
        let queue = KeyValue::text("temporal.task_queue", "é".repeat(127));
        assert!(span.attributes.contains(&KeyValue::text("temporal.namespace", "n")) && span.attributes.contains(&queue));
        assert!(span.attributes.contains(&KeyValue::int("rpc.grpc.status_code", 13)));
        let span = Span::from(spans.try_recv().expect("a span"));
        assert_eq!((span.name.as_str(), span.parent_span_id.len(), span.flags), ("unknown", 0, 0x101));
        assert!(span.attributes.contains(&KeyValue::int("rpc.grpc.status_code", 1)));
    }

    #[test]
    fn ids_differ() {
        let ids = Ids::new();
        let all: std::collections::HashSet<_> = (0..100_000).map(|_| ids.span()).collect();
        assert_eq!(all.len(), 100_000);
    }
}
