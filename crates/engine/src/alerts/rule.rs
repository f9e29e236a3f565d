//! A rule, as it is stored and checked.

use bytes::Bytes;
use prost::Message;
use sempre_api::sempre::v1::{AlertRule, AlertScope};
use sempre_core::{
    Limits, NamespaceId, Refusal, Span,
    ids::Uuid,
    validate,
    visibility::{Filter, ParseOptions, parse},
};

use crate::{calls::live::is_live, namespaces::Namespace};

/// Rules of a namespace.
pub(crate) const RULES_MAX: usize = 100;
const NAME_BYTES_MAX: usize = 200;
const SECRET_BYTES_MAX: usize = 200;
/// Every alert says the query.
const QUERY_BYTES_MAX: usize = 4096;
/// Stands for what is not told of a URL.
const URL_REST: &str = "/…";
/// Longest hold.
const HOLD_MAX: Span = Span::seconds(30 * 86_400);

/// Of a rule about each run.
pub(crate) const NO_NOTICES: &str = "this server keeps no notices, which tell of each run; start it with --notices-kept above 0";

/// A stored rule.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RuleRecord {
    /// 16 bytes, new for each rule that is made, kept when it is changed.
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) uid: Bytes,
    /// From 1.
    #[prost(int64, tag = "2")]
    pub(crate) version: i64,
    /// With its secret.
    #[prost(message, optional, tag = "3")]
    pub(crate) rule: Option<AlertRule>,
    /// When it was made, ns.
    #[prost(int64, tag = "4")]
    pub(crate) created: i64,
    /// When it was changed last, ns.
    #[prost(int64, tag = "5")]
    pub(crate) changed: i64,
    /// It is about notices above this: of what was before it was made or changed it does not tell.
    #[prost(uint64, tag = "6")]
    pub(crate) after: u64,
    /// 16 bytes.
    #[prost(bytes = "bytes", tag = "7")]
    pub(crate) namespace_id: Bytes,
    /// 16 bytes, new whenever query, scope or hold are: what was remembered of others does not count. Empty: the uid.
    #[prost(bytes = "bytes", tag = "8")]
    pub(crate) memory: Bytes,
    /// The server's settings declare it; no call has set it.
    #[prost(bool, tag = "9")]
    pub(crate) declared: bool,
}

fn uuid(bytes: &Bytes) -> Uuid {
    Uuid(bytes.as_ref().try_into().unwrap_or_default())
}

impl RuleRecord {
    pub(crate) fn uid(&self) -> Uuid {
        uuid(&self.uid)
    }

    /// What is remembered of runs and lists is remembered under this.
    pub(crate) fn memory(&self) -> Uuid {
        if self.memory.is_empty() { self.uid() } else { uuid(&self.memory) }
    }

    /// Refuses to have it changed by a call, if settings that are in force declare it.
    pub(crate) fn check_free(&self, settings_declare: bool) -> Result<(), Refusal> {
        match self.declared && settings_declare {
            false => Ok(()),
            true => Err(Refusal::FailedPrecondition(format!(
                "alert rule {:?} is from the file that the server was started with (--alerts-file): change it there",
                self.name()
            ))),
        }
    }

    /// It asks for the same as another one.
    pub(crate) fn means(&self, rule: &AlertRule) -> bool {
        let hold = |rule: &AlertRule| Span::from_api(rule.hold.as_ref()).unwrap_or_default();
        self.rule.as_ref().is_some_and(|own| (&own.query, own.scope(), hold(own)) == (&rule.query, rule.scope(), hold(rule)))
    }

    pub(crate) fn namespace(&self) -> NamespaceId {
        NamespaceId(uuid(&self.namespace_id))
    }

    /// What it says; a record without that is damaged, and says nothing.
    pub(crate) fn says(&self) -> AlertRule {
        self.rule.clone().unwrap_or_default()
    }

    pub(crate) fn name(&self) -> &str {
        self.rule.as_ref().map_or("", |rule| &rule.name)
    }

    pub(crate) fn query(&self) -> &str {
        self.rule.as_ref().map_or("", |rule| &rule.query)
    }

    /// The query as alerts say it: that of a rule from before it was bounded is cut.
    pub(crate) fn told_query(&self) -> &str {
        let query = self.query();
        let end = (0..=query.len().min(QUERY_BYTES_MAX)).rev().find(|at| query.is_char_boundary(*at));
        query.get(..end.unwrap_or_default()).unwrap_or_default()
    }

    pub(crate) fn is_list(&self) -> bool {
        self.rule.as_ref().is_some_and(|rule| rule.scope() == AlertScope::List)
    }

