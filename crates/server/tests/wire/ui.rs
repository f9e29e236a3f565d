//! The web UI as a browser asks for it: pages, what is refused, what forms do.

use std::net::SocketAddr;

use http::{HeaderMap, Method, StatusCode, header};
use sempre_api::{
    sempre::v1::{
        AlertRule, AlertWebhook, FlowMatch, FlowRule, SetAlertRuleRequest, SetFlowRuleRequest, alert_service_client::AlertServiceClient,
        flow_service_client::FlowServiceClient,
    },
    v1::{
        deployment::WorkerDeploymentVersion,
        workflowservice::{CreateWorkerDeploymentRequest, CreateWorkerDeploymentVersionRequest},
    },
};
use sempre_core::validate::AddressRule;
use sempre_server::{ServerSettings, UiSettings};
use serde_json::{Value, json};

use crate::{
    http::{json_of, request, text},
    support::TestServer,
};

/// What must stand in no page as it is.
const EVIL: &str = "<img src=x onerror=alert(1)>/%2F'\"&?#";
const EVIL_IN_PATH: &str = "%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E%2F%252F%27%22%26%3F%23";

fn settings(public_path: &str) -> ServerSettings {
    let ui = UiSettings {
        address: ([127, 0, 0, 1], 0).into(),
        public_path: public_path.to_owned(),
        codec_endpoint: Some("https://codec.example/{namespace}".to_owned()),
        asset_path: None,
    };
    let mut settings = ServerSettings { ui: Some(ui), ..ServerSettings::default() };
    settings.engine.limits.callback_addresses = vec![AddressRule { pattern: "127.0.0.1:*".into(), allow_insecure: true }];
    settings
}

/// A browser: what it was told to keep it sends again.
pub(crate) struct Browser {
    pub(crate) server: TestServer,
    pub(crate) address: SocketAddr,
    token: String,
}

/// An answer: its code, its headers, its text.
pub(crate) type Page = (StatusCode, HeaderMap, String);

impl Browser {
    pub(crate) async fn new() -> Self {
        Self::with(settings("")).await
    }

    async fn with(settings: ServerSettings) -> Self {
        let server = TestServer::start_with(settings).await;
        let address = server.ui.expect("the UI has an address");
        let (status, headers, _) = text(address, request(address, Method::GET, "/namespaces", &[], "")).await;
        assert_eq!(status, StatusCode::OK);
        let cookie = headers[header::SET_COOKIE].to_str().expect("text");
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        let token = cookie.split([';', '=']).nth(1).expect("a token").to_owned();
        Self { server, address, token }
    }

    pub(crate) async fn get(&self, path: &str) -> Page {
        let cookie = format!("sempre_token={}", self.token);
        text(self.address, request(self.address, Method::GET, path, &[("cookie", &cookie)], "")).await
    }

    /// The text of a page that is there.
    pub(crate) async fn page(&self, path: &str) -> String {
        let (status, _, text) = self.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        text
    }

    /// Sends a form as a page of this server would.
    pub(crate) async fn send(&self, path: &str, fields: &str) -> Page {
        self.send_as(path, &format!("_token={}&{fields}", self.token), &[("origin", &format!("http://{}", self.address))]).await
    }

    async fn send_as(&self, path: &str, body: &str, headers: &[(&str, &str)]) -> Page {
        let cookie = format!("sempre_token={}", self.token);
        let form = ("content-type", "application/x-www-form-urlencoded");
        let headers = [&[form, ("cookie", cookie.as_str())], headers].concat();
        text(self.address, request(self.address, Method::POST, path, &headers, body)).await
    }

    pub(crate) async fn start(&self, id: &str) -> String {
        let body = json!({ "workflowType": { "name": "<b>T</b>" }, "taskQueue": { "name": "q" }, "input": [{ "n": "</pre><script>" }], "requestId": id });
        let (status, answer) = json_of(self.address, Method::POST, &format!("/api/v1/namespaces/default/workflows/{id}"), &body).await;
        assert_eq!(status, 200, "{answer}");
        answer["runId"].as_str().expect("a run id").to_owned()
    }

