//! Alerts: the rules of a namespace, how they stand, and what was told to webhooks lately.

pub(crate) mod edit;

use maud::{Markup, html};
use sempre_api::sempre::v1::{
    AlertDelivery, AlertDeliveryState, AlertRule, AlertRuleInfo, AlertScope, AlertState, DeleteAlertRuleRequest, ListAlertRulesRequest,
    ListAlertsRequest, TestAlertRuleRequest,
};

use crate::{
    answer::redirect,
    layout::{Form, Live, Page, Section, action, crumbs, heading, page_token, pager},
    route::Answer,
    show::{self, badge, words},
    visit::{Problem, Visit},
};

const PAGE: i32 = 50;
const LOOK_SECONDS: u32 = 5;

/// All rules, and the latest alerts.
pub(crate) async fn page(visit: &Visit<'_>, namespace: &str) -> Answer {
    let known = visit.ask(ListAlertRulesRequest { namespace: namespace.to_owned() }).await?;
    let rules = known.rules;
    let create = visit.link(&["namespaces", namespace, "alerts", "create"]);
    let request = ListAlertsRequest {
        namespace: namespace.to_owned(),
        rule: visit.query("rule").to_owned(),
        page_size: PAGE,
        next_page_token: page_token(visit),
    };
    let alerts = visit.ask(request).await?;
    let body = html! {
        (heading(html! { "Alerts" }, html! { a.button.primary href=(create) { "Create rule" } }))
        div #file data-live {
            @if known.file_refused_time.is_some() {
                p.error { "The server refuses its file of rules since " (visit.times.show(known.file_refused_time.as_ref())) ". Those that it read before are in force; its log says why." }
            }
        }
        section.panel {
            h2 { "Rules" }
            div.table-wrap { table {
                thead { tr { th { "Rule" } th { "Tells" } th { "Query" } th { "Webhook" } th { "Waiting" } th { "Stands" } th { "Actions" } } }
                tbody #rules data-live {
                    @for info in &rules { (rule_row(visit, namespace, info)) }
                    @if rules.is_empty() { tr data-key="none" { td colspan="7" { (none(&create)) } } }
                }
            } }
        }
        section.panel {
            h2 { @if visit.query("rule").is_empty() { "Alerts" } @else { "Alerts of " (visit.query("rule")) } }
            div.table-wrap { table {
                thead { tr { th { "Time" } th { "Rule" } th { "State" } th { "Workflow" } th { "Delivery" } th { "Last error" } } }
                tbody #rows data-live {
                    @for delivery in &alerts.alerts { (alert_row(visit, namespace, delivery)) }
                    @if alerts.alerts.is_empty() { tr data-key="none" { td colspan="6" { "No alert yet." } } }
                }
            } }
        }
        (pager(visit, &["namespaces", namespace, "alerts"], &[("rule", visit.query("rule"))], &alerts.next_page_token))
    };
    Ok(Page::new(namespace, Section::Alerts, format!("Alerts · {namespace}"), body).live(Live::Every(LOOK_SECONDS)).answer(visit))
}

fn none(create: &str) -> Markup {
    show::empty(
        "No rules",
        html! { p { "A rule tells a webhook of runs that fail, of queues without workers, or of any list of workflows that fills. " a href=(create) { "Create one" } } },
    )
}

fn about(rule: &AlertRule) -> String {
    match (rule.scope(), show::duration(rule.hold.as_ref())) {
        (AlertScope::List, hold) if rule.hold.as_ref().is_some_and(|hold| hold.seconds > 0) => format!("when the list fills, for {hold}"),
        (AlertScope::List, _) => "when the list fills".to_owned(),
        _ => "of each run".to_owned(),
    }
}

fn standing(info: &AlertRuleInfo) -> Markup {
    html! {
        @if !info.problem.is_empty() { (badge("red", "Query cannot be asked")) p.hint { (info.problem) } }
        @else if !info.last_error.is_empty() { (badge("red", "Not delivered")) p.hint { (info.last_error) } }
        @else if info.firing { (badge("orange", "Fires")) }
        @else if info.raised > 0 { (badge("orange", &show::counted(info.raised, "open run", "open runs"))) }
        @else { (badge("green", "Quiet")) }
    }
}

