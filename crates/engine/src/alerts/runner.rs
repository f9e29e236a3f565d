//! Judges notices and counts, writes what is to be told, and sends it until it is taken.
//!
//! | round | |
//! |---|---|
//! | 1 | reads the notices that it has not judged, if there are rules that look at them |
//! | 2 | plans: alerts, what is remembered of runs and lists, deliveries that have ended, what is too old or of no rule any more |
//! | 3 | commits the plan together with the cursor; only then memory shows it |
//! | 4 | sends what is due: few at once for each rule, one while its webhook is in trouble; asks counts that are due |
//!
//! The cursor moves in memory for as long as nothing is planned: judging the same notices again plans nothing again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use sempre_api::sempre::v1::AlertState;
use sempre_core::{
    NamespaceId, Refusal, Span, Timestamp,
    ids::Uuid,
    visibility::{Filter, Record},
};
use sempre_store::{CommitBatch, CommitError, Fence, StoreError};

use super::{
    judge::{Plan, Watching},
    memory::RAISED_MAX,
    rows,
    rule::{self, RuleRecord},
    sender::AlertCall,
    state::{self, AlertRecord, Asked, Change, ENDED_MAX, Trouble},
};
use crate::{
    calls::named,
    engine::WeakEngine,
    namespaces::Namespace,
    notices::{self, read::Page},
    shared::Shared,
};

/// The number under which rows of alerts are committed; far from those of shards.
pub(crate) const OWNER: u32 = u32::MAX - 60;
/// Notices judged in one round.
const NOTICES_A_ROUND: usize = 500;
/// Notices after which the cursor is written even if nothing is planned.
const CURSOR_EVERY: u64 = 10_000;
/// Alerts under way at once, and of one rule.
const AT_ONCE: usize = 32;
const AT_ONCE_OF_RULE: usize = 4;
/// Between two counts of a rule about a list.
const LOOK_EVERY: Span = Span::seconds(5);
/// First and longest pause after a failed attempt; it doubles.
const BACKOFF_FIRST: Span = Span::seconds(1);
const BACKOFF_MAX: Span = Span::seconds(60);
/// Nobody takes the alert for so long: it is given up, and stays in the list.
const GIVE_UP_AFTER: Span = Span::seconds(3 * 86_400);
/// After a failure of the store.
const RETRY: Span = Span::seconds(1);
/// What has ended, and what was asked for, that one round judges.
const ENDED_A_ROUND: usize = 64;
/// Rows that are dropped in one round.
const DROPS_A_ROUND: usize = 1000;

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error("notices could not be read: {0:?}")]
    Notices(Refusal),
}

/// Something under way has ended.
enum Done {
    Sent(u64, Uuid, Result<(), String>),
    /// A count that knows all notices up to this, and perhaps more.
    Counted(Arc<RuleRecord>, u64, Box<Result<(u64, Option<Record>), Refusal>>),
}

/// What notices of a rule are held against, as long as rule and namespace are these.
struct Parsed {
    version: i64,
    namespace: Arc<Namespace>,
    filter: Result<Option<Filter>, String>,
}

struct Runner {
    shared: Arc<Shared>,
    engine: WeakEngine,
    fence: Fence,
    active: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Alerts under way, with their rules.
    sending: HashMap<u64, Uuid>,
    counting: HashSet<Uuid>,
    next_look: Timestamp,
    parsed: HashMap<Uuid, Parsed>,
    /// The rules of the last round, and what they remember under.
    known: HashSet<Uuid>,
    memories: HashSet<Uuid>,
    /// It was told that rules need notices, which are not kept.
    told_of_none: bool,
    /// There may be rows of rules that are gone.
    orphans: bool,
    /// The key of the rule that was sent for last: the next has the first free place.
    served: Vec<u8>,
    /// The cursor as it is written.
    written: u64,
}

/// Works until the engine stops.
pub(crate) async fn run(shared: Arc<Shared>, engine: WeakEngine) {
    if AssertUnwindSafe(work(&shared, engine)).catch_unwind().await.is_err() {
        shared.fail("alerts have stopped by a panic".into());
    }
    shared.alerts.close_asked();
}