    pub(crate) async fn describe(&self, id: &str) -> Value {
        json_of(self.address, Method::GET, &format!("/api/v1/namespaces/default/workflows/{id}"), &Value::Null).await.1
    }
}

#[tokio::test]
async fn what_users_wrote_is_escaped_everywhere() {
    let browser = Browser::new().await;
    let run = browser.start(EVIL_IN_PATH).await;
    let base = format!("/namespaces/default/workflows/{EVIL_IN_PATH}/{run}");
    let list = browser.page("/namespaces/default/workflows?cols=id,type,run,queue,parent&query=").await;
    assert!(list.contains(&format!("href=\"{base}\"")), "the link to the run is not whole: {list}");
    let views = ["", "/history", "/history?view=compact", "/history?view=json", "/relationships", "/queries", "/updates", "/metadata"];
    let forms = ["signal", "update", "query", "cancel", "terminate", "reset", "fork", "pause", "delete"].map(|form| format!("/do/{form}"));
    let mut pages = vec![list];
    for below in views.iter().map(|view| (*view).to_owned()).chain(forms) {
        pages.push(browser.page(&format!("{base}{below}")).await);
    }
    pages.push(browser.page(&format!("/namespaces/default/start-workflow?like={run}+{EVIL_IN_PATH}")).await);
    pages.push(browser.page("/namespaces/default/bulk/terminate?query=").await);
    pages.push(browser.get(&format!("/namespaces/default/workflows?query={EVIL_IN_PATH}")).await.2);
    pages.push(browser.get(&format!("/namespaces/{EVIL_IN_PATH}/workflows")).await.2);
    for page in pages {
        for raw in ["<img", "onerror=alert(1)>", "<b>T</b>", "</pre><script>", EVIL] {
            assert!(!page.contains(raw), "{raw} stands in a page as it is: {page}");
        }
    }
}

#[tokio::test]
async fn browsers_are_told_what_pages_never_do() {
    let browser = Browser::new().await;
    let (_, headers, page) = browser.get("/namespaces/default/workflows").await;
    let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().expect("text");
    for rule in
        ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"]
    {
        assert!(policy.contains(rule), "{rule} is not in {policy}");
    }
    assert!(policy.contains("connect-src 'self' https://codec.example;") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains(" onclick="), "what the policy forbids is in the page");
    for part in page.split("<script").skip(1) {
        assert!(part.starts_with(" defer src=\"/ui/app-"), "a script inside of the page");
    }
    // Whatever the page loads is there, and is kept.
    for name in page.split(['"']).filter(|text| text.starts_with("/ui/")) {
        let (status, headers, _) = browser.get(name).await;
        assert_eq!(status, StatusCode::OK, "{name}");
        assert!(headers[header::CACHE_CONTROL].to_str().expect("text").contains("immutable"));
    }
}

#[tokio::test]
async fn forms_that_no_page_has_sent_do_nothing() {
    let browser = Browser::new().await;
    let run = browser.start("w").await;
    let target = format!("/namespaces/default/workflows/w/{run}/do/terminate");
    let token = format!("_token={}&reason=r", browser.token);
    let own = format!("http://{}", browser.address);
    let own = own.as_str();
    let cases: [(&str, &[(&str, &str)]); 5] = [
        (&token, &[]),
        (&token, &[("origin", own), ("sec-fetch-site", "cross-site")]),
        ("reason=r", &[("origin", own)]),
        ("_token=&reason=r", &[("origin", own)]),
        ("_token=00000000000000000000000000000000", &[("origin", own)]),
    ];
    for (body, headers) in cases {
        let (status, _, page) = browser.send_as(&target, body, headers).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{body} {headers:?}");
        assert!(page.contains("nothing was done"), "{page}");
    }
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        let (status, ..) = browser.send_as(&target, &token, &[("origin", origin)]).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{origin}");
    }
    assert_eq!(browser.describe("w").await["workflowExecutionInfo"]["status"], "WORKFLOW_EXECUTION_STATUS_RUNNING");
    let (status, headers, _) = browser.send(&target, "reason=r").await;
    assert_eq!(
        (status, headers[header::LOCATION].to_str().ok()),
        (StatusCode::SEE_OTHER, Some(format!("/namespaces/default/workflows/w/{run}?done=terminate").as_str()))
    );
    assert_eq!(browser.describe("w").await["workflowExecutionInfo"]["status"], "WORKFLOW_EXECUTION_STATUS_TERMINATED");
}

