//! `sempre flow …`: rules about which starts go at once and which wait.

use clap::{Args, Subcommand, ValueEnum};
use sempre_api::sempre::v1::{
    DeleteFlowRuleRequest, DescribeFlowRuleRequest, FlowDebounce, FlowKey, FlowKeyKind, FlowMatch, FlowRate, FlowReason, FlowRule,
    FlowRuleInfo, FlowSingleton, ListFlowRulesRequest, ListWaitingStartsRequest, SetFlowRuleRequest, WaitingStart,
};

use super::{
    Failure,
    flags::{CommonFlags, Family},
    output::{Hue, Table, short_name},
    session::{self, Session},
    values::{duration_text, parse_duration},
};

/// Starts on one page of a list.
const PAGE: i32 = 1000;

#[derive(Subcommand)]
pub(crate) enum FlowCommand {
    /// Make a rule, or put another in the place of the one of that name
    ///
    /// Say which starts it is about, then what limits them. `sempre flow set --name orders --type Order --max-open 10` lets
    /// ten workflows of type Order be open at once; further starts wait for their turn. With --per, each value has room of its
    /// own.
    Set(Box<Set>),
    /// List the rules, with how many runs they count and hold back
    List,
    /// Show a rule and the values of its key
    Describe(Name),
    /// Take a rule away: what waits only for it goes at once
    Delete(Name),
    /// List the starts that wait for a rule, in their order
    Waiting(Waiting),
}

#[derive(Args)]
pub(crate) struct Name {
    /// Name of the rule
    #[arg(long, value_name = "NAME")]
    name: String,
}

#[derive(Args)]
pub(crate) struct Waiting {
    #[command(flatten)]
    name: Name,
    /// Starts to list
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: usize,
}

#[derive(Args)]
pub(crate) struct Set {
    #[command(flatten)]
    name: Name,
    /// About workflows of this type; may be given several times
    #[arg(long = "type", value_name = "TYPE", help_heading = "Which starts")]
    types: Vec<String>,
    /// About workflow ids that begin with this
    #[arg(long, value_name = "TEXT", help_heading = "Which starts")]
    id_prefix: Option<String>,
    /// About starts that have this search attribute, or this value of it
    #[arg(long, value_name = "NAME[=VALUE]", help_heading = "Which starts")]
    search_attribute: Option<String>,
    /// About starts with this fairness key
    #[arg(long, value_name = "KEY", help_heading = "Which starts")]
    fairness_key: Option<String>,
    /// About children of other workflows too
    #[arg(long, help_heading = "Which starts")]
    children: bool,
    /// About every start of the namespace
    #[arg(long, help_heading = "Which starts")]
    all: bool,
    /// Count by this: type, id, fairness-key, or search-attribute:NAME
    #[arg(long, value_name = "WHAT", value_parser = parse_key, help_heading = "Limits")]
    per: Option<FlowKey>,
    /// Runs that may be open at once
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(1..), help_heading = "Limits")]
    max_open: Option<i32>,
    /// Starts in a time: 10/1s, 100/1h
    #[arg(long, value_name = "NUMBER/TIME", value_parser = parse_rate, help_heading = "Limits")]
    rate: Option<FlowRate>,
    /// Starts that may go at once after a pause
    #[arg(long, value_name = "NUMBER", requires = "rate", value_parser = clap::value_parser!(i32).range(1..), help_heading = "Limits")]
    burst: Option<i32>,
    /// The newest start goes when no other has come for this time
    #[arg(long, value_name = "TIME", requires = "per", value_parser = parse_duration, help_heading = "Limits")]
    debounce: Option<sempre_api::Duration>,
    /// It goes after this time even if others keep coming
    #[arg(long, value_name = "TIME", requires = "debounce", value_parser = parse_duration, help_heading = "Limits")]
    debounce_max: Option<sempre_api::Duration>,
    /// One open run; further starts wait, are refused, or take its place
    #[arg(long, value_enum, value_name = "HOW", help_heading = "Limits")]
    singleton: Option<Singleton>,
    /// Starts that may wait; more are refused
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(1..), help_heading = "Limits")]
    waiting_max: Option<i32>,
    /// Only if the rule has this version
    #[arg(long, value_name = "NUMBER", conflicts_with = "new", value_parser = clap::value_parser!(i64).range(1..))]
    version: Option<i64>,
    /// Only if there is no rule of that name
    #[arg(long)]
    new: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Singleton {
    Wait,
    Refuse,
    Replace,
}

