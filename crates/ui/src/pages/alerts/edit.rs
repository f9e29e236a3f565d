//! The form that makes an alert rule or changes one, and what its query selects now.

use maud::{Markup, html};
use sempre_api::{
    sempre::v1::{AlertRule, AlertRuleInfo, AlertScope, AlertWebhook, ListAlertRulesRequest, SetAlertRuleRequest},
    v1::workflowservice::{CountWorkflowExecutionsRequest, ListWorkflowExecutionsRequest},
};

use crate::{
    answer::redirect,
    json,
    layout::{Form, Page, Section, crumbs, required_field, select_field, text_field},
    route::Answer,
    show,
    visit::{Problem, Visit},
};

/// In [`SetAlertRuleRequest::version`]: only if there is no rule of that name.
const NEW: i64 = -1;
/// Runs that are shown of what a query selects.
const SAMPLE: i32 = 10;
const SCOPES: [(&str, &str); 2] =
    [("each", "Each run that begins to be selected"), ("list", "The list: when it fills, and when it is empty again")];

async fn find(visit: &Visit<'_>, namespace: &str, name: &str) -> Result<AlertRuleInfo, Problem> {
    let rules = visit.ask(ListAlertRulesRequest { namespace: namespace.to_owned() }).await?.rules;
    let found = rules.into_iter().find(|info| info.rule.as_ref().is_some_and(|rule| rule.name == name));
    let info = found.ok_or_else(|| Problem(tonic::Status::not_found(format!("There is no alert rule {name:?}."))))?;
    if info.from_file {
        let text = "This rule is of the file that the server was started with (--alerts-file): change it there.";
        return Err(Problem(tonic::Status::failed_precondition(text)));
    }
    Ok(info)
}

/// The form. `name` is that of the rule that is changed.
pub(crate) async fn form(visit: &Visit<'_>, namespace: &str, name: Option<&str>) -> Answer {
    show_form(visit, namespace, name, None, html! {}).await
}

async fn show_form(visit: &Visit<'_>, namespace: &str, name: Option<&str>, error: Option<&str>, tried: Markup) -> Answer {
    let info = match name {
        Some(name) => find(visit, namespace, name).await?,
        None => AlertRuleInfo::default(),
    };
    let rule = info.rule.clone().unwrap_or_default();
    let webhook = rule.webhook.clone().unwrap_or_default();
    // What was sent and refused stays written.
    let value = |field: &str, known: &str| if visit.is_post { visit.field(field).to_owned() } else { known.to_owned() };
    let scope = if rule.scope() == AlertScope::List { "list" } else { "each" };
    let fields = html! {
        input type="hidden" name="version" value=(value("version", &info.version.to_string()));
        @if name.is_none() { (required_field("name", "Name", &value("name", ""), "")) }
        label.field { span.label { "Which workflows" } textarea name="query" rows="2" required spellcheck="false" { (value("query", &rule.query)) }
            span.hint { "A filter as in the list of workflows: WorkflowType = 'Order' AND ExecutionStatus = 'Failed', SempreActivityAttempt >= 8, SempreTaskQueuePollers = 0." } }
        p { button type="submit" name="try" value="yes" formnovalidate { "Try: what does it select now?" } }
        (tried)
        (select_field("scope", "What it tells of", &value("scope", scope), &SCOPES))
        (text_field("hold", "Only after", &value("hold", &json::written(rule.hold.as_ref())), "Of the list: when it has not been empty for so long, such as 5m. Empty: at once."))
        @if name.is_none() {
            (required_field("url", "Webhook", &value("url", ""), "http or https, at an address that the server may send to (component.callbacks.allowedAddresses)."))
            (text_field("secret", "Secret", &value("secret", ""), "With which alerts are signed: whsec_ and base64 of 24 to 64 bytes. Empty: the server makes one, and tells it once."))
        } @else {
            (text_field("url", "Webhook", &value("url", ""), &format!("Empty: {} stays, whose rest is not shown.", webhook.url)))
            (text_field("secret", "Secret", &value("secret", ""), "Empty: it stays as it is."))
        }
    };
    let list = visit.link(&["namespaces", namespace, "alerts"]);
    let (title, send, to) = match name {
        Some(name) => ("Edit alert rule", "Save", visit.link(&["namespaces", namespace, "alerts", name, "edit"])),
        None => ("Create alert rule", "Create", visit.link(&["namespaces", namespace, "alerts", "create"])),
    };
    let text = html! { @if let Some(name) = name { p { code { (name) } } } };
    let form = Form { title, text, to, fields, send, danger: false, back: list.clone() };
    let body = html! { (crumbs(&[("Alerts", list)])) (form.show(visit, error)) };
    Ok(Page::new(namespace, Section::Alerts, title, body).answer(visit))
}