#[tokio::test]
async fn a_name_that_points_here_gets_no_page() {
    let browser = Browser::new().await;
    let (status, ..) = text(browser.address, request(browser.address, Method::GET, "/", &[("host", "evil.example")], "")).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn what_is_not_there_is_a_page_that_says_so() {
    let browser = Browser::new().await;
    let run = browser.start("w").await;
    for (path, code, says) in [
        ("/namespaces/nowhere/workflows".to_owned(), 404, "Namespace nowhere is not found."),
        ("/namespaces/default/workflows/none".to_owned(), 404, "Not found"),
        ("/namespaces/default/workflows/w/0190a0a0-0000-7000-8000-000000000000".to_owned(), 404, "Not found"),
        ("/namespaces/default/workflows/w/not-an-id".to_owned(), 400, "That does not work"),
        (format!("/namespaces/default/workflows/w/{run}/nothing"), 404, "no such view"),
        (format!("/namespaces/default/workflows/w/{run}/do/nothing"), 404, "Nothing of that name"),
        (format!("/namespaces/default/workflows/w/{run}/activities/none"), 404, "no attempt of an activity"),
        ("/namespaces/default/schedules/none".to_owned(), 404, "Not found"),
        ("/namespaces/default/batch-operations/none".to_owned(), 404, "Not found"),
        ("/namespaces/default/nothing".to_owned(), 404, "There is no such page."),
        ("/ui/none.css".to_owned(), 404, "There is no such page."),
    ] {
        let (status, headers, page) = browser.get(&path).await;
        assert_eq!(status.as_u16(), code, "{path}: {page}");
        assert!(page.contains(says), "{path}: {page}");
        assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
    }
    let put = text(browser.address, request(browser.address, Method::PUT, "/namespaces", &[], "")).await;
    assert_eq!(put.0, StatusCode::NOT_IMPLEMENTED);
    // Beside the pages there is the API.
    let (status, answer) = json_of(browser.address, Method::GET, "/api/v1/namespaces", &Value::Null).await;
    assert_eq!((status, answer["namespaces"].as_array().map(Vec::len)), (200, Some(1)));
}

#[tokio::test]
async fn actions_do_what_they_say() {
    let browser = Browser::new().await;
    let run = browser.start("w").await;
    let action = |name: &str| format!("/namespaces/default/workflows/w/{run}/do/{name}");
    let (status, _, page) = browser.send(&action("signal"), "name=go&input=%7B").await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("The input is not JSON") && page.contains("value=\"go\""), "what was written is kept: {page}");
    let (status, _, page) = browser.send(&action("reset"), "to=last").await;
    assert!(status == StatusCode::OK && page.contains("nothing to go back to"), "{page}");
    let (status, ..) = browser.send(&action("signal"), "name=go&input=%7B%22a%22%3A1%7D").await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let history = browser.page(&format!("/namespaces/default/workflows/w/{run}/history?view=json")).await;
    assert!(history.contains("&quot;signalName&quot;: &quot;go&quot;"), "{history}");
    for (name, fields, status) in [("pause", "reason=x", "PAUSED"), ("unpause", "", "RUNNING"), ("cancel", "reason=y", "RUNNING")] {
        assert_eq!(browser.send(&action(name), fields).await.0, StatusCode::SEE_OTHER, "{name}");
        let described = browser.describe("w").await;
        assert_eq!(described["workflowExecutionInfo"]["status"], format!("WORKFLOW_EXECUTION_STATUS_{status}"), "{name}");
    }
    let (_, headers, _) = browser.send("/namespaces/default/start-workflow", "id=v&type=T&queue=q&input=1").await;
    assert!(headers[header::LOCATION].to_str().expect("text").starts_with("/namespaces/default/workflows/v/"));
    let (status, _, page) = browser.send("/namespaces/default/start-workflow", "id=v&type=T&queue=q").await;
    assert!(status == StatusCode::OK && page.contains("class=\"error\""), "an open id is refused: {page}");
    let (status, ..) = browser.send(&action("delete"), "").await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    // What is done to many is counted first.
    let preview = browser.page("/namespaces/default/bulk/terminate?query=WorkflowId+%3D+%27v%27").await;
    assert!(preview.contains("<b>1 run</b>"), "{preview}");
    let (status, headers, page) = browser.send("/namespaces/default/bulk/terminate", "query=WorkflowId+%3D+%27v%27&reason=r").await;
    assert_eq!(status, StatusCode::SEE_OTHER, "{page}");
    let batch = headers[header::LOCATION].to_str().expect("text").to_owned();
    assert!(batch.starts_with("/namespaces/default/batch-operations/"));
    while !browser.page(&batch).await.contains(">Completed<") {
        tokio::task::yield_now().await;
    }
    assert_eq!(browser.describe("v").await["workflowExecutionInfo"]["status"], "WORKFLOW_EXECUTION_STATUS_TERMINATED");
}