fn parse_key(text: &str) -> Result<FlowKey, String> {
    let (what, attribute) = text.split_once(':').unwrap_or((text, ""));
    let kind = match (what, attribute.is_empty()) {
        ("type", true) => FlowKeyKind::WorkflowType,
        ("id", true) => FlowKeyKind::WorkflowId,
        ("fairness-key", true) => FlowKeyKind::FairnessKey,
        ("search-attribute", false) => FlowKeyKind::SearchAttribute,
        _ => return Err("it is none of type, id, fairness-key, search-attribute:NAME".into()),
    };
    Ok(FlowKey { kind: kind as i32, search_attribute: attribute.into() })
}

fn parse_rate(text: &str) -> Result<FlowRate, String> {
    let odd = "it must look like 10/1s: how many starts, in what time";
    let (starts, per) = text.split_once('/').ok_or(odd)?;
    let starts = starts.parse::<i32>().ok().filter(|starts| *starts > 0).ok_or(odd)?;
    Ok(FlowRate { starts, per: Some(parse_duration(per)?), burst: 0 })
}

pub(crate) fn run(common: CommonFlags, family: Family<FlowCommand>) -> Result<(), Failure> {
    session::run(common, &family.client, async |session| match family.command {
        FlowCommand::Set(options) => set(session, *options).await,
        FlowCommand::List => list(session).await,
        FlowCommand::Describe(options) => describe(session, options.name).await,
        FlowCommand::Delete(options) => {
            let request = DeleteFlowRuleRequest { namespace: session.namespace(), name: options.name.clone() };
            session.client().await?.flow.delete_flow_rule(request).await?;
            session.out.line_in(Hue::Good, format!("Flow rule {} is gone.", options.name))
        }
        FlowCommand::Waiting(options) => waiting(session, options).await,
    })
}

impl Set {
    fn rule(self) -> (FlowRule, i64) {
        let version = if self.new { -1 } else { self.version.unwrap_or_default() };
        let (search_attribute, search_attribute_value) = match self.search_attribute {
            Some(text) => match text.split_once('=') {
                Some((name, value)) => (name.to_owned(), value.to_owned()),
                None => (text, String::new()),
            },
            None => Default::default(),
        };
        let conditions = FlowMatch {
            workflow_types: self.types,
            workflow_id_prefix: self.id_prefix.unwrap_or_default(),
            search_attribute,
            search_attribute_value,
            fairness_key: self.fairness_key.unwrap_or_default(),
            children: self.children,
            all: self.all,
        };
        let singleton = match self.singleton {
            None => FlowSingleton::Unspecified,
            Some(Singleton::Wait) => FlowSingleton::Wait,
            Some(Singleton::Refuse) => FlowSingleton::Refuse,
            Some(Singleton::Replace) => FlowSingleton::Replace,
        };
        let rule = FlowRule {
            name: self.name.name,
            r#match: Some(conditions),
            key: self.per,
            max_open: self.max_open.unwrap_or_default(),
            rate: self.rate.map(|rate| FlowRate { burst: self.burst.unwrap_or_default(), ..rate }),
            debounce: self.debounce.map(|quiet| FlowDebounce { quiet: Some(quiet), max_wait: self.debounce_max }),
            singleton: singleton as i32,
            waiting_max: self.waiting_max.unwrap_or_default(),
        };
        (rule, version)
    }
}

async fn set(session: &mut Session, options: Set) -> Result<(), Failure> {
    let (rule, version) = options.rule();
    let name = rule.name.clone();
    let request = SetFlowRuleRequest { namespace: session.namespace(), rule: Some(rule), version };
    let answer = session.client().await?.flow.set_flow_rule(request).await?.into_inner();
    let info = answer.rule.unwrap_or_default();
    session.out.message(&info)?;
    session.out.line_in(Hue::Good, format!("Flow rule {name} is in force (version {}).", info.version))
}