    pub(crate) fn hold(&self) -> Span {
        self.rule.as_ref().and_then(|rule| Span::from_api(rule.hold.as_ref()).ok()).unwrap_or_default()
    }

    /// What notices are held against: none when only a count can tell.
    pub(crate) fn filter(&self, namespace: &Namespace) -> Result<Option<Filter>, Refusal> {
        let filter = parse(self.query(), namespace, ParseOptions::default())?.filter;
        Ok(filter.filter(|filter| !self.is_list() || self.hold() == Span::ZERO && !is_live(filter)))
    }
}

/// Refuses what cannot be a rule of the namespace. The secret may be missing.
pub(crate) fn check(rule: &AlertRule, namespace: &Namespace, limits: &Limits, notices: bool) -> Result<(), Refusal> {
    let refused = |what: String| Err(Refusal::InvalidArgument(format!("alert rule: {what}")));
    if rule.name.is_empty() || rule.name.len() > NAME_BYTES_MAX || rule.name.chars().any(char::is_control) {
        return refused(format!("the name has 1 to {NAME_BYTES_MAX} bytes and is one line"));
    }
    if rule.query.trim().is_empty() {
        return refused("it needs a query, such as WorkflowType = 'Order' AND ExecutionStatus = 'Failed'".into());
    }
    if rule.query.len() > QUERY_BYTES_MAX {
        let bytes = rule.query.len();
        return refused(format!(
            "the query has {bytes} bytes, at most {QUERY_BYTES_MAX} are allowed: every alert says it; make it shorter"
        ));
    }
    let filter = parse(&rule.query, namespace, ParseOptions::default())?.filter;
    let Ok(scope) = AlertScope::try_from(rule.scope) else { return refused(format!("there is no scope {}", rule.scope)) };
    let hold = Span::from_api(rule.hold.as_ref()).ok().filter(|hold| *hold <= HOLD_MAX);
    let Some(hold) = hold else {
        return refused(format!("hold is between 0 and {} days", HOLD_MAX.0 / Span::seconds(86_400).0));
    };
    if scope != AlertScope::List {
        if hold != Span::ZERO {
            return refused("hold needs the scope LIST: what is told of each run is told at once".into());
        }
        if filter.as_ref().is_some_and(is_live) {
            return refused("a query about what task queues say needs the scope LIST: such facts change while runs do not".into());
        }
        if !notices {
            return refused(NO_NOTICES.into());
        }
    }
    let Some(webhook) = &rule.webhook else { return refused("it needs a webhook".into()) };
    if webhook.secret.len() > SECRET_BYTES_MAX {
        return refused(format!("a secret has at most {SECRET_BYTES_MAX} bytes"));
    }
    if webhook.url.ends_with(URL_REST) {
        return refused("the url is shortened, as lists show it: give the whole one".into());
    }
    allowed(&webhook.url, limits)
}

/// A URL as it may be told: who may send to the webhook is often known by user, password, path or query.
pub(crate) fn told_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "…".into() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let path = if matches!(path, "" | "/") { path } else { URL_REST };
    format!("{scheme}://{host}{path}")
}

/// The server may send to an address.
pub(crate) fn allowed(url: &str, limits: &Limits) -> Result<(), Refusal> {
    if limits.callback_addresses.is_empty() {
        return Err(Refusal::FailedPrecondition(
            "alert rule: this server sends to no addresses; allow some with component.callbacks.allowedAddresses, such as \
             --dynamic-config-value 'component.callbacks.allowedAddresses=[{\"Pattern\":\"hooks.example.com\"}]'"
                .into(),
        ));
    }
    validate::webhook(url, limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_without_what_may_be_a_secret() {
        assert_eq!(told_url("https://me:pass@host:1/a?b=c"), "https://host:1/…");
        assert_eq!(told_url("http://host?token"), "http://host/…");
        assert_eq!(told_url("http://host#token"), "http://host/…");
        assert_eq!(told_url("http://host"), "http://host");
        assert_eq!(told_url("http://host/"), "http://host/");
        assert_eq!(told_url("http://host/a@b"), "http://host/…");
        assert_eq!(told_url("nothing"), "…");
    }

    #[test]
    fn a_long_query_is_told_in_part() {
        let of = |query: String| RuleRecord { rule: Some(AlertRule { query, ..AlertRule::default() }), ..RuleRecord::default() };
        assert_eq!(of("a = 1".into()).told_query(), "a = 1");
        assert_eq!(of(format!("a{}", "é".repeat(5000))).told_query().len(), QUERY_BYTES_MAX - 1);
    }
}