#[tokio::test]
async fn schedules_are_made_changed_and_deleted() {
    let browser = Browser::new().await;
    let form = "id=s&type=T&queue=q&cron=30+2+*+*+MON-FRI&interval=1h%2F10m&zone=Europe%2FBerlin&overlap=SCHEDULE_OVERLAP_POLICY_SKIP&paused=yes&input=%221%22";
    let (status, _, page) = browser.send("/namespaces/default/schedules/create", form).await;
    assert_eq!(status, StatusCode::SEE_OTHER, "{page}");
    let page = browser.page("/namespaces/default/schedules/s").await;
    assert!(page.contains("30 2 * * 1-5") && page.contains("every 1h, 10m after") && page.contains("Europe/Berlin"), "{page}");
    let edit = browser.page("/namespaces/default/schedules/s/edit").await;
    let conflict = edit.split("name=\"conflict\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a token");
    let form = format!("conflict={conflict}&type=T2&queue=q&interval=2h&overlap=SCHEDULE_OVERLAP_POLICY_SKIP&input=2");
    assert_eq!(browser.send("/namespaces/default/schedules/s/edit", &form).await.0, StatusCode::SEE_OTHER);
    let page = browser.page("/namespaces/default/schedules/s").await;
    assert!(page.contains("every 2h") && page.contains("T2") && !page.contains("30 2 * * 1-5"), "{page}");
    for (action, fields) in
        [("pause", "notes=n"), ("unpause", ""), ("trigger", "overlap="), ("backfill", "from=2026-01-05T00:00&to=2026-01-05T03:00")]
    {
        let (status, _, page) = browser.send(&format!("/namespaces/default/schedules/s/do/{action}"), fields).await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{action}: {page}");
    }
    let (status, _, page) = browser.send("/namespaces/default/schedules/s/do/backfill", "from=x&to=y").await;
    assert!(status == StatusCode::OK && page.contains("is not a time"), "{page}");
    assert_eq!(browser.send("/namespaces/default/schedules/s/do/delete", "").await.0, StatusCode::SEE_OTHER);
    assert!(browser.page("/namespaces/default/schedules").await.contains("No schedules here"));
}

#[tokio::test]
async fn settings_are_kept_and_lead_nowhere_else() {
    let browser = Browser::new().await;
    let (status, headers, _) = browser.send("/settings", "theme=dark&times=utc&codec=&back=%2Fnamespaces").await;
    assert_eq!((status, headers[header::LOCATION].to_str().ok()), (StatusCode::SEE_OTHER, Some("/namespaces?done=settings")));
    assert_eq!(headers.get_all(header::SET_COOKIE).iter().count(), 5);
    for back in ["https://evil.example", "//evil.example", "/%5Cevil.example", "/%09/evil.example", "javascript:alert(1)"] {
        let (_, headers, _) = browser.send("/settings", &format!("back={back}")).await;
        assert_eq!(headers[header::LOCATION], "/?done=settings", "{back}");
    }
    for refused in ["codec=javascript%3Aalert(1)", "codec=https%3A%2F%2Fother.example&token=yes"] {
        assert_eq!(browser.send("/settings", refused).await.0, StatusCode::BAD_REQUEST, "{refused}");
    }
    let cookie = "sempre_zone=Asia%2FKolkata; sempre_times=local; sempre_theme=dark";
    browser.start("w").await;
    let asked = request(browser.address, Method::GET, "/namespaces/default/workflows", &[("cookie", cookie)], "");
    let (_, _, page) = text(browser.address, asked).await;
    assert!(page.contains("UTC+5:30") && page.contains("data-theme=\"dark\""), "{page}");
}