async fn work(shared: &Arc<Shared>, engine: WeakEngine) {
    let stops = || shared.stopping.load(Ordering::Acquire);
    let mut runner = Runner {
        shared: shared.clone(),
        engine,
        fence: Fence { shard: OWNER, epoch: 0 },
        active: FuturesUnordered::new(),
        sending: HashMap::new(),
        counting: HashSet::new(),
        next_look: shared.wall_now(),
        parsed: HashMap::new(),
        known: HashSet::new(),
        memories: HashSet::new(),
        told_of_none: false,
        orphans: true,
        served: Vec::new(),
        written: 0,
    };
    let mut opened = false;
    let mut done = Vec::new();
    let mut shown = shared.notices.watch();
    while !stops() {
        if !shared.once.has(OWNER) {
            // Another node does all this. What it makes of it is read when it is here.
            opened = false;
            shared.alerts.drop_asked();
            runner.halt();
            done.clear();
            tokio::select! {
                biased;
                () = shared.once.until(OWNER) => {}
                () = shared.alerts.changed.notified() => {}
            }
            continue;
        }
        shown.mark_unchanged();
        let round = async {
            if !opened {
                runner.open().await?;
            }
            runner.round(&mut done).await
        };
        match round.await {
            Ok(more) => {
                opened = true;
                runner.start();
                if !more {
                    runner.wait(&mut done, &mut shown).await;
                } else {
                    runner.collect(&mut done);
                    crate::shared::give_way().await;
                }
            }
            Err(failed) => {
                if stops() {
                    return;
                }
                if let Failed::Store(StoreError::Elsewhere { .. }) = failed {
                    shared.once.go(OWNER);
                    continue;
                }
                tracing::warn!(error = %failed, "alerts could not be written; they are read again");
                // What has ended and was not noted yet stays for the next round.
                opened = false;
                shared.alerts.drop_asked();
                shared.wall.sleep_until(shared.wall_now() + RETRY).await;
            }
        }
    }
}

impl Runner {
    /// Owns the rows, and reads them.
    async fn open(&mut self) -> Result<(), StoreError> {
        self.fence.epoch = self.shared.store.acquire(OWNER).await?;
        let state = rows::load(&*self.shared.store).await?;
        self.written = state.cursor;
        self.orphans = true;
        let mut known = self.shared.alerts.state();
        let before = std::mem::take(&mut *known);
        *known = state.after(before);
        Ok(())
    }

    /// The rules that there are, by namespace, and what is wrong with some.
    fn rules(&mut self) -> (BTreeMap<NamespaceId, Vec<Watching>>, HashMap<Uuid, Arc<RuleRecord>>) {
        let all: Vec<Arc<RuleRecord>> = self.shared.alerts.rules.read().values().cloned().collect();
        let mut by_namespace: BTreeMap<NamespaceId, Vec<Watching>> = BTreeMap::new();
        self.parsed.retain(|uid, _| all.iter().any(|rule| rule.uid() == *uid));
        let mut problems = HashMap::new();
        let needs_notices = |rule: &RuleRecord| !rule.is_list() && !self.shared.notices.are_on();
        if !self.told_of_none && all.iter().any(|rule| needs_notices(rule)) {
            self.told_of_none = true;
            tracing::warn!("there are alert rules about each run, and {}", rule::NO_NOTICES);
        }
        for rule in &all {
            let Some(namespace) = self.shared.namespaces.by_id(rule.namespace()) else { continue };
            let known = self.parsed.get(&rule.uid());
            if known.is_none_or(|known| known.version != rule.version || !Arc::ptr_eq(&known.namespace, &namespace)) {
                let filter = rule.filter(&namespace).map_err(|refusal| format!("{refusal:?}"));
                self.parsed.insert(rule.uid(), Parsed { version: rule.version, namespace, filter });
            }
            let filter = match self.parsed.get(&rule.uid()).map(|parsed| parsed.filter.clone()) {
                Some(Ok(filter)) => filter,
                Some(Err(problem)) => {
                    problems.insert(rule.uid(), problem);
                    None
                }
                None => None,
            };
            let raised = self.shared.alerts.state().raised.count(rule.memory());
            if !rule.is_list() && !self.shared.notices.are_on() {
                problems.insert(rule.uid(), rule::NO_NOTICES.to_owned());
            } else if raised >= RAISED_MAX {
                let problem = format!("it has told of {RAISED_MAX} open runs, which is as many as it can remember; others are left out");
                problems.insert(rule.uid(), problem);
            }
            by_namespace.entry(rule.namespace()).or_default().push(Watching { rule: rule.clone(), filter });
        }
        self.shared.alerts.state().problems = problems;
        (by_namespace, all.into_iter().map(|rule| (rule.uid(), rule)).collect())
    }