/// What a query selects now: how many runs, and some of them.
async fn tried(visit: &Visit<'_>, namespace: &str, query: &str) -> Result<Markup, Problem> {
    if query.is_empty() {
        return Err(Problem::invalid("Write which workflows are meant."));
    }
    let count = CountWorkflowExecutionsRequest { namespace: namespace.to_owned(), query: query.to_owned() };
    let list =
        ListWorkflowExecutionsRequest { namespace: namespace.to_owned(), page_size: SAMPLE, query: query.to_owned(), ..Default::default() };
    let (count, listed) = futures::join!(visit.ask(count), visit.ask(list));
    let (count, runs) = (count?.count, listed?.executions);
    let more = count - i64::try_from(runs.len()).unwrap_or_default();
    Ok(html! {
        section.answer role="status" {
            p.big { "It selects " b { (show::counted(count, "run", "runs")) } " now." }
            ul.sample {
                @for run in &runs {
                    @let (id, run_id) = show::ids(run.execution.as_ref());
                    li { a.id href=(visit.link(&["namespaces", namespace, "workflows", id, run_id])) title=(id) { (id) } " " (show::status(run.status())) }
                }
                @if more > 0 && !runs.is_empty() { li { a href=(visit.link_with(&["namespaces", namespace, "workflows"], &[("query", query)])) { "and " (show::count(more)) " more" } } }
            }
        }
    })
}

/// What the form asks for.
fn asked(visit: &Visit, namespace: &str, name: Option<&str>) -> Result<SetAlertRuleRequest, Problem> {
    let scope = if visit.field("scope") == "list" { AlertScope::List } else { AlertScope::EachRun };
    let rule = AlertRule {
        name: name.unwrap_or_else(|| visit.field("name")).to_owned(),
        // Browsers end lines in their own way; a query that only differs by that must not be another one.
        query: visit.field("query").replace("\r\n", "\n"),
        scope: scope.into(),
        hold: json::duration(visit.field("hold"))?,
        webhook: Some(AlertWebhook { url: visit.field("url").to_owned(), secret: visit.field("secret").to_owned() }),
    };
    let version = if name.is_none() { NEW } else { visit.number("version")? };
    Ok(SetAlertRuleRequest { namespace: namespace.to_owned(), rule: Some(rule), version })
}

/// Makes or changes it, or tells what it would select.
pub(crate) async fn send(visit: &Visit<'_>, namespace: &str, name: Option<&str>) -> Answer {
    if visit.is_set("try") {
        return match tried(visit, namespace, visit.field("query")).await {
            Ok(tried) => show_form(visit, namespace, name, None, tried).await,
            Err(problem) => show_form(visit, namespace, name, Some(problem.0.message()), html! {}).await,
        };
    }
    let sent = async { visit.ask(asked(visit, namespace, name)?).await };
    match sent.await {
        Ok(answer) if !answer.secret.is_empty() => Ok(secret(visit, namespace, &answer.rule.unwrap_or_default(), &answer.secret)),
        Ok(_) => Ok(redirect(&visit.link_with(&["namespaces", namespace, "alerts"], &[("done", "alert-set")]))),
        Err(problem) => show_form(visit, namespace, name, Some(problem.0.message()), html! {}).await,
    }
}

/// Tells a secret that the server has made: this once.
fn secret(visit: &Visit<'_>, namespace: &str, info: &AlertRuleInfo, secret: &str) -> http::Response<bytes::Bytes> {
    let list = visit.link(&["namespaces", namespace, "alerts"]);
    let name = info.rule.as_ref().map_or("", |rule| rule.name.as_str());
    let body = html! {
        (crumbs(&[("Alerts", list.clone())]))
        section.panel {
            h1 { "Its secret" }
            p role="status" { "The rule " code { (name) } " is in force. Its alerts are signed with this secret, which is not told again:" }
            p { (show::copyable(secret)) }
            p { a.button.primary href=(list) { "To the rules" } }
        }
    };
    Page::new(namespace, Section::Alerts, "Its secret", body).answer(visit)
}