#[tokio::test]
async fn an_access_token_is_in_a_page_only_where_its_viewer_wants_a_codec_server_to_have_it() {
    let browser = Browser::new().await;
    let has_it = async |cookie: &str, authorization: &str| {
        let headers = [("cookie", cookie), ("authorization", authorization)];
        let (status, _, page) = text(browser.address, request(browser.address, Method::GET, "/namespaces", &headers, "")).await;
        assert_eq!(status, StatusCode::OK);
        page.contains("data-codec-token=\"Bearer of-the-viewer\"")
    };
    let (codec, token) = ("sempre_codec=https%3A%2F%2Fcodec.example%2F%7Bnamespace%7D", "Bearer of-the-viewer");
    for cookie in [&format!("{codec}; sempre_codec_token=yes"), "sempre_codec_token=yes"] {
        assert!(has_it(cookie, token).await, "{cookie}");
    }
    // Anybody may have planted a cookie: one that only a cookie names gets nothing.
    let others = ["https%3A%2F%2Fother.example", "http%3A%2F%2Flocalhost%3A1", "https%3A%2F%2Fcodec.example", "javascript%3A"];
    for cookie in others.map(|other| format!("sempre_codec={other}; sempre_codec_token=yes")) {
        assert!(!has_it(&cookie, token).await, "{cookie}");
    }
    for cookie in [codec, ""] {
        assert!(!has_it(cookie, token).await, "{cookie}");
    }
    assert!(!has_it("sempre_codec_token=yes", "Basic of-the-viewer").await);
}

#[tokio::test]
async fn an_access_token_can_be_wanted_where_the_operators_codec_server_keeps_it() {
    let wanting = "codec=&token=yes";
    for (endpoint, may) in [(Some("https://codec.example/{namespace}"), true), (Some("http://codec.example"), false), (None, false)] {
        let mut settings = settings("");
        settings.ui.as_mut().expect("a UI").codec_endpoint = endpoint.map(str::to_owned);
        let browser = Browser::with(settings).await;
        assert_eq!(browser.page("/settings").await.contains("Pass the access token"), may, "{endpoint:?}");
        let code = if may { StatusCode::SEE_OTHER } else { StatusCode::BAD_REQUEST };
        assert_eq!(browser.send("/settings", wanting).await.0, code, "{endpoint:?}");
        // Whoever has a codec server of his own must not be told that it gets the token.
        let own = browser.send("/settings", "codec=http%3A%2F%2Flocalhost%3A8081&token=yes").await;
        assert_eq!(own.0, StatusCode::BAD_REQUEST, "{endpoint:?}");
    }
}

#[tokio::test]
async fn everything_is_below_the_public_path() {
    let server = TestServer::start_with(settings("/a/b/")).await;
    let address = server.ui.expect("the UI has an address");
    let get = async |path: &str| text(address, request(address, Method::GET, path, &[], "")).await;
    assert_eq!(get("/a/b").await.1[header::LOCATION], "/a/b/namespaces/default/workflows");
    let (status, _, page) = get("/a/b/namespaces/default/workflows").await;
    assert_eq!(status, StatusCode::OK);
    for part in ["href=\"", "action=\"", "src=\"", "data-stream=\""] {
        for link in page.split(part).skip(1).filter(|link| link.starts_with('/')) {
            assert!(link.starts_with("/a/b"), "{part}{}", &link[..link.len().min(80)]);
        }
    }
    assert_eq!(get("/a/b/api/v1/namespaces").await.0, StatusCode::OK);
    assert_eq!(get("/api/v1/namespaces").await.0, StatusCode::OK);
    drop(server);
}