    /// Notices that some rule looks at and that were not judged. `None`: no rule looks at any.
    async fn notices(&mut self, rules: &BTreeMap<NamespaceId, Vec<Watching>>) -> Result<Option<Page>, Failed> {
        let looking = || rules.values().flatten().filter(|watching| watching.filter.is_some());
        let Some(first) = looking().map(|watching| watching.rule.after).min() else {
            self.shared.notices.set_seen(u64::MAX);
            return Ok(None);
        };
        self.shared.notices.set_seen(self.written.max(first));
        let mut after = self.shared.alerts.state().cursor.max(first);
        let gone = self.shared.notices.gone();
        if after < gone {
            tracing::error!(after, gone, "notices were gone before rules of alerts have seen them");
            after = gone;
        }
        if after >= self.shared.notices.shown() {
            return Ok(Some(Page { notices: Vec::new(), next: after, more: false }));
        }
        notices::read::read(&self.shared, None, after, NOTICES_A_ROUND).await.map(Some).map_err(Failed::Notices)
    }

    /// One round. True: there is more to judge already.
    async fn round(&mut self, done: &mut Vec<Done>) -> Result<bool, Failed> {
        let now = self.shared.wall_now();
        let shared = self.shared.clone();
        // Before the rules: what is asked for is of a rule that there was then.
        let (asked, mut more) = self.shared.alerts.take_asked(ENDED_A_ROUND);
        let (watching, rules) = self.rules();
        let memories: HashSet<Uuid> = rules.values().map(|rule| rule.memory()).collect();
        self.orphans |= self.known.iter().any(|rule| !rules.contains_key(rule)) || !self.memories.is_subset(&memories);
        self.known = rules.keys().copied().collect();
        self.memories.clone_from(&memories);
        let page = self.notices(&watching).await?;
        let mut replies = Vec::new();
        let (changes, selected_at, last, cursor) = {
            let mut state = shared.alerts.state();
            for one in done.iter() {
                self.note(&mut state, one, &rules, now);
            }
            let mut plan = Plan::new(&state, now);
            for one in done.drain(..) {
                self.judge(&mut plan, &state, one, &rules, now);
            }
            let mut cursor = page.as_ref().map_or(state.cursor, |page| page.next);
            more |= page.as_ref().is_some_and(|page| page.more);
            let mut judged = state.cursor;
            for (number, notice) in page.iter().flat_map(|page| &page.notices) {
                if plan.is_full() {
                    cursor = judged;
                    break;
                }
                plan.notice(&watching, *number, notice);
                judged = *number;
            }
            for Asked { rule, reply } in asked {
                // A rule that is gone meanwhile has no alerts: the asker hears of it by the drop of his sender.
                if rules.contains_key(&rule.uid()) && plan.alert(&rule, AlertState::Test, 0, 0, None).is_some() {
                    replies.push((plan.last, reply));
                }
            }
            for rule in rules.values() {
                if plan.is_full() {
                    break;
                }
                plan.left_out(rule);
            }
            more |= plan.is_full();
            // What is of a rule that cannot be read is of no rule that can.
            let whole = self.shared.alerts.rules.damaged() == 0;
            if whole && std::mem::take(&mut self.orphans) {
                let orphans = state.orphans(|rule| rules.contains_key(&rule), |memory| memories.contains(&memory), DROPS_A_ROUND);
                self.orphans = orphans.len() == DROPS_A_ROUND;
                plan.changes.extend(orphans);
            }
            let too_many = state.ended.len().saturating_sub(ENDED_MAX);
            plan.changes.extend(state.ended.iter().take(too_many.min(DROPS_A_ROUND)).map(|number| Change::Drop(*number)));
            more |= whole && self.orphans || too_many > DROPS_A_ROUND;
            (plan.changes, plan.selected_at, plan.last, cursor)
        };
        if !changes.is_empty() || cursor >= self.written + CURSOR_EVERY {
            let mut batch = CommitBatch::new(self.fence);
            let changes: Vec<Change> = changes.into_iter().chain([Change::Cursor(cursor)]).collect();
            changes.iter().for_each(|change| rows::write(&mut batch, change, last));
            // Before its fate is known: if it is in doubt, what it says may be there, and counts from before must not take it back.
            self.shared.alerts.state().selected_at.extend(selected_at.clone());
            self.shared.store.commit(batch).await?;
            self.written = cursor;
            let mut state = self.shared.alerts.state();
            changes.into_iter().for_each(|change| state.apply(change));
        }
        let mut state = self.shared.alerts.state();
        state.cursor = cursor;
        state.selected_at.extend(selected_at);
        state.forget_rules(|rule| rules.contains_key(&rule));
        for (number, reply) in replies {
            if let Some(alert) = state.alerts.get(&number) {
                // Whoever asked may have gone.
                let _ = reply.send(AlertRecord::clone(alert));
            }
        }
        Ok(more)
    }

