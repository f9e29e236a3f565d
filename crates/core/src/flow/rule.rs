//! One rule: what it may say, and which starts it is about.

use alloc::{
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};

use bytes::Bytes;
use prost::Message;
use sempre_api::{
    sempre::v1::{FlowKeyKind, FlowRule, FlowSingleton},
    v1::workflowservice::StartWorkflowExecutionRequest,
};

use super::progress::Member;
use crate::{
    NamespaceView, Refusal, Span,
    ids::{Fnv, Uuid},
    visibility::{self, Value},
};

/// Rules of a namespace.
pub const RULES_MAX: usize = 100;
/// Starts that may wait for a rule that does not say.
pub const WAITING_DEFAULT: usize = 10_000;
/// Starts that may wait for a rule.
pub const WAITING_MAX: usize = 100_000;
/// Runs of one rule, open and waiting: each is in memory with its place.
pub const RUNS_MAX: usize = 200_000;
const NAME_BYTES_MAX: usize = 200;
const TYPES_MAX: usize = 100;
const CONDITION_BYTES_MAX: usize = 1000;
/// Longer values of a key are cut, and told apart by a hash.
const KEY_BYTES_MAX: usize = 200;
const STARTS_MAX: i32 = 1_000_000;
/// Longest time of a rate and of a debounce.
const TIME_MAX: Span = Span::seconds(30 * 86_400);

/// A stored rule.
#[derive(Clone, PartialEq, Message)]
pub struct RuleRecord {
    /// 16 bytes, new for each rule that is made, kept when it is changed.
    #[prost(bytes = "bytes", tag = "1")]
    pub uid: Bytes,
    /// From 1.
    #[prost(int64, tag = "2")]
    pub version: i64,
    /// The rule; search attributes by field.
    #[prost(message, optional, tag = "3")]
    pub rule: Option<FlowRule>,
    /// When it was made, ns.
    #[prost(int64, tag = "4")]
    pub created: i64,
    /// When it was changed last, ns.
    #[prost(int64, tag = "5")]
    pub changed: i64,
}

/// A rule in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// See [`RuleRecord::uid`].
    pub uid: Uuid,
    /// What it says.
    pub says: FlowRule,
}

/// The rules of a namespace, by name.
pub type FlowRules = [Arc<Rule>];

/// The rules of a namespace that has none.
pub fn no_rules() -> Arc<FlowRules> {
    Arc::from(Vec::new())
}

impl Rule {
    /// Of a record. `None` when damaged.
    pub fn of(record: &RuleRecord) -> Option<Self> {
        Some(Self { uid: Uuid(record.uid.as_ref().try_into().ok()?), says: record.rule.clone()? })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.says.name
    }

    /// It counts open runs: a run stays of it until its end. Of other rules it is only until it goes.
    pub fn counts_open(&self) -> bool {
        self.says.max_open > 0 || self.singleton() != FlowSingleton::Unspecified
    }

    /// What it says of further runs with the same value of its key.
    pub fn singleton(&self) -> FlowSingleton {
        self.says.singleton()
    }

    /// Runs that may be open at once, for each value of the key.
    pub fn open_max(&self) -> Option<usize> {
        let max = usize::try_from(self.says.max_open).ok().filter(|max| *max > 0);
        let one = matches!(self.singleton(), FlowSingleton::Wait | FlowSingleton::Replace).then_some(1);
        max.into_iter().chain(one).min()
    }

    /// Starts that may wait.
    pub fn waiting_max(&self) -> usize {
        usize::try_from(self.says.waiting_max).ok().filter(|max| *max > 0).unwrap_or(WAITING_DEFAULT)
    }

    /// Time between two starts, and how far ahead of that they may be.
    pub fn rate(&self) -> Option<(Span, Span)> {
        let rate = self.says.rate.as_ref()?;
        let per = Span::from_api(rate.per.as_ref()).ok().and_then(Span::some).unwrap_or(Span::seconds(1));
        let interval = Span((per.0 / i64::from(rate.starts.max(1))).max(1));
        Some((interval, Span(interval.0.saturating_mul(i64::from(rate.burst.max(1)) - 1))))
    }