#[tokio::test]
async fn alert_rules_are_shown_tested_and_deleted() {
    let browser = Browser::new().await;
    assert!(browser.page("/namespaces/default/alerts").await.contains("No rules"));
    let webhook = AlertWebhook { url: "http://me:pass@127.0.0.1:1/<u>x".into(), ..AlertWebhook::default() };
    let query = "ExecutionStatus = 'Terminated'".to_owned();
    let rule = AlertRule { name: "<i>ends".into(), query, webhook: Some(webhook), ..AlertRule::default() };
    let set = SetAlertRuleRequest { namespace: "default".into(), rule: Some(rule), version: 0 };
    let secret = AlertServiceClient::new(browser.server.channel.clone()).set_alert_rule(set).await.expect("a rule").into_inner().secret;
    browser.start("w").await;
    json_of(browser.address, Method::POST, "/api/v1/namespaces/default/workflows/w/terminate", &json!({})).await;
    let (status, ..) = browser.send("/namespaces/default/alerts/%3Ci%3Eends/do/test", "").await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let page = loop {
        let page = browser.page("/namespaces/default/alerts").await;
        if page.contains("Not delivered") && page.contains(">w</a>") && page.contains(">Test<") {
            break page;
        }
        tokio::task::yield_now().await;
    };
    for raw in ["<i>ends", "<u>x", "me:pass", secret.as_str()] {
        assert!(!page.contains(raw), "{raw}: {page}");
    }
    assert!(browser.page("/namespaces/default/alerts?rule=other").await.contains("No alert yet"));
    assert_eq!(browser.send("/namespaces/default/alerts/%3Ci%3Eends/do/delete", "").await.0, StatusCode::SEE_OTHER);
    assert!(browser.page("/namespaces/default/alerts").await.contains("No rules"));
    assert_eq!(browser.send("/namespaces/default/alerts/none/do/test", "").await.0, StatusCode::NOT_FOUND);
    assert_eq!(browser.get("/namespaces/default/alerts/none/do/nothing").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn alert_rules_are_made_tried_and_changed() {
    let browser = Browser::new().await;
    browser.start("w").await;
    let create = "/namespaces/default/alerts/create";
    let edit = "/namespaces/default/alerts/%3Ci%3Eends/edit";
    let query = "WorkflowId+%3D+%27w%27";
    let (status, _, page) = browser.send(create, &format!("try=yes&query={query}&name=%3Ci%3Eends")).await;
    assert!(status == StatusCode::OK && page.contains("<b>1 run</b>") && page.contains(">w</a>"), "{page}");
    assert!(page.contains("value=\"&lt;i&gt;ends\""), "what was written is kept: {page}");
    let (_, _, page) = browser.send(create, "try=yes&query=Nothing+%3D+1").await;
    assert!(page.contains("class=\"error\""), "{page}");
    assert!(browser.page("/namespaces/default/alerts").await.contains("No rules"), "a try makes nothing");

    let form = format!("name=%3Ci%3Eends&query={query}&scope=list&hold=5m&url=http%3A%2F%2F127.0.0.1%3A1%2F%3Cu%3Ex");
    let (status, _, page) = browser.send(create, &form).await;
    assert!(status == StatusCode::OK && page.contains("whsec_"), "the secret is told: {page}");
    let (_, _, page) = browser.send(create, &form).await;
    assert!(page.contains("class=\"error\"") && page.contains("already"), "a name is not taken twice: {page}");
    let (_, listed) = json_of(browser.address, Method::GET, "/api/v1/namespaces/default/alert-rules", &Value::Null).await;
    let rule = &listed["rules"][0]["rule"];
    assert_eq!((&rule["scope"], &rule["hold"]), (&json!("ALERT_SCOPE_LIST"), &json!("300s")), "{listed}");

    let page = browser.page(edit).await;
    assert!(page.contains("value=\"5m\"") && page.contains("http://127.0.0.1:1/…") && !page.contains("whsec_M"), "{page}");
    for raw in ["<i>ends", "<u>x"] {
        assert!(!page.contains(raw), "{raw}: {page}");
    }
    // The address and the secret stay where none is given.
    let (status, _, page) = browser.send(edit, &format!("version=1&query={query}&scope=each&hold=&url=&secret=")).await;
    assert_eq!(status, StatusCode::SEE_OTHER, "{page}");
    let (_, listed) = json_of(browser.address, Method::GET, "/api/v1/namespaces/default/alert-rules", &Value::Null).await;
    assert_eq!((&listed["rules"][0]["version"], &listed["rules"][0]["rule"]["scope"]), (&json!("2"), &json!("ALERT_SCOPE_EACH_RUN")));
    let (_, _, page) = browser.send(edit, &format!("version=1&query={query}&scope=each")).await;
    assert!(page.contains("has version 2, not 1"), "another has changed it meanwhile: {page}");
    assert_eq!(browser.send_as(create, &form, &[]).await.0, StatusCode::FORBIDDEN);
    assert_eq!(browser.get("/namespaces/default/alerts/none/edit").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn alert_rules_of_a_file_are_shown_as_such_and_not_changed() {
    let file = std::env::temp_dir().join(format!("sempre-ui-alerts-{}.toml", std::process::id()));
    let rule = "[[rule]]\nname = 'a'\nquery = \"ExecutionStatus = 'Failed'\"\nurl = 'http://127.0.0.1:1/'\nsecret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'\n";
    std::fs::write(&file, rule).expect("written");
    let browser = Browser::with(ServerSettings { alerts_file: Some(file.clone()), ..settings("") }).await;
    let page = browser.page("/namespaces/default/alerts").await;
    assert!(page.contains("From the file") && page.contains("/alerts/a/do/test"), "{page}");
    assert!(!page.contains("/alerts/a/edit") && !page.contains("/alerts/a/do/delete"), "{page}");
    let (status, _, page) = browser.get("/namespaces/default/alerts/a/edit").await;
    assert!(status == StatusCode::BAD_REQUEST && page.contains("--alerts-file"), "{status}: {page}");
    // It is in the system's temporary folder.
    let _ = std::fs::remove_file(&file);
}

#[tokio::test]
async fn activities_without_workflow_have_a_list_a_page_and_actions() {
    let browser = Browser::new().await;
    assert!(browser.page("/namespaces/default/activities").await.contains("No activities"));
    let body = json!({ "activityType": { "name": "<b>A</b>" }, "taskQueue": { "name": "q" }, "startToCloseTimeout": "60s",
        "input": [{ "n": "</pre><script>" }], "requestId": "r" });
    let target = format!("/api/v1/namespaces/default/activities/{EVIL_IN_PATH}");
    let (status, started) = json_of(browser.address, Method::POST, &target, &body).await;
    assert_eq!(status, 200, "{started}");
    let run = started["runId"].as_str().expect("a run id");
    let base = format!("/namespaces/default/activities/{EVIL_IN_PATH}/{run}");
    let list = browser.page("/namespaces/default/activities?query=").await;
    assert!(list.contains(&format!("href=\"{base}\"")), "{list}");
    let page = browser.page(&base).await;
    assert!(page.contains("It waits for a worker of task queue q to take attempt 1.") && page.contains(">Waiting<"), "{page}");
    for raw in ["<img", "<b>A</b>", "</pre><script>", EVIL] {
        assert!(!page.contains(raw) && !list.contains(raw), "{raw} stands in a page as it is");
    }
    assert!(browser.page("/namespaces/default/activities?query=ActivityType+%3D+%27none%27").await.contains("No activities"));
    for (act, says) in [("pause", "It is paused"), ("unpause", "It waits "), ("reset", "It waits ")] {
        let (status, _, told) = browser.send(&format!("{base}/do/{act}"), "reason=x").await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{act}: {told}");
        let page = browser.page(&base).await;
        assert!(page.contains(says), "{act}: {page}");
    }
    assert!(browser.page(&format!("{base}/do/terminate")).await.contains("Terminate it"));
    assert_eq!(browser.send(&format!("{base}/do/terminate"), "reason=x").await.0, StatusCode::SEE_OTHER);
    let page = browser.page(&base).await;
    assert!(page.contains("Terminated") && page.contains("It closed ") && !page.contains("do/pause"), "{page}");
    assert_eq!(browser.send(&format!("{base}/do/delete"), "").await.0, StatusCode::SEE_OTHER);
    assert_eq!(browser.get(&base).await.0, StatusCode::NOT_FOUND);
    assert_eq!(browser.get("/namespaces/default/activities/none/0190a0a0-0000-7000-8000-000000000000").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn versions_of_deployments_become_current_ramp_and_go() {
    let browser = Browser::new().await;
    let mut client = browser.server.workflow();
    for build_id in ["1", "<b>2"] {
        let version = WorkerDeploymentVersion { deployment_name: "shop".into(), build_id: build_id.into() };
        let request =
            CreateWorkerDeploymentVersionRequest { namespace: "default".into(), deployment_version: Some(version), ..Default::default() };
        if build_id == "1" {
            let made = CreateWorkerDeploymentRequest { namespace: "default".into(), deployment_name: "shop".into(), ..Default::default() };
            client.create_worker_deployment(made).await.expect("made");
        }
        client.create_worker_deployment_version(request).await.expect("made");
    }
    let base = "/namespaces/default/worker-deployments/shop";
    let conflict =
        |page: &str| page.split("name=\"conflict\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a token").to_owned();
    let form = browser.page(&format!("{base}/do/current?build=1")).await;
    assert!(form.contains("New work goes to") && form.contains(">0 open runs</a>"), "it says first what it changes: {form}");
    let old = conflict(&form);
    let (status, _, page) = browser.send(&format!("{base}/do/current"), &format!("build=1&conflict={old}")).await;
    assert_eq!(status, StatusCode::SEE_OTHER, "{page}");
    let page = browser.page(base).await;
    assert!(page.contains(">Current<") && page.contains("Unset current") && !page.contains("<b>2"), "{page}");
    let ramp = |token: &str| format!("build=%3Cb%3E2&percentage=20&conflict={token}");
    let (status, _, page) = browser.send(&format!("{base}/do/ramp"), &ramp(&old)).await;
    assert!(status == StatusCode::OK && page.contains("class=\"error\""), "another has changed it meanwhile: {page}");
    let form = browser.page(&format!("{base}/do/ramp?build=%3Cb%3E2")).await;
    let (status, _, page) = browser.send(&format!("{base}/do/ramp"), &ramp(&conflict(&form))).await;
    assert_eq!(status, StatusCode::SEE_OTHER, "{page}");
    let page = browser.page(base).await;
    assert!(page.contains(">Ramping<") && page.contains("20 %") && page.contains("End the ramp"), "{page}");
    for act in ["end-ramp", "no-current"] {
        let form = browser.page(&format!("{base}/do/{act}")).await;
        let (status, _, page) = browser.send(&format!("{base}/do/{act}"), &format!("conflict={}", conflict(&form))).await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{act}: {page}");
    }
    let page = browser.page(base).await;
    assert!(!page.contains(">Ramping<") && !page.contains(">Current<"), "{page}");
    let form = browser.page(&format!("{base}/do/delete?build=%3Cb%3E2")).await;
    assert!(form.contains("Runs of it") && !form.contains("<b>2"), "{form}");
    let (status, _, page) = browser.send(&format!("{base}/do/delete"), "build=%3Cb%3E2&skip-drainage=yes").await;
    assert_eq!(status, StatusCode::SEE_OTHER, "{page}");
    assert!(!browser.page(base).await.contains("&lt;b&gt;2"));
    assert_eq!(browser.get(&format!("{base}/do/ramp?build=none")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(browser.send_as(&format!("{base}/do/no-current"), "", &[]).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_run_that_a_flow_rule_holds_says_so() {
    let browser = Browser::new().await;
    let conditions = FlowMatch { all: true, ..FlowMatch::default() };
    let rule = FlowRule { name: "one".into(), r#match: Some(conditions), max_open: 1, ..FlowRule::default() };
    let set = SetFlowRuleRequest { namespace: "default".into(), rule: Some(rule), version: 0 };
    FlowServiceClient::new(browser.server.channel.clone()).set_flow_rule(set).await.expect("a rule");
    browser.start("first").await;
    let run = browser.start("second").await;
    let page = browser.page(&format!("/namespaces/default/workflows/second/{run}")).await;
    assert!(page.contains("in place 1 of flow rule one: as many runs as may be are open"), "{page}");
}