fn rule_row(visit: &Visit<'_>, namespace: &str, info: &AlertRuleInfo) -> Markup {
    let rule = info.rule.clone().unwrap_or_default();
    let link = |action: &str| visit.link(&["namespaces", namespace, "alerts", &rule.name, "do", action]);
    let runs = visit.link_with(&["namespaces", namespace, "workflows"], &[("query", rule.query.as_str())]);
    html! {
        tr data-key=(rule.name) {
            th scope="row" { a href=(visit.link_with(&["namespaces", namespace, "alerts"], &[("rule", rule.name.as_str())])) { (rule.name) } @if info.from_file { " " (badge("gray", "From the file")) } }
            td data-label="Tells" { (about(&rule)) }
            td data-label="Query" { a href=(runs) { code { (rule.query) } } }
            td data-label="Webhook" { (rule.webhook.clone().unwrap_or_default().url) }
            td data-label="Waiting" { (show::count(info.waiting)) }
            td data-label="Stands" { (standing(info)) }
            td data-label="Actions" {
                (action(&link("test"), "Test", ""))
                @if !info.from_file {
                    " " a.button href=(visit.link(&["namespaces", namespace, "alerts", &rule.name, "edit"])) { "Edit" }
                    " " (action(&link("delete"), "Delete", "red"))
                }
            }
        }
    }
}

fn alert_row(visit: &Visit<'_>, namespace: &str, delivery: &AlertDelivery) -> Markup {
    let alert = delivery.alert.clone().unwrap_or_default();
    let run = alert.run.clone().unwrap_or_default();
    let (id, run_id) = show::ids(run.execution.as_ref());
    let (tone, state) = match alert.state() {
        AlertState::Resolved => ("green", "Resolved".to_owned()),
        AlertState::Test => ("gray", "Test".to_owned()),
        AlertState::LeftOut => ("red", format!("{} left out", show::count(alert.count))),
        AlertState::Firing | AlertState::Unspecified => ("orange", "Fires".to_owned()),
    };
    let ends = match delivery.state() {
        AlertDeliveryState::Delivered => "green",
        AlertDeliveryState::GivenUp => "red",
        _ => "blue",
    };
    html! {
        tr data-key=(alert.id) {
            th scope="row" { (visit.times.show(alert.time.as_ref())) }
            td data-label="Rule" { (alert.rule) } td data-label="State" { (badge(tone, &state)) }
            td data-label="Workflow" { @if !id.is_empty() { a.id href=(visit.link(&["namespaces", namespace, "workflows", id, run_id])) { (id) } } }
            td data-label="Delivery" { (badge(ends, &words(delivery.state().as_str_name(), "ALERT_DELIVERY_STATE_"))) }
            td data-label="Last error" { (delivery.last_error) }
        }
    }
}

/// The form of what can be done to a rule.
pub(crate) fn form(visit: &Visit<'_>, namespace: &str, name: &str, act: &str) -> Answer {
    let (title, text, send) = match act {
        "test" => ("Test the webhook", "An alert is sent that says it is a test.", "Send it"),
        "delete" => ("Delete the rule", "The rule goes, and its alerts that nobody has taken yet.", "Delete it"),
        _ => return Err(Problem(tonic::Status::not_found("Nothing of that name can be done to an alert rule."))),
    };
    let all = visit.link(&["namespaces", namespace, "alerts"]);
    let form = Form {
        title,
        text: html! { p { (text) } p { code { (name) } } },
        to: visit.link(&["namespaces", namespace, "alerts", name, "do", act]),
        fields: html! {},
        send,
        danger: act == "delete",
        back: all.clone(),
    };
    let body = html! { (crumbs(&[("Alerts", all)])) (form.show(visit, None)) };
    Ok(Page::new(namespace, Section::Alerts, format!("{title} · {name}"), body).answer(visit))
}

/// Does it.
pub(crate) async fn send(visit: &Visit<'_>, namespace: &str, name: &str, act: &str) -> Answer {
    let (namespace_name, name) = (namespace.to_owned(), name.to_owned());
    let done = match act {
        "test" => {
            visit.ask(TestAlertRuleRequest { namespace: namespace_name, name }).await?;
            "alert-test"
        }
        "delete" => {
            visit.ask(DeleteAlertRuleRequest { namespace: namespace_name, name }).await?;
            "alert-delete"
        }
        _ => return Err(Problem(tonic::Status::not_found("Nothing of that name can be done to an alert rule."))),
    };
    Ok(redirect(&visit.link_with(&["namespaces", namespace, "alerts"], &[("done", done)])))
}
