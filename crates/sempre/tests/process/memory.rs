//! A server with a budget of memory, asked for more than fits into it.
//!
//! The slice that always runs is small. The long run: `SEMPRE_FLOOD_POLLS=100000 SEMPRE_FLOOD_STARTS=3000
//! SEMPRE_FLOOD_BUDGET_MIB=1024 cargo test --release -p sempre --test process memory -- --nocapture`.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use sempre_api::v1::{
    common::{Payload, Payloads, WorkflowType},
    taskqueue::TaskQueue,
    workflowservice::{PollWorkflowTaskQueueRequest, StartWorkflowExecutionRequest, workflow_service_client::WorkflowServiceClient},
};
use tonic::{
    Code, Request,
    transport::{Channel, Endpoint},
};

use crate::support::{Running, Scratch, failure};

/// Polls on one connection.
const POLLS_A_CONNECTION: usize = 5000;
/// Starts at once.
const STARTS_AT_ONCE: usize = 64;
const PAYLOAD_BYTES: usize = (2 << 20) - 1000;

fn of_env(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Memory of a process that is not a file's.
fn anonymous_bytes(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux");
    line.trim().strip_suffix("kB").expect("kibibytes").trim().parse::<u64>().expect("a number") << 10
}

async fn connect(server: &Running) -> WorkflowServiceClient<Channel> {
    let endpoint = Endpoint::new(format!("http://{}", server.address)).expect("a URL");
    WorkflowServiceClient::new(endpoint.connect().await.expect("the server answers"))
}

fn start(id: String, input: &Payloads) -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest {
        namespace: "default".into(),
        request_id: id.clone(),
        workflow_id: id,
        workflow_type: Some(WorkflowType { name: "Type".into() }),
        task_queue: Some(TaskQueue { name: "starts".into(), ..TaskQueue::default() }),
        input: Some(input.clone()),
        ..Default::default()
    }
}

fn poll() -> Request<PollWorkflowTaskQueueRequest> {
    let task_queue = Some(TaskQueue { name: "polls".into(), ..TaskQueue::default() });
    let mut request = Request::new(PollWorkflowTaskQueueRequest { namespace: "default".into(), task_queue, ..Default::default() });
    request.set_timeout(Duration::from_secs(70));
    request
}

#[test]
fn a_budget_that_is_too_small_is_told() {
    let scratch = Scratch::new();
    let folder = scratch.path("data");
    let told = failure(["server", "start", "--port=0", "--memory-budget=10MiB", "--data-dir", folder.to_str().expect("text")]);
    assert_eq!(told, "--memory-budget 10485760 is too little; give at least 256MiB (268435456).");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "a flood is made by many tasks, and memory is looked at by the wall clock")]
async fn a_flood_of_large_payloads_and_of_polls_stays_within_the_budget() {
    let (polls, starts) = (of_env("SEMPRE_FLOOD_POLLS", 4000), of_env("SEMPRE_FLOOD_STARTS", 150));
    let budget = (of_env("SEMPRE_FLOOD_BUDGET_MIB", 256) as u64) << 20;
    let scratch = Scratch::new();
    let folder = scratch.path("data");
    let server = Arc::new(Running::start([
        "server",
        "start",
        "--port=0",
        "--http-port=0",
        &format!("--memory-budget={budget}"),
        // That many polls are of one namespace.
        "--dynamic-config-value=frontend.namespaceCount=10000000",
        "--data-dir",
        folder.to_str().expect("text"),
    ]));
    let (peak, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let watch = std::thread::spawn({
        let (process, peak, over) = (server.id(), peak.clone(), over.clone());
        move || {
            while !over.load(Relaxed) {
                peak.fetch_max(anonymous_bytes(process), Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    });
    let refused_polls = Arc::new(AtomicU64::new(0));
    let mut open = Vec::new();
    for first in (0..polls).step_by(POLLS_A_CONNECTION) {
        let client = connect(&server).await;
        for _ in first..polls.min(first + POLLS_A_CONNECTION) {
            let (mut client, refused) = (client.clone(), refused_polls.clone());
            open.push(tokio::spawn(async move {
                if let Err(status) = client.poll_workflow_task_queue(poll()).await {
                    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                    refused.fetch_add(1, Relaxed);
                }
            }));
        }
    }
    let input = Payloads { payloads: vec![Payload { data: vec![7; PAYLOAD_BYTES].into(), ..Payload::default() }] };
    let client = connect(&server).await;
    let places = Arc::new(tokio::sync::Semaphore::new(STARTS_AT_ONCE));
    let mut flood = Vec::new();
    for n in 0..starts {
        let (mut client, places, input) = (client.clone(), places.clone(), input.clone());
        flood.push(tokio::spawn(async move {
            let _place = places.acquire().await.expect("open");
            client.start_workflow_execution(start(format!("w{n}"), &input)).await.map_err(|status| status.code())
        }));
    }
    let (mut taken, mut refused) = (0, 0);
    for start in flood {
        match start.await.expect("no panic") {
            Ok(_) => taken += 1,
            Err(Code::ResourceExhausted) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    // Polls wait beside the flood, as many as fit.
    let waiting = open.iter().filter(|poll| !poll.is_finished()).count();
    // And it serves on.
    let begun = Instant::now();
    let mut client = connect(&server).await;
    client.start_workflow_execution(start("after".into(), &Payloads::default())).await.expect("there is room again");
    let took = begun.elapsed();
    over.store(true, Relaxed);
    watch.join().expect("no panic");
    open.iter().for_each(tokio::task::JoinHandle::abort);
    let (peak, refused_polls) = (peak.load(Relaxed), refused_polls.load(Relaxed));
    println!(
        "budget {} MiB, peak {} MiB; starts of 2 MB: {taken} taken, {refused} refused; polls: {waiting} wait, {refused_polls} refused; then a start took {took:?}",
        budget >> 20,
        peak >> 20
    );
    assert!(peak < budget, "{peak} bytes of {budget}");
    assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused");
    assert!(waiting > 0 && refused_polls > 0, "{waiting} wait, {refused_polls} refused");
    assert!(took < Duration::from_secs(10), "{took:?}");
}
