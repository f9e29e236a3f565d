//! What pages offer to do, and what comes of it: to runs from their events, to activities, to batch operations.

use std::time::Duration;

use http::{Method, StatusCode, header};
use sempre_api::{
    json::{Payloads, from_value},
    v1::workflowservice::{
        PollActivityTaskQueueRequest, PollActivityTaskQueueResponse, PollWorkflowTaskQueueRequest, RespondActivityTaskFailedRequest,
        RespondWorkflowTaskCompletedRequest,
    },
};
use serde_json::json;
use tonic::Request;

use crate::{http::json_of, ui::Browser};

/// How long a poll may wait.
const PATIENCE: Duration = Duration::from_secs(30);

/// Completes the next workflow task with an activity that is tried once in an hour.
async fn schedule(browser: &Browser) {
    let queue = json!({ "name": "q" });
    let poll = json!({ "namespace": "default", "taskQueue": queue });
    let mut poll = Request::new(from_value::<PollWorkflowTaskQueueRequest>(poll, Payloads::Full).expect("a poll"));
    poll.set_timeout(PATIENCE);
    let task = browser.server.workflow().poll_workflow_task_queue(poll).await.expect("a task").into_inner();
    let activity = json!({ "activityId": "a", "activityType": { "name": "A" }, "taskQueue": queue, "startToCloseTimeout": "60s",
        "retryPolicy": { "initialInterval": "3600s" } });
    let commands = json!([{ "commandType": "COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK", "scheduleActivityTaskCommandAttributes": activity }]);
    let mut done: RespondWorkflowTaskCompletedRequest =
        from_value(json!({ "namespace": "default", "commands": commands }), Payloads::Full).expect("an answer");
    done.task_token = task.task_token;
    browser.server.workflow().respond_workflow_task_completed(done).await.expect("completed");
}

async fn attempt(browser: &Browser) -> PollActivityTaskQueueResponse {
    let poll = json!({ "namespace": "default", "taskQueue": { "name": "q" } });
    let mut poll = Request::new(from_value::<PollActivityTaskQueueRequest>(poll, Payloads::Full).expect("a poll"));
    poll.set_timeout(PATIENCE);
    browser.server.workflow().poll_activity_task_queue(poll).await.expect("a task").into_inner()
}

#[tokio::test]
async fn an_activity_that_waits_is_run_now_with_the_attempt_it_has() {
    let browser = Browser::new().await;
    let run = browser.start("w").await;
    schedule(&browser).await;
    let first = attempt(&browser).await;
    let page = format!("/namespaces/default/workflows/w/{run}");
    assert!(!browser.page(&page).await.contains("activity-run-now"), "a worker has it");
    let failed = RespondActivityTaskFailedRequest { namespace: "default".into(), task_token: first.task_token, ..Default::default() };
    browser.server.workflow().respond_activity_task_failed(failed).await.expect("failed");
    assert!(browser.page(&page).await.contains("do/activity-run-now?activity=a"), "it waits for an hour");
    assert!(browser.page(&format!("{page}/do/activity-run-now?activity=a")).await.contains("Run it now"));
    let (status, headers, told) = browser.send(&format!("{page}/do/activity-run-now"), "activity=a").await;
    assert_eq!(status, StatusCode::SEE_OTHER, "{told}");
    assert!(headers[header::LOCATION].to_str().expect("text").ends_with("?done=activity-run-now"));
    let second = attempt(&browser).await;
    assert_eq!((second.activity_id.as_str(), second.attempt), ("a", 2));
    let pending = &browser.describe("w").await["pendingActivities"][0];
    assert!(pending["paused"].as_bool() != Some(true), "{pending}");
    let (status, _, told) = browser.send(&format!("{page}/do/activity-run-now"), "activity=none").await;
    assert!(status == StatusCode::OK && told.contains("class=\"error\""), "{told}");
}

#[tokio::test]
async fn what_a_codec_server_made_of_an_input_goes_to_workers_as_it_is() {
    let browser = Browser::new().await;
    let made = json!({ "payloads": [{ "metadata": { "encoding": "YmluYXJ5L3NlY3JldA==" }, "data": "AP8=" }] });
    let escaped: String = made.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
    let do_it = async |path: &str, fields: &str| {
        let (status, headers, told) = browser.send(path, &format!("{fields}&input-encoded={escaped}")).await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{path}: {told}");
        headers[header::LOCATION].to_str().expect("text").split('?').next().expect("a path").to_owned()
    };
    let run = do_it("/namespaces/default/start-workflow", "id=w&type=T&queue=q").await;
    do_it(&format!("{run}/do/signal"), "name=s").await;
    schedule(&browser).await;
    do_it(&format!("{run}/do/activity-complete"), "activity=a").await;
    let history = "/api/v1/namespaces/default/workflows/w/history?noPayloadShorthand=true";
    let history = json_of(browser.address, Method::GET, history, &json!(null)).await.1;
    let events = history["history"]["events"].as_array().expect("events");
    let of = |kind: &str, field: &str| events.iter().find_map(|event| Some(event.get(kind)?[field].clone()));
    for (kind, field) in
        [("workflowExecutionStarted", "input"), ("workflowExecutionSignaled", "input"), ("activityTaskCompleted", "result")]
    {
        assert_eq!(of(&format!("{kind}EventAttributes"), field).as_ref(), Some(&made), "{kind}: {history}");
    }
    let (status, _, told) = browser.send(&format!("{run}/do/signal"), "name=s&input-encoded=x").await;
    assert!(status == StatusCode::OK && told.contains("What the codec server made of the input cannot be read"), "{told}");
}