async fn list(session: &mut Session) -> Result<(), Failure> {
    let request = ListFlowRulesRequest { namespace: session.namespace() };
    let rules = session.client().await?.flow.list_flow_rules(request).await?.into_inner().rules;
    session.out.begin_list()?;
    for info in &rules {
        session.out.message(info)?;
    }
    let rows: Vec<_> = rules
        .iter()
        .map(|info| {
            let rule = info.rule.clone().unwrap_or_default();
            let (about, limits) = (about(&rule), limits(&rule));
            vec![rule.name.into(), about.into(), limits.into(), info.open.to_string().into(), info.waiting.to_string().into()]
        })
        .collect();
    session.out.table(&mut Table::new(&["Name", "Starts", "Limits", "Open", "Waiting"]), &rows)?;
    session.out.end_list()
}

async fn describe(session: &mut Session, name: String) -> Result<(), Failure> {
    let request = DescribeFlowRuleRequest { namespace: session.namespace(), name };
    let answer = session.client().await?.flow.describe_flow_rule(request).await?.into_inner();
    session.out.message(&answer)?;
    let info: FlowRuleInfo = answer.rule.unwrap_or_default();
    let rule = info.rule.clone().unwrap_or_default();
    let (created, changed) = (session.out.time(info.created_time.as_ref()), session.out.time(info.changed_time.as_ref()));
    session.out.card(&[
        ("Name", rule.name.as_str().into()),
        ("Starts", about(&rule).into()),
        ("Per", per(&rule).into()),
        ("Limits", limits(&rule).into()),
        ("Version", info.version.to_string().into()),
        ("CreatedTime", created.into()),
        ("ChangedTime", changed.into()),
        ("Open", info.open.to_string().into()),
        ("Waiting", info.waiting.to_string().into()),
        ("Delayed", info.delayed.to_string().into()),
        ("Loading", if info.loading { "yes: nothing goes before the server has read what there is" } else { "" }.into()),
    ])?;
    let rows: Vec<_> =
        answer.keys.iter().map(|key| vec![key.key.as_str().into(), key.open.to_string().into(), key.waiting.to_string().into()]).collect();
    if rows.is_empty() {
        return Ok(());
    }
    session.out.table(&mut Table::new(&["Key", "Open", "Waiting"]), &rows)
}

