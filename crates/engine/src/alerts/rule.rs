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
/// Longest hold.
const HOLD_MAX: Span = Span::seconds(30 * 86_400);

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
}

fn uuid(bytes: &Bytes) -> Uuid {
    Uuid(bytes.as_ref().try_into().unwrap_or_default())
}

impl RuleRecord {
    pub(crate) fn uid(&self) -> Uuid {
        uuid(&self.uid)
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
            return refused("this server keeps no notices, which tell of each run; start it with --notices-kept above 0".into());
        }
    }
    let Some(webhook) = &rule.webhook else { return refused("it needs a webhook".into()) };
    if webhook.secret.len() > SECRET_BYTES_MAX {
        return refused(format!("a secret has at most {SECRET_BYTES_MAX} bytes"));
    }
    allowed(&webhook.url, limits)
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
