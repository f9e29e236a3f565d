//! Those who follow what happens to runs: one who reads the feed of notices, and a rule whose alerts go to a webhook that is not
//! always there.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use futures::{FutureExt, future::BoxFuture};
use sempre_api::sempre::v1::{
    Alert, AlertRule, AlertScope, AlertWebhook, ListNoticesRequest, ListNoticesResponse, Notice, NoticeKind, SetAlertRuleRequest,
};
use sempre_core::Span;
use sempre_engine::{AlertCall, AlertSender};
use sempre_store::Table;

use super::ask;
use crate::{
    disk::Tables,
    invariants::notices::rows,
    network::{Answer, Call, call},
    oracle::Told,
    random::Random,
    world::{CALLERS, NAMESPACE, World, lock},
};

const STREAM: u64 = CALLERS + 960;
const URL: &str = "http://127.0.0.1:1/hook";
/// The key that alerts are signed with.
const SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
/// Tells of each run that has closed.
const CLOSED: &str = "closed";

/// Starts those who follow.
pub(crate) fn start_all(world: &Arc<World>) {
    if world.plan.feed == 0 {
        return;
    }
    let seed = world.plan.seed;
    world.spawn_busy("ruler of alerts", rule(world.clone(), Random::new(seed, STREAM)));
    for n in 0..world.plan.feed {
        world.spawn_beside("follower", follow(world.clone(), Random::new(seed, STREAM + 1 + n)));
    }
}

/// What a notice says, as far as it can be held against the runs.
fn said(notice: &Notice) -> Told {
    let run = notice.run.clone().unwrap_or_default();
    Told { kind: notice.kind, run: run.execution.unwrap_or_default().run_id, status: run.status, events: run.history_length }
}

/// Reads the feed, mostly from where it was, at times from earlier, for as long as the world lasts.
async fn follow(world: Arc<World>, mut random: Random) {
    let mut cursor = 0;
    loop {
        let after = if random.permille(150) { random.below(cursor as u64 + 1) as i64 } else { cursor };
        let request = ListNoticesRequest {
            namespace: NAMESPACE.into(),
            after,
            page_size: random.between(1, 40) as i32,
            from_now: false,
            wait: random.permille(400),
        };
        let read = Call::new("list notices", move |engine| {
            let request = request.clone();
            async move { engine.list_notices(request, None).await }
        });
        match call(&world, &mut random, read).await {
            Answer::Done(page) => {
                hear(&world, after, &page);
                cursor = cursor.max(page.next);
            }
            Answer::Refused(refusal) if !refusal.may_pass() => {
                world.violation(format!("the feed behind {after}, which it has told, was refused: {refusal:?}"));
            }
            Answer::Refused(_) | Answer::Unknown => {}
        }
        let pause = Span::millis(random.between(50, 8000) as i64);
        world.time.sleep(pause).await;
    }
}

/// Numbers grow, what was told once is told the same, and what was passed by is never told.
fn hear(world: &World, after: i64, page: &ListNoticesResponse) {
    let mut wrong = Vec::new();
    {
        let mut oracle = lock(&world.oracle);
        let known_to = page.next.min(oracle.notices_to);
        let mut last = after;
        for notice in &page.notices {
            if notice.number <= last || notice.number > page.next {
                wrong.push(format!("notice {} came behind {last}, before the cursor {}", notice.number, page.next));
            }
            last = notice.number;
            let told = said(notice);
            match oracle.notices.get(&notice.number) {
                Some(before) if *before != told => {
                    wrong.push(format!("notice {} was {before:?} and is {told:?}", notice.number));
                }
                None if notice.number <= known_to => wrong.push(format!("notice {} was not there when it was passed by", notice.number)),
                _ => {}
            }
            oracle.notices.insert(notice.number, told);
        }
        let told: BTreeSet<i64> = page.notices.iter().map(|notice| notice.number).collect();
        if known_to > after {
            let lost = oracle.notices.range(after + 1..=known_to).map(|(number, _)| *number).filter(|number| !told.contains(number));
            wrong.extend(lost.map(|number| format!("notice {number} was told, and is not any more")));
        }
        oracle.notices_to = oracle.notices_to.max(page.next);
    }
    for what in wrong {
        world.violation(what);
    }
}