    /// What only memory knows of something that has ended.
    fn note(&self, state: &mut state::State, done: &Done, rules: &HashMap<Uuid, Arc<RuleRecord>>, now: Timestamp) {
        match done {
            Done::Sent(number, uid, result) => {
                let stats = &self.shared.stats;
                if result.is_ok() {
                    stats.alerts_taken.add(1)
                } else {
                    stats.alerts_not_taken.add(1)
                }
                match result {
                    Ok(()) => drop(state.trouble.remove(uid)),
                    // Its rule may have gone, and the alert with it.
                    Err(error) if rules.contains_key(uid) => {
                        let pause = |failures: u32| Span(BACKOFF_FIRST.0 << failures.min(6)).min(BACKOFF_MAX);
                        let was_tried = state.tries.contains_key(number);
                        state.not_taken(*number, pause, now, error.clone());
                        let trouble = state.trouble.entry(*uid).or_default();
                        // One that was tried before says nothing new about others; each that was not says that the webhook is down.
                        let fresh_failures = trouble.fresh_failures.saturating_add(u32::from(!was_tried));
                        *trouble = Trouble {
                            failures: trouble.failures.saturating_add(1),
                            again: now + pause(trouble.failures),
                            fresh: now + pause(fresh_failures.saturating_sub(1)),
                            fresh_failures,
                            error: error.clone(),
                        };
                        let name = rules.get(uid).map_or("", |rule| rule.name());
                        tracing::warn!(rule = name, error, "an alert was not taken; it is sent again");
                    }
                    Err(_) => {}
                }
            }
            Done::Counted(rule, _, result) => match &**result {
                Ok(_) => drop(state.uncounted.remove(&rule.uid())),
                Err(refusal) => {
                    tracing::warn!(rule = rule.name(), ?refusal, "the query of an alert rule could not be counted");
                    state.uncounted.insert(rule.uid(), format!("{refusal:?}"));
                }
            },
        }
    }

