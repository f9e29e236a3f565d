//! Any calls of the API, one after the other, to a whole server in this process: each line is a method and its request as JSON, in
//! which `"$task"` and `"$page"` stand for the last tokens that an answer gave, and `"$run"` for the last run id. No call may
//! panic, and at the end what is stored holds together by the rules of `sempre store check`.
#![no_main]

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use libfuzzer_sys::{Corpus, fuzz_target};
use prost::Message;
use sempre_api::json::{
    self, Payloads, UnknownFields,
    reflect::{DynamicMessage, MessageDescriptor, Value},
};
use sempre_engine::check::{News, check};
use sempre_server::{ServerSettings, Service, TimeSkipping};
use sempre_store::memory::MemoryStore;

/// Calls of one input.
const CALLS_MAX: usize = 24;
/// Services whose calls are made.
const SERVICES: [&str; 3] = [
    "temporal.api.workflowservice.v1.WorkflowService",
    "temporal.api.operatorservice.v1.OperatorService",
    // Time stands still but for what this is asked.
    "temporal.api.testservice.v1.TestService",
];

struct Method {
    path: String,
    input: MessageDescriptor,
    output: MessageDescriptor,
}

fn methods() -> &'static BTreeMap<String, Method> {
    static METHODS: OnceLock<BTreeMap<String, Method>> = OnceLock::new();
    METHODS.get_or_init(|| {
        let services = json::descriptors().services();
        let named = services.filter(|service| SERVICES.contains(&service.full_name()) || service.full_name().starts_with("sempre."));
        let all = named.flat_map(|service| service.methods().map(|method| (service.clone(), method)).collect::<Vec<_>>());
        all.map(|(service, method)| {
            let path = format!("/{}/{}", service.full_name(), method.name());
            (method.name().to_owned(), Method { path, input: method.input(), output: method.output() })
        })
        .collect()
    })
}

/// What answers have given.
#[derive(Default)]
struct Known {
    task: String,
    page: String,
    run: String,
}

impl Known {
    fn hear(&mut self, answer: &DynamicMessage) {
        let bytes = |name: &str| match answer.get_field_by_name(name).as_deref() {
            Some(Value::Bytes(bytes)) if !bytes.is_empty() => Some(base64(bytes)),
            _ => None,
        };
        let text = |message: &DynamicMessage, name: &str| match message.get_field_by_name(name).as_deref() {
            Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
            _ => None,
        };
        let execution = match answer.get_field_by_name("workflow_execution").as_deref() {
            Some(Value::Message(execution)) => text(execution, "run_id"),
            _ => None,
        };
        self.task = bytes("task_token").unwrap_or(std::mem::take(&mut self.task));
        self.page = bytes("next_page_token").unwrap_or(std::mem::take(&mut self.page));
        self.run = text(answer, "run_id").or(execution).unwrap_or(std::mem::take(&mut self.run));
    }
}

fn base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |group: &[u8]| {
        let number = group.iter().chain(&[0, 0]).take(3).fold(0u32, |number, byte| number << 8 | u32::from(*byte));
        let sign = move |at: usize| if at <= group.len() { char::from(SIGNS[(number >> (18 - 6 * at) & 63) as usize]) } else { '=' };
        (0..4).map(sign).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

async fn call(service: &Service, known: &mut Known, method: &Method, text: &str) {
    let text = text.replace("$task", &known.task).replace("$page", &known.page).replace("$run", &known.run);
    let Ok(value) = serde_json::from_str(&text) else { return };
    let request = json::dynamic_from_value(method.input.clone(), value, Payloads::Shorthand, UnknownFields::Ignored);
    let Ok(request) = request else { return };
    let message = request.encode_to_vec();
    let mut frame = vec![0];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(&message);
    let request = http::Request::post(&method.path)
        .version(http::Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "2S")
        .body(Full::new(Bytes::from(frame)))
        .expect("a request");
    let answer = service.call(request).await;
    let Ok(body) = answer.into_body().collect().await else { return };
    let bytes = body.to_bytes();
    if let Some(Ok(answer)) = bytes.get(5..).map(|bytes| DynamicMessage::decode(method.output.clone(), bytes)) {
        let _ = json::dynamic_to_value(&answer, Payloads::Shorthand);
        known.hear(&answer);
    }
}

async fn play(calls: Vec<(&Method, &str)>) {
    let store = Arc::new(MemoryStore::new());
    let settings = ServerSettings { time_skipping: Some(TimeSkipping::Locked), ..ServerSettings::default() };
    let service = Service::open(&settings, store.clone()).await.expect("an empty store opens");
    let mut known = Known::default();
    for (method, text) in calls {
        call(&service, &mut known, method, text).await;
    }
    // What is on its way arrives.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut problems = Vec::new();
    let mut tell = |news: News<'_>| {
        if let News::Problem(problem) = news {
            problems.push(problem.to_string());
        }
    };
    service.engine().shutdown().await;
    check(store.as_ref(), &mut tell).await.expect("memory can be read");
    assert!(problems.is_empty(), "{problems:#?}");
    service.close().await;
}

fuzz_target!(|text: &str| -> Corpus {
    let methods = methods();
    let parts = text.lines().take(CALLS_MAX).filter_map(|line| line.split_once(' '));
    let calls: Vec<_> = parts.filter_map(|(name, request)| Some((methods.get(name)?, request))).collect();
    if calls.is_empty() {
        return Corpus::Reject;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(play(calls));
    Corpus::Keep
});
