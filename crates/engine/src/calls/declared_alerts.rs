//! Alert rules that the server's settings declare: put in force together, in one commit, or not at all.

use std::{collections::HashMap, sync::atomic::Ordering};

use bytes::Bytes;
use sempre_api::sempre::v1::{AlertRule, AlertScope};
use sempre_core::{NamespaceId, Refusal, ids::Uuid};

use crate::{
    Engine,
    alerts::{
        self,
        rule::{self, RULES_MAX, RuleRecord},
    },
    records::{Change, Shown},
};

/// What became of declared rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeclaredRules {
    /// Made or changed.
    pub set: usize,
    /// Taken away: they are not declared any more.
    pub gone: usize,
}

/// A declared rule that cannot be one.
#[derive(Clone, Debug, PartialEq)]
pub struct BadRule {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Why.
    pub refusal: Box<Refusal>,
}

struct Wanted {
    key: Vec<u8>,
    namespace: NamespaceId,
    namespace_name: String,
    rule: AlertRule,
}

impl Wanted {
    fn bad(&self, text: impl Into<String>) -> BadRule {
        bad(&self.namespace_name, &self.rule, Refusal::FailedPrecondition(text.into()))
    }
}

fn bad(namespace: &str, rule: &AlertRule, refusal: Refusal) -> BadRule {
    BadRule { namespace: namespace.to_owned(), name: rule.name.clone(), refusal: Box::new(refusal) }
}

impl Engine {
    /// Puts exactly these rules in force, by namespace, beside those that were set by calls; each has its secret. From now on
    /// calls change none of them.
    pub async fn declare_alert_rules(&self, declared: Vec<(String, AlertRule)>) -> Result<DeclaredRules, BadRule> {
        let mut wanted: Vec<Wanted> = Vec::with_capacity(declared.len());
        for (namespace_name, mut rule) in declared {
            let namespace = self.namespace(&namespace_name).map_err(|refusal| bad(&namespace_name, &rule, refusal))?;
            let checked = rule::check(&rule, &namespace, &self.shared.settings.limits, self.shared.notices.are_on());
            checked.map_err(|refusal| bad(&namespace_name, &rule, refusal))?;
            if rule.scope() == AlertScope::Unspecified {
                rule.set_scope(AlertScope::EachRun);
            }
            let one = Wanted { key: alerts::key(namespace.id(), &rule.name), namespace: namespace.id(), namespace_name, rule };
            if wanted.iter().any(|there| there.key == one.key) {
                return Err(one.bad("it is declared twice"));
            }
            wanted.push(one);
        }
        let (after, now) = (self.shared.notices.shown(), self.shared.wall_now().0);
        let ids: Vec<[Bytes; 2]> = wanted.iter().map(|_| [self.new_id(), self.new_id()]).collect();
        // A refusal of records names no rule: what is wrong with one is handed past it.
        let mut wrong = None;
        let decide = |shown: &Shown<RuleRecord>| {
            let change = decided(shown, &wanted, ids, (after, now));
            change.map_err(|found| Refusal::clone(&wrong.insert(found).refusal))
        };
        let result = self.shared.alerts.rules.change(decide).await;
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        let done = result.map_err(|refusal| BadRule { namespace: String::new(), name: String::new(), refusal: Box::new(refusal) })?;
        self.shared.alerts.declared.store(true, Ordering::Release);
        Ok(done)
    }

    /// Rules of the settings could not be read, or not be put in force: lists of rules say so, and since when, until they are good again.
    pub fn note_refused_rules(&self) {
        let now = self.shared.wall_now().0.max(1);
        // Since when is told, not when that was seen last.
        let _ = self.shared.alerts.file_refused.compare_exchange(0, now, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Rules of the settings are in force as they are now.
    pub fn note_good_rules(&self) {
        self.shared.alerts.file_refused.store(0, Ordering::Release);
    }

    /// Rules of the settings are refused.
    pub fn refuses_rules(&self) -> bool {
        self.shared.alerts.file_refused.load(Ordering::Acquire) != 0
    }

    /// 16 bytes that nothing else has.
    pub(super) fn new_id(&self) -> Bytes {
        let id = Uuid::parse(&self.with_schedule_ids(sempre_core::IdSource::uuid)).unwrap_or_default();
        Bytes::copy_from_slice(&id.0)
    }
}

/// What has to change so that these rules are in force.
fn decided(
    shown: &Shown<RuleRecord>,
    wanted: &[Wanted],
    ids: Vec<[Bytes; 2]>,
    (after, now): (u64, i64),
) -> Result<(Change<RuleRecord>, DeclaredRules), BadRule> {
    let (mut records, mut done) = (Vec::new(), DeclaredRules::default());
    let mut counts: HashMap<NamespaceId, usize> = HashMap::new();
    for (one, [uid, memory]) in wanted.iter().zip(ids) {
        let old = shown.get(&one.key);
        if old.is_some_and(|old| !old.declared) {
            return Err(one.bad("there is one of that name that a call has set: delete that, or call this another name"));
        }
        let count = counts.entry(one.namespace).or_insert_with(|| {
            // Of the declared ones only these stay.
            alerts::of_namespace(shown, one.namespace).filter(|rule| !rule.declared).count()
        });
        *count += 1;
        if *count > RULES_MAX {
            return Err(one.bad(format!("a namespace has at most {RULES_MAX} alert rules")));
        }
        if old.is_some_and(|old| old.rule.as_ref() == Some(&one.rule)) {
            continue;
        }
        let record = RuleRecord {
            uid: old.map_or(uid, |old| old.uid.clone()),
            version: old.map_or(0, |old| old.version) + 1,
            rule: Some(one.rule.clone()),
            created: old.map_or(now, |old| old.created),
            changed: now,
            after,
            namespace_id: Bytes::copy_from_slice(&one.namespace.0.0),
            memory: old.filter(|old| old.means(&one.rule)).map_or(memory, |old| old.memory.clone()),
            declared: true,
        };
        records.push((one.key.clone(), Some(record)));
        done.set += 1;
    }
    for (key, _) in shown.iter().filter(|(_, old)| old.declared) {
        if !wanted.iter().any(|one| one.key == *key) {
            records.push((key.clone(), None));
            done.gone += 1;
        }
    }
    Ok((Change { records, beside: Vec::new() }, done))
}