/// Sets the rule, some time after the beginning.
async fn rule(world: Arc<World>, mut random: Random) {
    let wait = Span::millis(random.below(20_000) as i64);
    world.time.sleep(wait).await;
    let rule = AlertRule {
        name: CLOSED.into(),
        query: "CloseTime IS NOT NULL".into(),
        scope: AlertScope::EachRun as i32,
        hold: None,
        webhook: Some(AlertWebhook { url: URL.into(), secret: SECRET.into() }),
    };
    let request = SetAlertRuleRequest { namespace: NAMESPACE.into(), rule: Some(rule), version: 0 };
    let answer = ask(&world, &mut random, || {
        let request = request.clone();
        Call::new("set alert rule", move |engine| {
            let request = request.clone();
            async move { engine.set_alert_rule(request, SECRET.into()).await }
        })
    })
    .await;
    match answer {
        Answer::Refused(refusal) => world.violation(format!("an alert rule was refused: {refusal:?}")),
        // From here on it is sure to be told.
        Answer::Done(_) => {
            let last = world.disk.with_tables(|tables| rows(tables).last().map_or(0, |row| row.number));
            lock(&world.oracle).alerts_from = Some(last);
        }
        Answer::Unknown => {}
    }
}

/// Runs whose end must be alerted of.
pub(crate) fn closed_since(tables: &Tables, from: i64) -> BTreeSet<String> {
    let is_meant = |row: &crate::invariants::notices::Row| row.number > from && row.kind == NoticeKind::Closed as i32;
    rows(tables).into_iter().filter(is_meant).map(|row| row.run).collect()
}

/// Whether alerts are still to come.
pub(crate) fn is_owed(world: &World) -> bool {
    let oracle = lock(&world.oracle);
    let Some(from) = oracle.alerts_from else { return false };
    let alerted: BTreeSet<&str> = oracle.alerts.iter().map(run_of).collect();
    world.disk.with_tables(|tables| closed_since(tables, from).iter().any(|run| !alerted.contains(&run[..])))
}

/// The run of an alert.
pub(crate) fn run_of(alert: &Alert) -> &str {
    alert.run.as_ref().and_then(|run| run.execution.as_ref()).map(|execution| &execution.run_id[..]).unwrap_or_default()
}

/// The webhook.
pub(crate) struct Hook {
    world: Arc<World>,
    random: Mutex<Random>,
}

impl Hook {
    /// For one process.
    pub(crate) fn new(world: Arc<World>, random: Random) -> Self {
        Self { world, random: Mutex::new(random) }
    }
}

impl AlertSender for Hook {
    fn send(&self, call: AlertCall) -> BoxFuture<'static, Result<(), String>> {
        let world = self.world.clone();
        let (arrives, answers, wait) = {
            let mut random = lock(&self.random);
            let wait = Span::millis(random.between(1, 4000) as i64);
            (random.permille(700), random.permille(700), wait)
        };
        async move {
            world.time.sleep(wait).await;
            let is_healed = world.is_healed();
            if arrives || is_healed {
                world.tell(format_args!("alert {} of {}", call.alert.id, run_of(&call.alert)));
                lock(&world.oracle).alerts.push(call.alert);
            }
            if arrives && answers || is_healed { Ok(()) } else { Err("simulated: nobody answers".into()) }
        }
        .boxed()
    }
}

/// All rows of the feed, for those who look at the disk.
pub(crate) fn table(tables: &Tables) -> impl Iterator<Item = (&bytes::Bytes, &bytes::Bytes)> {
    tables.table(Table::Notice).iter()
}

/// Where the webhook may be.
pub(crate) fn addresses() -> Vec<sempre_core::validate::AddressRule> {
    vec![sempre_core::validate::AddressRule { pattern: "127.0.0.1:1".into(), allow_insecure: true }]
}
