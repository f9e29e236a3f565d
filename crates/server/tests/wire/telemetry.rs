//! Spans and metrics by OTLP, as a receiver made of OpenTelemetry's own messages and services gets them.
#![expect(clippy::disallowed_methods, reason = "the receiver runs beside the test; one that hangs is waited for by the wall clock")]

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{AggregationTemporality, metric::Data, number_data_point},
    resource::v1::Resource,
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message;
use sempre_api::v1::{
    common::WorkflowType,
    taskqueue::TaskQueue,
    workflowservice::{GetSystemInfoRequest, StartWorkflowExecutionRequest},
};
use sempre_server::{OtlpSettings, ServerSettings};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};
use tonic::codec::CompressionEncoding;

use crate::{
    http::{request, text},
    support::TestServer,
};

/// Long enough for a slow machine.
const SOON: Duration = Duration::from_secs(30);
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const START: &str = "temporal.api.workflowservice.v1.WorkflowService/StartWorkflowExecution";

/// What has come.
#[derive(Clone, Default)]
struct Got(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    resources: Vec<Resource>,
    spans: Vec<Span>,
    /// Series and their values, as the last message told them.
    series: BTreeMap<String, f64>,
    messages_of_metrics: usize,
    keys: Vec<String>,
}

impl Got {
    fn traces(&self, message: ExportTraceServiceRequest) {
        let mut taken = self.0.lock().expect("no test has panicked");
        for of in message.resource_spans {
            taken.resources.extend(of.resource);
            taken.spans.extend(of.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
    }

    fn metrics(&self, message: ExportMetricsServiceRequest) {
        let mut taken = self.0.lock().expect("no test has panicked");
        taken.messages_of_metrics += 1;
        taken.series.clear();
        for of in message.resource_metrics {
            taken.resources.extend(of.resource);
            for metric in of.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                assert!(!metric.description.is_empty(), "{}", metric.name);
                let cumulative = AggregationTemporality::Cumulative;
                let numbers = match metric.data.expect("data") {
                    Data::Gauge(gauge) => gauge.data_points,
                    Data::Sum(sum) => {
                        assert!(sum.is_monotonic && sum.aggregation_temporality() == cumulative, "{}", metric.name);
                        sum.data_points
                    }
                    Data::Histogram(histogram) => {
                        assert_eq!(histogram.aggregation_temporality(), cumulative, "{}", metric.name);
                        for point in histogram.data_points {
                            let mut sum = 0;
                            let bounds = point.explicit_bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
                            for (bound, count) in bounds.zip(&point.bucket_counts) {
                                sum += count;
                                let of = series(&format!("{}_bucket", metric.name), &point.attributes, Some(&bound));
                                taken.series.insert(of, sum as f64);
                            }
                            let of = |suffix| series(&format!("{}{suffix}", metric.name), &point.attributes, None);
                            taken.series.insert(of("_sum"), point.sum.expect("a sum"));
                            taken.series.insert(of("_count"), point.count as f64);
                        }
                        continue;
                    }
                    other => panic!("{other:?}"),
                };
                for point in numbers {
                    assert!(point.time_unix_nano >= point.start_time_unix_nano && point.start_time_unix_nano > 0);
                    let Some(number_data_point::Value::AsDouble(value)) = point.value else { panic!("{point:?}") };
                    taken.series.insert(series(&metric.name, &point.attributes, None), value);
                }
            }
        }
    }

    /// Waits for a span that is asked for.
    async fn span(&self, what: impl Fn(&Span) -> bool) -> Span {
        let found = || self.0.lock().expect("no test has panicked").spans.iter().find(|span| what(span)).cloned();
        let begun = Instant::now();
        loop {
            if let Some(span) = found() {
                return span;
            }
            let names: Vec<_> = self.0.lock().expect("no test has panicked").spans.iter().map(|span| span.name.clone()).collect();
            assert!(begun.elapsed() < SOON, "only {names:?} came");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A series as Prometheus writes it.
fn series(name: &str, attributes: &[KeyValue], bound: Option<&str>) -> String {
    let mut labels: Vec<_> = attributes.iter().map(|pair| format!("{}=\"{}\"", pair.key, string(pair))).collect();
    labels.extend(bound.map(|bound| format!("le=\"{bound}\"")));
    if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) }
}

fn string(pair: &KeyValue) -> String {
    match pair.value.clone().and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    }
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    span.attributes.iter().find(|pair| pair.key == key).map(string)
}

#[tonic::async_trait]
impl TraceService for Got {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let key = request.metadata().get("x-key").map(|key| key.to_str().expect("text").to_owned());
        self.0.lock().expect("no test has panicked").keys.extend(key);
        self.traces(request.into_inner());
        Ok(tonic::Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Got {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        self.metrics(request.into_inner());
        Ok(tonic::Response::new(Default::default()))
    }
}

/// A receiver on a port of its own; gone when it is dropped.
struct Receiver {
    address: SocketAddr,
    got: Got,
    _tasks: JoinSet<()>,
}

impl Receiver {
    async fn start(protocol: &'static str, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, got) = (listener.local_addr().expect("an address"), Got::default());
        let (kept, mut tasks) = (got.clone(), JoinSet::new());
        tasks.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let (got, tls) = (kept.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => answer(protocol, stream, got).await,
                        Some(tls) => answer(protocol, tls.accept(stream).await.expect("TLS"), got).await,
                    }
                });
            }
        });
        Self { address, got, _tasks: tasks }
    }
}

