//! `sempre alert …`: rules about what webhooks are told of, and how that went.

use clap::{Args, Subcommand};
use sempre_api::sempre::v1::{
    AlertDelivery, AlertDeliveryState, AlertRule, AlertRuleInfo, AlertScope, AlertState, AlertWebhook, DeleteAlertRuleRequest,
    ListAlertRulesRequest, ListAlertsRequest, SetAlertRuleRequest, TestAlertRuleRequest,
};

use super::{
    Failure,
    flags::{CommonFlags, Family},
    output::{Hue, Table, short_name},
    session::{self, Session},
    values::{duration_text, parse_duration},
};

/// Alerts on one page of a list.
const PAGE: i32 = 1000;

#[derive(Subcommand)]
pub(crate) enum AlertCommand {
    /// Make a rule, or put another in the place of the one of that name
    ///
    /// `sempre alert set --name failed --query "WorkflowType = 'Order' AND ExecutionStatus = 'Failed'" --url https://…` tells of
    /// each run that fails. With --list it tells when the query begins to select runs, and when it selects none any more:
    /// `--query "SempreTaskQueuePollers = 0" --list --for 5m`.
    Set(Box<Set>),
    /// List the rules, with how they stand
    List,
    /// Take a rule away, and its alerts that nobody has taken yet
    Delete(Name),
    /// Send an alert that says it is a test
    Test(Name),
    /// List alerts that wait to be delivered, and the latest of those that were
    History(History),
}

#[derive(Args)]
pub(crate) struct Name {
    /// Name of the rule
    #[arg(long, value_name = "NAME")]
    name: String,
}

#[derive(Args)]
pub(crate) struct History {
    /// Only alerts of this rule
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Alerts to list
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: usize,
}

#[derive(Args)]
pub(crate) struct Set {
    #[command(flatten)]
    name: Name,
    /// Which runs, as for `workflow list`
    #[arg(long, value_name = "QUERY")]
    query: String,
    /// Tell when the query begins to select any run and when it selects none, instead of each run
    #[arg(long)]
    list: bool,
    /// Only when it has selected runs for so long
    #[arg(long = "for", value_name = "TIME", requires = "list", value_parser = parse_duration)]
    hold: Option<sempre_api::Duration>,
    /// Where alerts are sent
    #[arg(long, value_name = "URL")]
    url: String,
    /// File with the secret that alerts are signed with (whsec_…); without it the server makes one, and tells it once
    #[arg(long, value_name = "FILE")]
    secret_file: Option<std::path::PathBuf>,
    /// Only if the rule has this version
    #[arg(long, value_name = "NUMBER", conflicts_with = "new", value_parser = clap::value_parser!(i64).range(1..))]
    version: Option<i64>,
    /// Only if there is no rule of that name
    #[arg(long)]
    new: bool,
}

pub(crate) fn run(common: CommonFlags, family: Family<AlertCommand>) -> Result<(), Failure> {
    session::run(common, &family.client, async |session| match family.command {
        AlertCommand::Set(options) => set(session, *options).await,
        AlertCommand::List => list(session).await,
        AlertCommand::Delete(options) => {
            let request = DeleteAlertRuleRequest { namespace: session.namespace(), name: options.name.clone() };
            session.client().await?.alert.delete_alert_rule(request).await?;
            session.out.line_in(Hue::Good, format!("Alert rule {} is gone.", options.name))
        }
        AlertCommand::Test(options) => {
            let request = TestAlertRuleRequest { namespace: session.namespace(), name: options.name };
            let alert = session.client().await?.alert.test_alert_rule(request).await?.into_inner().alert.unwrap_or_default();
            session.out.message(&alert)?;
            session.out.line(format!("Alert {} is on its way; `sempre alert history` tells what becomes of it.", alert.id))
        }
        AlertCommand::History(options) => history(session, options).await,
    })
}