    fn judge(&self, plan: &mut Plan<'_>, state: &state::State, done: Done, rules: &HashMap<Uuid, Arc<RuleRecord>>, now: Timestamp) {
        match done {
            Done::Sent(number, _, result) => {
                let Some(alert) = state.alerts.get(&number).filter(|alert| alert.ended == 0) else { return };
                let ended = match result {
                    Ok(()) => AlertRecord { ended: now.0, ..AlertRecord::clone(alert) },
                    Err(error) if now.since(Timestamp(alert.time)) >= GIVE_UP_AFTER => {
                        tracing::error!(rule = alert.rule, number, error, "an alert was given up");
                        self.shared.stats.alerts_given_up.add(1);
                        AlertRecord { ended: now.0, given_up: true, last_error: error, ..AlertRecord::clone(alert) }
                    }
                    Err(_) => return,
                };
                plan.push(Change::Put(Box::new(ended)));
            }
            Done::Counted(rule, knows, counted) => {
                let Ok((count, first)) = *counted else { return };
                let is_current = rules.get(&rule.uid()).is_some_and(|current| current.version == rule.version);
                if is_current {
                    plan.counted(&rule, knows, count, first.as_ref());
                }
            }
        }
    }

    /// Sends what is due, and asks the counts that are.
    fn start(&mut self) {
        let now = self.shared.wall_now();
        let rules: Vec<_> = self.shared.alerts.rules.read().iter().map(|(key, rule)| (key.clone(), rule.clone())).collect();
        let (before, behind) = rules.split_at(rules.partition_point(|(key, _)| *key <= self.served));
        for (key, rule) in behind.iter().chain(before) {
            if self.send(rule, now) {
                self.served.clone_from(key);
            }
        }
        if now < self.next_look {
            return;
        }
        self.next_look = now + LOOK_EVERY;
        for rule in rules.into_iter().map(|(_, rule)| rule).filter(|rule| rule.is_list()) {
            let Some(engine) = self.engine.get().filter(|_| self.counting.insert(rule.uid())) else { continue };
            let Some(namespace) = engine.namespace_name(rule.namespace()) else {
                self.counting.remove(&rule.uid());
                continue;
            };
            let knows = self.shared.notices.shown();
            let count = async move {
                let counted = async {
                    let count = engine.count_runs(&namespace, rule.query()).await?;
                    let first = match count {
                        0 => None,
                        _ => engine.visit_runs(&namespace, rule.query(), None, 1).await?.records.into_iter().next(),
                    };
                    Ok((count, first.map(|first| Record { memo: BTreeMap::new(), ..Record::clone(&first) })))
                };
                let counted = counted.await;
                Done::Counted(rule, knows, Box::new(counted))
            };
            self.active.push(count.boxed());
        }
    }

    /// True: something was sent.
    fn send(&mut self, rule: &RuleRecord, now: Timestamp) -> bool {
        let uid = rule.uid();
        let state = self.shared.alerts.state();
        let trouble = state.trouble.get(&uid);
        let most = if trouble.is_some() { 1 } else { AT_ONCE_OF_RULE };
        let under_way = self.sending.values().filter(|of| **of == uid).count();
        let room = most.saturating_sub(under_way).min(AT_ONCE.saturating_sub(self.sending.len()));
        // In trouble the next is tried when the rule may be, whichever it is: each in its turn, those that never were first.
        let until = match trouble {
            None => now,
            Some(trouble) if trouble.again <= now => Timestamp(i64::MAX),
            Some(trouble) if trouble.fresh <= now => Timestamp::default(),
            Some(_) => return false,
        };
        let due = state.waiting.get(&uid).into_iter().flatten().take_while(|(again, _)| *again <= until);
        let due = due.filter(|(_, number)| !self.sending.contains_key(number)).take(room);
        let due: Vec<Arc<AlertRecord>> = due.filter_map(|(_, number)| state.alerts.get(number).cloned()).collect();
        drop(state);
        let sends = !due.is_empty();
        for alert in due {
            let webhook = rule.says().webhook.unwrap_or_default();
            let number = alert.number;
            // Settings may have changed since the rule was made.
            let allowed = rule::allowed(&webhook.url, &self.shared.settings.limits);
            let call = AlertCall { url: webhook.url, secret: webhook.secret, alert: self.shown(&alert), now };
            let sender = self.shared.alert_sender.clone();
            let sent = async move {
                match allowed {
                    Ok(()) => Done::Sent(number, uid, sender.send(call).await),
                    Err(_) => Done::Sent(number, uid, Err("this server may not send to the address any more".into())),
                }
            };
            self.sending.insert(number, uid);
            self.active.push(sent.boxed());
        }
        sends
    }