async fn answer(protocol: &str, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, got: Got) {
    // A connection that breaks when the test ends is no failure of it.
    let _ = match protocol {
        "grpc" => {
            let service = service_fn(move |request: Request<Incoming>| {
                let got = got.clone();
                async move {
                    let of_traces = request.uri().path() == "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
                    let gzip = CompressionEncoding::Gzip;
                    use tonic::codegen::Service;
                    match of_traces {
                        true => TraceServiceServer::new(got).accept_compressed(gzip).call(request).await,
                        false => MetricsServiceServer::new(got).accept_compressed(gzip).call(request).await,
                    }
                }
            });
            hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await
        }
        _ => {
            let service = service_fn(move |request: Request<Incoming>| {
                let got = got.clone();
                async move {
                    assert_eq!(request.headers()["content-type"], "application/x-protobuf");
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await.expect("a body").to_bytes();
                    match parts.uri.path() {
                        "/v1/traces" => got.traces(ExportTraceServiceRequest::decode(body).expect("spans")),
                        "/v1/metrics" => got.metrics(ExportMetricsServiceRequest::decode(body).expect("metrics")),
                        other => panic!("{other}"),
                    }
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
                }
            });
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
        }
    };
}

fn settings(variables: &[(&str, &str)]) -> ServerSettings {
    let variable = |name: &str| variables.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned());
    let otlp = OtlpSettings::read(&variable, None, None).expect("good variables");
    assert!(otlp.is_some());
    ServerSettings { otlp, http_address: Some(([127, 0, 0, 1], 0).into()), ..ServerSettings::default() }
}

fn start(id: &str, parent: Option<&str>) -> tonic::Request<StartWorkflowExecutionRequest> {
    let mut request = tonic::Request::new(StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: id.into(),
        request_id: id.into(),
        workflow_type: Some(WorkflowType { name: "Order".into() }),
        task_queue: Some(TaskQueue { name: "orders".into(), ..TaskQueue::default() }),
        ..StartWorkflowExecutionRequest::default()
    });
    if let Some(parent) = parent {
        request.metadata_mut().insert("traceparent", parent.parse().expect("a header"));
        request.metadata_mut().insert("tracestate", "vendor=1".parse().expect("a header"));
    }
    request
}

/// What Prometheus reads, but for what changes by itself.
async fn scraped(address: SocketAddr) -> BTreeMap<String, f64> {
    let (status, _, told) = text(address, request(address, Method::GET, "/metrics", &[], "")).await;
    assert_eq!(status, 200);
    let lines = told.lines().filter(|line| !line.starts_with('#'));
    steady(lines.map(|line| line.rsplit_once(' ').expect("a sample")).map(|(of, value)| (of.to_owned(), value.parse().expect("a number"))))
}