async fn set(session: &mut Session, options: Set) -> Result<(), Failure> {
    let secret = match &options.secret_file {
        None => String::new(),
        Some(file) => {
            let read = std::fs::read_to_string(file);
            read.map_err(|error| Failure::new(format_args!("cannot read {}: {error}", file.display())))?.trim().to_owned()
        }
    };
    let scope = if options.list { AlertScope::List } else { AlertScope::EachRun };
    let name = options.name.name;
    let rule = AlertRule {
        name: name.clone(),
        query: options.query,
        scope: scope as i32,
        hold: options.hold,
        webhook: Some(AlertWebhook { url: options.url, secret }),
    };
    let version = if options.new { -1 } else { options.version.unwrap_or_default() };
    let request = SetAlertRuleRequest { namespace: session.namespace(), rule: Some(rule), version };
    let answer = session.client().await?.alert.set_alert_rule(request).await?.into_inner();
    session.out.message(&answer)?;
    let info = answer.rule.unwrap_or_default();
    session.out.line_in(Hue::Good, format!("Alert rule {name} is in force (version {}).", info.version))?;
    if !answer.secret.is_empty() {
        session.out.line(format!("Its alerts are signed with {}, which is not told again.", answer.secret))?;
    }
    Ok(())
}

/// What a rule is about, in a few words.
fn about(rule: &AlertRule) -> String {
    match (rule.scope(), &rule.hold) {
        (AlertScope::List, Some(hold)) if (hold.seconds, hold.nanos) != (0, 0) => format!("list, for {}", duration_text(hold)),
        (AlertScope::List, _) => "list".into(),
        _ => "each run".into(),
    }
}

/// How it stands.
fn standing(info: &AlertRuleInfo) -> String {
    match info {
        info if !info.problem.is_empty() => format!("cannot be asked: {}", info.problem),
        info if !info.last_error.is_empty() => format!("not delivered: {}", info.last_error),
        info if info.firing => "fires".into(),
        info if info.raised > 0 => format!("told of {} open", info.raised),
        _ => String::new(),
    }
}

async fn list(session: &mut Session) -> Result<(), Failure> {
    let request = ListAlertRulesRequest { namespace: session.namespace() };
    let answer = session.client().await?.alert.list_alert_rules(request).await?.into_inner();
    if let Some(since) = &answer.file_refused_time {
        let since = session.out.time(Some(since));
        eprintln!("warning: the server refuses its file of alert rules since {since}; older rules are in force, and its log says why");
    }
    let rules = answer.rules;
    session.out.begin_list()?;
    for info in &rules {
        session.out.message(info)?;
    }
    let rows: Vec<_> = rules
        .iter()
        .map(|info| {
            let rule = info.rule.clone().unwrap_or_default();
            let (about, standing) = (about(&rule), standing(info));
            let url = rule.webhook.unwrap_or_default().url;
            let name = if info.from_file { format!("{} (file)", rule.name) } else { rule.name };
            vec![name.into(), about.into(), rule.query.into(), url.into(), info.waiting.to_string().into(), standing.into()]
        })
        .collect();
    session.out.table(&mut Table::new(&["Name", "About", "Query", "Webhook", "Waiting", "Stands"]), &rows)?;
    session.out.end_list()
}

async fn history(session: &mut Session, options: History) -> Result<(), Failure> {
    let mut token = bytes::Bytes::new();
    let mut left = options.limit;
    let mut table = Table::new(&["Time", "Rule", "State", "WorkflowId", "RunId", "Delivery", "Error", "Id"]);
    session.out.begin_list()?;
    while left > 0 {
        let request = ListAlertsRequest {
            namespace: session.namespace(),
            rule: options.name.clone().unwrap_or_default(),
            page_size: PAGE.min(i32::try_from(left).unwrap_or(PAGE)),
            next_page_token: token,
        };
        let page = session.client().await?.alert.list_alerts(request).await?.into_inner();
        left = left.saturating_sub(page.alerts.len());
        let mut rows = Vec::new();
        for delivery in &page.alerts {
            session.out.message(delivery)?;
            rows.push(row(session, delivery));
        }
        session.out.table(&mut table, &rows)?;
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    session.out.end_list()
}

fn row(session: &Session, delivery: &AlertDelivery) -> Vec<super::output::Cell> {
    let alert = delivery.alert.clone().unwrap_or_default();
    let run = alert.run.clone().and_then(|run| run.execution).unwrap_or_default();
    let state = AlertState::try_from(alert.state).unwrap_or_default();
    let ends = AlertDeliveryState::try_from(delivery.state).unwrap_or_default();
    vec![
        session.out.time(alert.time.as_ref()).into(),
        alert.rule.into(),
        short_name(state.as_str_name(), "ALERT_STATE_").into(),
        run.workflow_id.into(),
        run.run_id.into(),
        short_name(ends.as_str_name(), "ALERT_DELIVERY_STATE_").into(),
        delivery.last_error.as_str().into(),
        alert.id.into(),
    ]
}