#[tokio::test]
async fn an_event_leads_to_a_reset_and_a_fork_there() {
    let browser = Browser::new().await;
    let run = browser.start("w").await;
    schedule(&browser).await;
    let page = format!("/namespaces/default/workflows/w/{run}");
    let history = browser.page(&format!("{page}/history?view=compact")).await;
    for event in 1..=5 {
        assert!(history.contains(&format!("{page}/do/reset?to=event&amp;event={event}\"")), "{event}: {history}");
        assert!(history.contains(&format!("{page}/do/fork?event={event}\"")), "{event}: {history}");
    }
    let form = browser.page(&format!("{page}/do/reset?to=event&event=5")).await;
    assert!(form.contains("value=\"event\" selected") && form.contains("name=\"event\" value=\"5\""), "{form}");
    let (status, headers, told) = browser.send(&format!("{page}/do/reset"), "to=event&event=5&reason=r").await;
    assert_eq!(status, StatusCode::SEE_OTHER, "{told}");
    assert!(!headers[header::LOCATION].to_str().expect("text").contains(&run), "to the new run");
}

#[tokio::test]
async fn a_batch_operation_is_stopped() {
    let browser = Browser::new().await;
    for n in 0..3 {
        browser.start(&format!("w{n}")).await;
    }
    let (_, headers, page) =
        browser.send("/namespaces/default/bulk/terminate", "query=WorkflowType+%3D+%27%3Cb%3ET%3C%2Fb%3E%27&reason=r&rps=0.001").await;
    let batch = headers.get(header::LOCATION).unwrap_or_else(|| panic!("{page}")).to_str().expect("text").to_owned();
    let batch = batch.split('?').next().expect("a path").to_owned();
    assert!(browser.page(&batch).await.contains(&format!("action=\"{batch}/stop\"")));
    let (status, headers, page) = browser.send(&format!("{batch}/stop"), "").await;
    assert_eq!(status, StatusCode::SEE_OTHER, "{page}");
    assert_eq!(headers[header::LOCATION].to_str().ok(), Some(format!("{batch}?done=batch-stop").as_str()));
    while browser.page(&batch).await.contains(">Running<") {
        tokio::task::yield_now().await;
    }
    assert!(!browser.page(&batch).await.contains("/stop\""), "there is nothing to stop any more");
    let mut open = 0;
    for n in 0..3 {
        open +=
            usize::from(browser.describe(&format!("w{n}")).await["workflowExecutionInfo"]["status"] == "WORKFLOW_EXECUTION_STATUS_RUNNING");
    }
    assert!(open >= 2, "{open}");
}

#[tokio::test]
async fn an_activity_without_workflow_is_cancelled() {
    let browser = Browser::new().await;
    let body = json!({ "activityType": { "name": "A" }, "taskQueue": { "name": "q" }, "startToCloseTimeout": "60s", "requestId": "r" });
    let (status, started) = json_of(browser.address, Method::POST, "/api/v1/namespaces/default/activities/a", &body).await;
    assert_eq!(status, 200, "{started}");
    let page = format!("/namespaces/default/activities/a/{}", started["runId"].as_str().expect("a run id"));
    assert!(browser.page(&page).await.contains("do/cancel"));
    let (status, _, told) = browser.send(&format!("{page}/do/cancel"), "reason=x").await;
    assert_eq!(status, StatusCode::SEE_OTHER, "{told}");
    let page = browser.page(&page).await;
    assert!(page.contains("Canceled") && page.contains("It closed "), "{page}");
}

#[tokio::test]
async fn links_of_temporals_ui_lead_to_the_same_views() {
    let browser = Browser::new().await;
    let run = browser.start("w").await;
    let base = format!("/namespaces/default/workflows/w/{run}");
    for (theirs, ours) in [
        ("timeline", ""),
        ("workers", ""),
        ("pending-activities", ""),
        ("call-stack", "/queries"),
        ("stack-trace", "/queries"),
        ("memo", "/metadata"),
        ("search-attributes", "/metadata"),
    ] {
        let (status, headers, _) = browser.get(&format!("{base}/{theirs}")).await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{theirs}");
        assert_eq!(headers[header::LOCATION].to_str().ok(), Some(format!("{base}{ours}").as_str()), "{theirs}");
    }
}