    fn shown(&self, alert: &AlertRecord) -> sempre_api::sempre::v1::Alert {
        let namespace = self.shared.namespaces.by_id(NamespaceId(state::uid(&alert.namespace_id)));
        let name = namespace.as_ref().map_or("", |namespace| namespace.view.name.as_str());
        let mut told = alert.to_api(self.shared.meta.cluster_id(), name);
        if let Some(namespace) = &namespace {
            named::shown(namespace, told.run.as_mut().and_then(|run| run.search_attributes.as_mut()));
        }
        told
    }

    /// Waits until there is something to do.
    async fn wait(&mut self, done: &mut Vec<Done>, shown: &mut tokio::sync::watch::Receiver<u64>) {
        let now = self.shared.wall_now();
        let looks = self.shared.alerts.rules.read().values().any(|rule| rule.is_list());
        let watches = self.parsed.values().any(|parsed| matches!(parsed.filter, Ok(Some(_))));
        let again = {
            let state = self.shared.alerts.state();
            let of_rule = |(rule, waiting): (&Uuid, &BTreeSet<(Timestamp, u64)>)| {
                let trouble = state.trouble.get(rule);
                let most = if trouble.is_some() { 1 } else { AT_ONCE_OF_RULE };
                let is_free = self.known.contains(rule) && self.sending.values().filter(|of| *of == rule).count() < most;
                let (again, _) = waiting.iter().find(|(_, number)| is_free && !self.sending.contains_key(number))?;
                let is_fresh = *again == Timestamp::default();
                Some(trouble.map_or(*again, |trouble| if is_fresh { trouble.fresh } else { trouble.again }))
            };
            state.waiting.iter().filter_map(of_rule).min()
        };
        // With all places taken nothing can be sent again: the next that ends wakes.
        let again = again.filter(|_| self.sending.len() < AT_ONCE);
        let wake_at = again.into_iter().chain(looks.then_some(self.next_look)).min();
        let wall = self.shared.wall.clone();
        let timer = async {
            match wake_at {
                Some(at) => wall.sleep_until(at.max(now)).await,
                None => std::future::pending().await,
            }
        };
        let Self { active, shared, next_look, .. } = self;
        let ended = tokio::select! {
            biased;
            Some(ended) = active.next(), if !active.is_empty() => Some(ended),
            () = shared.alerts.changed.notified() => {
                *next_look = now;
                None
            }
            _ = shown.changed(), if watches => None,
            () = shared.once.until_gone(OWNER) => None,
            () = timer => None,
        };
        if let Some(ended) = ended {
            self.ended(ended, done);
        }
        // What has ended at the same time goes with it.
        self.collect(done);
    }

    /// Ends what is under way: another node sends it, and does not know what becomes of it here.
    fn halt(&mut self) {
        self.active.clear();
        self.sending.clear();
        self.counting.clear();
    }

    /// Takes what has ended, as much as one round judges.
    fn collect(&mut self, done: &mut Vec<Done>) {
        while done.len() < ENDED_A_ROUND
            && let Some(Some(ended)) = self.active.next().now_or_never()
        {
            self.ended(ended, done);
        }
    }

    /// It is under way no more, whatever becomes of the round that judges it.
    fn ended(&mut self, ended: Done, done: &mut Vec<Done>) {
        match &ended {
            Done::Sent(number, ..) => drop(self.sending.remove(number)),
            Done::Counted(rule, ..) => drop(self.counting.remove(&rule.uid())),
        }
        done.push(ended);
    }
}