    /// How long it must be quiet, and how long the newest start waits at most.
    pub fn debounce(&self) -> Option<(Span, Option<Span>)> {
        let debounce = self.says.debounce.as_ref()?;
        let quiet = Span::from_api(debounce.quiet.as_ref()).unwrap_or_default();
        Some((quiet, Span::from_api(debounce.max_wait.as_ref()).ok().and_then(Span::some)))
    }

    /// The start as one of this rule, if it is one.
    pub fn member(&self, request: &StartWorkflowExecutionRequest, namespace: &NamespaceView, is_child: bool) -> Option<Member> {
        let conditions = self.says.r#match.as_ref()?;
        if is_child && !conditions.children {
            return None;
        }
        let workflow_type = request.workflow_type.as_ref().map_or("", |kind| kind.name.as_str());
        if !conditions.workflow_types.is_empty() && !conditions.workflow_types.iter().any(|known| known == workflow_type) {
            return None;
        }
        if !request.workflow_id.starts_with(&conditions.workflow_id_prefix) {
            return None;
        }
        let fairness_key = request.priority.as_ref().map_or("", |priority| priority.fairness_key.as_str());
        if !conditions.fairness_key.is_empty() && conditions.fairness_key != fairness_key {
            return None;
        }
        if !conditions.search_attribute.is_empty() {
            let value = attribute(&conditions.search_attribute, request, namespace)?;
            let asked = &conditions.search_attribute_value;
            if !asked.is_empty() && !value.iter().any(|value| value == asked) {
                return None;
            }
        }
        let key = match &self.says.key {
            None => String::new(),
            Some(key) => match key.kind() {
                FlowKeyKind::Unspecified => String::new(),
                FlowKeyKind::WorkflowType => workflow_type.into(),
                FlowKeyKind::WorkflowId => request.workflow_id.clone(),
                FlowKeyKind::FairnessKey => Some(fairness_key).filter(|key| !key.is_empty())?.into(),
                FlowKeyKind::SearchAttribute => attribute(&key.search_attribute, request, namespace)?.join(", "),
            },
        };
        Some(Member { uid: Bytes::copy_from_slice(&self.uid.0), rule: self.says.name.clone(), key: shortened(key) })
    }
}

/// The values of a search attribute of a start, as text.
fn attribute(field: &str, request: &StartWorkflowExecutionRequest, namespace: &NamespaceView) -> Option<Vec<String>> {
    let payload = request.search_attributes.as_ref()?.indexed_fields.get(field)?;
    let kind = namespace.search_attributes.get(field).copied();
    let value = kind
        .or_else(|| visibility::predefined(field).map(|(kind, _)| kind))
        .map_or_else(|| visibility::decode(payload), |kind| visibility::decode_as(payload, kind))?;
    Some(match value {
        Value::Keyword(text) | Value::Text(text) => [text].into(),
        Value::KeywordList(texts) => texts,
        Value::Int(number) => [number.to_string()].into(),
        Value::Double(number) => [number.to_string()].into(),
        Value::Bool(is) => [is.to_string()].into(),
        Value::Datetime(at) => [visibility::format_datetime(at)].into(),
    })
}

fn shortened(key: String) -> String {
    if key.len() <= KEY_BYTES_MAX {
        return key;
    }
    let mut hash = Fnv::default();
    hash.write(key.as_bytes());
    let mut end = KEY_BYTES_MAX;
    while !key.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…{:016x}", &key[..end], hash.finish())
}