fn steady(all: impl IntoIterator<Item = (String, f64)>) -> BTreeMap<String, f64> {
    let moves = |of: &str| of.starts_with("process_") || of.starts_with("approximate_backlog_age");
    all.into_iter().filter(|(of, _)| !moves(of)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_have_spans_and_metrics_are_those_of_prometheus() {
    let receiver = Receiver::start("grpc", None).await;
    let endpoint = format!("http://{}", receiver.address);
    let server = TestServer::start_with(settings(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20secret"),
        ("OTEL_SERVICE_NAME", "sempre-test"),
        ("OTEL_BSP_SCHEDULE_DELAY", "10"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "50"),
    ]))
    .await;
    let http = server.http.expect("an HTTP port");
    server.workflow().start_workflow_execution(start("w", Some(PARENT))).await.expect("started");
    let span = receiver.got.span(|span| span.name == START).await;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), ("0af7651916cd43dd8448eb211c80319c".into(), "b7ad6b7169203331".into()));
    assert_eq!((span.kind(), span.trace_state.as_str(), span.span_id.len()), (SpanKind::Server, "vendor=1", 8));
    assert!(span.end_time_unix_nano > span.start_time_unix_nano);
    let told = [
        ("rpc.system", "grpc"),
        ("rpc.method", "StartWorkflowExecution"),
        ("rpc.grpc.status_code", "0"),
        ("temporal.namespace", "default"),
        ("temporal.workflow.id", "w"),
        ("temporal.workflow.type", "Order"),
        ("temporal.task_queue", "orders"),
    ];
    for (key, value) in told {
        assert_eq!(attribute(&span, key).as_deref(), Some(value), "{key}");
    }

    // A refusal is not the server's error, and has no parent here.
    let mut unknown = start("w", None);
    unknown.get_mut().namespace = "nobody's".into();
    server.workflow().start_workflow_execution(unknown).await.expect_err("no such namespace");
    let span = receiver.got.span(|span| span.name == START && span.parent_span_id.is_empty()).await;
    assert_eq!(attribute(&span, "rpc.grpc.status_code").as_deref(), Some("5"));
    assert_eq!(span.status.expect("a status").code(), StatusCode::Unset);
    // A parent that has no span wants none; over HTTP a call has its parent too.
    let unsampled = PARENT.replace("-01", "-00").replace("0af7", "1af7");
    server.workflow().start_workflow_execution(start("w2", Some(&unsampled))).await.expect("started");
    let parent = PARENT.replace("0af7", "2af7");
    let list = request(http, Method::GET, "/api/v1/namespaces/default/workflows", &[("traceparent", &parent)], "");
    assert_eq!(text(http, list).await.0, 200);
    let span = receiver.got.span(|span| span.name.ends_with("/ListWorkflowExecutions")).await;
    assert_eq!(hex(&span.trace_id), "2af7651916cd43dd8448eb211c80319c");
    assert!(receiver.got.0.lock().unwrap().spans.iter().all(|span| !hex(&span.trace_id).starts_with("1af7")));

    // Nothing happens any more: both ways tell the same.
    let begun = Instant::now();
    loop {
        let before = receiver.got.0.lock().unwrap().messages_of_metrics;
        let scraped = scraped(http).await;
        while receiver.got.0.lock().unwrap().messages_of_metrics < before + 2 {
            assert!(begun.elapsed() < SOON, "no metrics came");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let pushed = steady(receiver.got.0.lock().unwrap().series.clone());
        if scraped == pushed || begun.elapsed() > SOON {
            assert_eq!(scraped, pushed);
            assert!(pushed.len() > 100, "{pushed:?}");
            assert_eq!(pushed.get("service_requests{operation=\"StartWorkflowExecution\",service_name=\"frontend\"}"), Some(&3.0));
            break;
        }
    }
    let taken = receiver.got.0.lock().unwrap();
    assert!(!taken.keys.is_empty() && taken.keys.iter().all(|key| key == "a secret"));
    for resource in &taken.resources {
        let of = |key: &str| resource.attributes.iter().find(|pair| pair.key == key).map(string);
        assert_eq!((of("service.name").as_deref(), of("service.version").is_some()), (Some("sempre-test"), true));
        assert!(of("service.instance.id").is_some_and(|id| !id.is_empty()));
    }
}

/// What has not been sent yet is sent when the server stops; here under TLS, with an authority that the system does not know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_sends_what_is_left() {
    for protocol in ["grpc", "http/protobuf"] {
        let key = rcgen::KeyPair::generate().expect("a key");
        let own = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).and_then(|own| own.self_signed(&key)).expect("a certificate");
        let file = std::env::temp_dir().join(format!("sempre-otlp-{}-{}.pem", std::process::id(), protocol.len()));
        std::fs::write(&file, own.pem()).expect("written");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS")
            .with_no_client_auth()
            .with_single_cert(vec![own.der().clone()], key)
            .expect("a certificate and its key");
        config.alpn_protocols = vec![if protocol == "grpc" { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let receiver = Receiver::start(protocol, Some(TlsAcceptor::from(Arc::new(config)))).await;
        let endpoint = format!("https://localhost:{}", receiver.address.port());
        let server = TestServer::start_with(settings(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", file.to_str().expect("text")),
            ("OTEL_BSP_SCHEDULE_DELAY", "3600000"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "3600000"),
        ]))
        .await;
        for _ in 0..3 {
            server.workflow().get_system_info(GetSystemInfoRequest {}).await.expect("answers");
        }
        assert!(receiver.got.0.lock().unwrap().spans.is_empty());
        timeout(SOON, server.stop()).await.expect("soon").expect("no panic").expect("stops cleanly");
        let taken = receiver.got.0.lock().unwrap();
        assert_eq!((taken.spans.len(), taken.messages_of_metrics), (3, 1), "{protocol}");
        assert_eq!(taken.series["service_requests{operation=\"GetSystemInfo\",service_name=\"frontend\"}"], 3.0);
        // It is in the system's temporary folder.
        let _ = std::fs::remove_file(file);
    }
}

/// One that takes connections and never answers: calls go on, what finds no room is dropped, and the server stops in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_hangs_holds_nothing_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", silent.local_addr().expect("an address"));
    for protocol in ["grpc", "http/protobuf"] {
        let server = TestServer::start_with(settings(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "1"),
            ("OTEL_BSP_SCHEDULE_DELAY", "1"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "1"),
        ]))
        .await;
        let calls = async {
            for _ in 0..300 {
                server.workflow().get_system_info(GetSystemInfoRequest {}).await.expect("answers");
            }
        };
        timeout(Duration::from_secs(10), calls).await.expect("no call waits for the receiver");
        timeout(SOON, server.stop()).await.expect("soon").expect("no panic").expect("stops cleanly");
    }
}