async fn waiting(session: &mut Session, options: Waiting) -> Result<(), Failure> {
    let mut token = bytes::Bytes::new();
    let mut left = options.limit;
    let mut table = Table::new(&["Place", "Key", "WorkflowId", "RunId", "Since", "Reason", "NotBefore"]);
    session.out.begin_list()?;
    while left > 0 {
        let request = ListWaitingStartsRequest {
            namespace: session.namespace(),
            rule: options.name.name.clone(),
            page_size: PAGE.min(i32::try_from(left).unwrap_or(PAGE)),
            next_page_token: token,
        };
        let page = session.client().await?.flow.list_waiting_starts(request).await?.into_inner();
        left = left.saturating_sub(page.starts.len());
        for start in &page.starts {
            session.out.message(start)?;
        }
        let rows: Vec<_> = page
            .starts
            .iter()
            .map(|start| {
                let (since, not_before) = (session.out.time(start.waiting_since.as_ref()), session.out.time(start.not_before.as_ref()));
                vec![
                    start.place.to_string().into(),
                    start.key.as_str().into(),
                    start.workflow_id.as_str().into(),
                    start.run_id.as_str().into(),
                    since.into(),
                    reason(start).into(),
                    if start.not_before.is_some() { not_before } else { String::new() }.into(),
                ]
            })
            .collect();
        session.out.table(&mut table, &rows)?;
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    session.out.end_list()
}

fn about(rule: &FlowRule) -> String {
    let Some(conditions) = &rule.r#match else { return String::new() };
    let mut parts = Vec::new();
    if conditions.all {
        parts.push("all".to_owned());
    }
    if !conditions.workflow_types.is_empty() {
        parts.push(format!("type {}", conditions.workflow_types.join(" or ")));
    }
    if !conditions.workflow_id_prefix.is_empty() {
        parts.push(format!("id {}…", conditions.workflow_id_prefix));
    }
    if !conditions.search_attribute.is_empty() {
        let value = &conditions.search_attribute_value;
        let value = if value.is_empty() { String::new() } else { format!("={value}") };
        parts.push(format!("{}{value}", conditions.search_attribute));
    }
    if !conditions.fairness_key.is_empty() {
        parts.push(format!("fairness key {}", conditions.fairness_key));
    }
    if conditions.children {
        parts.push("children too".to_owned());
    }
    parts.join(", ")
}

fn per(rule: &FlowRule) -> String {
    match &rule.key {
        None => String::new(),
        Some(key) => match key.kind() {
            FlowKeyKind::Unspecified => String::new(),
            FlowKeyKind::WorkflowType => "type".into(),
            FlowKeyKind::WorkflowId => "id".into(),
            FlowKeyKind::FairnessKey => "fairness-key".into(),
            FlowKeyKind::SearchAttribute => format!("search-attribute:{}", key.search_attribute),
        },
    }
}

fn limits(rule: &FlowRule) -> String {
    let mut parts = Vec::new();
    if rule.max_open > 0 {
        parts.push(format!("{} open", rule.max_open));
    }
    match rule.singleton() {
        FlowSingleton::Unspecified => {}
        how => parts.push(format!("singleton {}", short_name(how.as_str_name(), "FLOW_SINGLETON_").to_lowercase())),
    }
    if let Some(rate) = &rule.rate {
        let per = rate.per.as_ref().map_or_else(|| "1s".into(), duration_text);
        let burst = if rate.burst > 1 { format!(", {} at once", rate.burst) } else { String::new() };
        parts.push(format!("{}/{per}{burst}", rate.starts));
    }
    if let Some(debounce) = &rule.debounce {
        let text = |span: &Option<sempre_api::Duration>| span.as_ref().map(duration_text).unwrap_or_default();
        let max = if debounce.max_wait.is_some() { format!(", at most {}", text(&debounce.max_wait)) } else { String::new() };
        parts.push(format!("debounce {}{max}", text(&debounce.quiet)));
    }
    let per = per(rule);
    let per = if per.is_empty() { per } else { format!(" per {per}") };
    format!("{}{per}", parts.join(", "))
}

/// Why a start waits, for people.
pub(super) fn reason(start: &WaitingStart) -> String {
    match start.reason() {
        FlowReason::MaxOpen => "as many runs as may be are open".into(),
        FlowReason::Rate => "starts came faster than they may".into(),
        FlowReason::Debounce => "another start may come yet".into(),
        FlowReason::Singleton => format!("workflow {} is open", start.blocked_by_workflow_id),
        FlowReason::Loading => "the server reads what there is after its start".into(),
        FlowReason::Going => "it is about to go".into(),
        FlowReason::Replaced => "a newer start takes its place".into(),
        FlowReason::Unspecified => "unknown".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_rates_are_read() {
        assert_eq!(parse_key("search-attribute:Tenant").unwrap().search_attribute, "Tenant");
        assert_eq!(parse_key("id").unwrap().kind(), FlowKeyKind::WorkflowId);
        for odd in ["", "search-attribute", "search-attribute:", "type:x", "tenant"] {
            assert!(parse_key(odd).is_err(), "{odd}");
        }
        let rate = parse_rate("10/1m").unwrap();
        assert_eq!((rate.starts, rate.per.unwrap().seconds), (10, 60));
        for odd in ["", "10", "0/1s", "-1/1s", "x/1s", "1/x"] {
            assert!(parse_rate(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_rule_reads_as_it_was_given() {
        let rule = FlowRule {
            name: "r".into(),
            r#match: Some(FlowMatch { workflow_types: vec!["A".into(), "B".into()], children: true, ..Default::default() }),
            key: Some(parse_key("fairness-key").unwrap()),
            max_open: 3,
            rate: Some(FlowRate { burst: 5, ..parse_rate("10/1s").unwrap() }),
            ..Default::default()
        };
        assert_eq!(about(&rule), "type A or B, children too");
        assert_eq!(limits(&rule), "3 open, 10/1s, 5 at once per fairness-key");
    }
}