/// Why a rule cannot be what it says.
pub fn check(rule: &FlowRule) -> Result<(), Refusal> {
    let refused = |why: String| Err(Refusal::InvalidArgument(format!("flow rule {:?}: {why}", rule.name)));
    if rule.name.is_empty() || rule.name.len() > NAME_BYTES_MAX {
        return refused(format!("a name has 1 to {NAME_BYTES_MAX} bytes"));
    }
    let Some(conditions) = &rule.r#match else { return refused("it does not say which starts it is about: set match".into()) };
    let texts =
        [&conditions.workflow_id_prefix, &conditions.search_attribute, &conditions.search_attribute_value, &conditions.fairness_key];
    let some = !conditions.workflow_types.is_empty() || texts.iter().any(|text| !text.is_empty());
    match (some, conditions.all) {
        (false, false) => return refused("it has no condition: set one, or match.all for every start of the namespace".into()),
        (true, true) => return refused("match.all is for rules without any other condition".into()),
        _ => {}
    }
    if conditions.workflow_types.len() > TYPES_MAX || conditions.workflow_types.iter().any(String::is_empty) {
        return refused(format!("it may name up to {TYPES_MAX} workflow types, none of them empty"));
    }
    if texts.into_iter().chain(&conditions.workflow_types).any(|text| text.len() > CONDITION_BYTES_MAX) {
        return refused(format!("a condition has at most {CONDITION_BYTES_MAX} bytes"));
    }
    if !conditions.search_attribute_value.is_empty() && conditions.search_attribute.is_empty() {
        return refused("search_attribute_value needs search_attribute".into());
    }
    let has_key = match &rule.key {
        None => false,
        Some(key) => match (FlowKeyKind::try_from(key.kind), key.search_attribute.is_empty()) {
            (Ok(FlowKeyKind::Unspecified) | Err(_), _) => return refused("its key has no known kind".into()),
            (Ok(FlowKeyKind::SearchAttribute), true) => return refused("its key is a search attribute: set key.search_attribute".into()),
            (Ok(FlowKeyKind::SearchAttribute), false) | (Ok(_), true) => true,
            (Ok(_), false) => return refused("key.search_attribute is for keys of that kind".into()),
        },
    };
    if rule.max_open < 0 || rule.waiting_max < 0 {
        return refused("max_open and waiting_max are not negative".into());
    }
    if usize::try_from(rule.waiting_max).unwrap_or(usize::MAX) > WAITING_MAX {
        return refused(format!("at most {WAITING_MAX} starts may wait for a rule (waiting_max)"));
    }
    let Ok(singleton) = FlowSingleton::try_from(rule.singleton) else { return refused("singleton has no known value".into()) };
    if rule.max_open == 0 && rule.rate.is_none() && rule.debounce.is_none() && singleton == FlowSingleton::Unspecified {
        return refused("it limits nothing: set max_open, rate, debounce or singleton".into());
    }
    if singleton != FlowSingleton::Unspecified && rule.max_open > 1 {
        return refused("singleton is one open run: it does not go with max_open above 1".into());
    }
    if singleton == FlowSingleton::Refuse && rule.debounce.is_some() {
        return refused(
            "a start that a singleton refuses cannot be one that others take the place of: use wait or replace with debounce".into(),
        );
    }
    if rule.debounce.is_some() && !has_key {
        return refused("debounce needs a key: without one any start of the rule would take the place of any other".into());
    }
    if let Some(rate) = &rule.rate {
        if !(1..=STARTS_MAX).contains(&rate.starts) || !(0..=STARTS_MAX).contains(&rate.burst) {
            return refused(format!("rate.starts is 1 to {STARTS_MAX}, rate.burst 0 to {STARTS_MAX}"));
        }
        match Span::from_api(rate.per.as_ref()) {
            Ok(per) if rate.per.is_none() || per > Span::ZERO && per <= TIME_MAX => {}
            _ => return refused("rate.per is above 0 and at most 30 days".into()),
        }
    }
    if let Some(debounce) = &rule.debounce {
        let quiet = Span::from_api(debounce.quiet.as_ref()).unwrap_or_default();
        if quiet <= Span::ZERO || quiet > TIME_MAX {
            return refused("debounce.quiet is above 0 and at most 30 days".into());
        }
        match Span::from_api(debounce.max_wait.as_ref()) {
            Ok(max) if debounce.max_wait.is_none() || max >= quiet && max <= TIME_MAX => {}
            _ => return refused("debounce.max_wait is not below debounce.quiet, and at most 30 days".into()),
        }
    }
    Ok(())
}
