//! Flow rules: one that limits how many runs are open, one by which newer starts take the place of older ones; starts that
//! match them, rules that change under way, and somebody who counts what is let go on the disk.
//!
//! That nobody waits while there is room shows at the end: whoever waits for ever is work that never ends.

use std::{collections::BTreeMap, sync::Arc};

use prost::Message as _;
use sempre_api::{
    sempre::v1::{FlowDebounce, FlowKey, FlowKeyKind, FlowMatch, FlowRate, FlowRule, FlowSingleton, SetFlowRuleRequest},
    v1::{
        common::{Priority, WorkflowType},
        workflowservice::*,
    },
};
use sempre_core::{Span, flow::FlowRecord};
use sempre_store::Table;

use super::{ask, execution};
use crate::{
    network::{Answer, Call},
    random::Random,
    script::{Input, queue},
    world::{CALLERS, NAMESPACE, World},
};

/// The rule that limits open runs, and the one by which newer starts take the place of older ones.
const LIMIT: &str = "limit";
const NEWEST: &str = "newest";
/// More than this is open under [`LIMIT`] never, for each value of its key.
const OPEN_MAX: i32 = 3;

/// Starts those who have to do with flow rules.
pub(crate) fn start_all(world: &Arc<World>) {
    if world.plan.flows == 0 {
        return;
    }
    let stream = CALLERS + 850;
    world.spawn_busy("ruler", ruler(world.clone(), Random::new(world.plan.seed, stream)));
    for n in 0..world.plan.flows {
        world.spawn_busy("starter", starter(world.clone(), n, Random::new(world.plan.seed, stream + 1 + n)));
    }
}

fn key() -> Option<FlowKey> {
    Some(FlowKey { kind: FlowKeyKind::FairnessKey as i32, ..Default::default() })
}

fn rule(name: &str, kind: &str) -> FlowRule {
    let conditions = FlowMatch { workflow_types: vec![kind.into()], ..Default::default() };
    FlowRule { name: name.into(), r#match: Some(conditions), key: key(), ..Default::default() }
}

fn limit(random: &mut Random) -> FlowRule {
    let rate = FlowRate { starts: random.between(1, 4) as i32, per: Some(Span::seconds(2).to_api()), burst: random.between(1, 3) as i32 };
    let max_open = random.between(1, OPEN_MAX as u64) as i32;
    FlowRule { max_open, rate: random.permille(300).then_some(rate), ..rule(LIMIT, "Limited") }
}

fn newest(random: &mut Random) -> FlowRule {
    let quiet = Span::millis(random.between(500, 6000) as i64).to_api();
    let debounce = random.permille(600).then_some(FlowDebounce { quiet: Some(quiet), max_wait: None });
    let singleton = if debounce.is_none() || random.permille(500) { FlowSingleton::Replace } else { FlowSingleton::Unspecified };
    FlowRule { debounce, singleton: singleton as i32, ..rule(NEWEST, "Newest") }
}

async fn set(world: &Arc<World>, random: &mut Random, rule: FlowRule) {
    let request = SetFlowRuleRequest { namespace: NAMESPACE.into(), rule: Some(rule), version: 0 };
    let answer = ask(world, random, || {
        let request = request.clone();
        Call::new("set flow rule", move |engine| {
            let request = request.clone();
            async move { engine.set_flow_rule(request).await }
        })
    })
    .await;
    if let Answer::Refused(refusal) = answer {
        world.violation(format!("a flow rule was refused: {refusal:?}"));
    }
}

async fn ruler(world: Arc<World>, mut random: Random) {
    let (first, second) = (limit(&mut random), newest(&mut random));
    set(&world, &mut random, first).await;
    set(&world, &mut random, second).await;
    for _ in 0..random.below(3) {
        let pause = Span::millis(random.below(20_000) as i64);
        world.time.sleep(pause).await;
        let next = limit(&mut random);
        set(&world, &mut random, next).await;
    }
}

async fn starter(world: Arc<World>, n: u64, mut random: Random) {
    let wait = Span::millis(random.below(20_000) as i64);
    world.time.sleep(wait).await;
    for k in 0..random.between(1, 4) {
        let id = format!("f{n}-{k}");
        let input = Input {
            seed: random.any(),
            depth: 0,
            generation: 0,
            // Each waits for those before it, and patience has an end.
            steps: random.between(0, world.plan.steps.min(2)),
            waits: false,
            goes_on: random.permille(300),
            marker: format!("<in-{id}>"),
        };
        let kind = if random.permille(700) { "Limited" } else { "Newest" };
        let request = StartWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_id: id.clone(),
            workflow_type: Some(WorkflowType { name: kind.into() }),
            task_queue: Some(queue()),
            input: Some(input.to_payloads()),
            request_id: format!("start-{id}"),
            priority: Some(Priority { fairness_key: format!("t{}", random.below(2)), ..Default::default() }),
            workflow_start_delay: random.permille(150).then(|| Span::seconds(random.between(1, 20) as i64).to_api()),
            ..Default::default()
        };
        ask(&world, &mut random, || {
            let request = request.clone();
            Call::new("start of a rule", move |engine| {
                let request = request.clone();
                async move { engine.start_workflow(request).await }
            })
        })
        .await;
        count(&world);
        let pause = Span::millis(random.below(4000) as i64);
        world.time.sleep(pause).await;
        if random.permille(200) {
            end(&world, &mut random, &id).await;
        }
        count(&world);
    }
}

/// Asks a run to cancel, or terminates it, whether it waits or not.
async fn end(world: &Arc<World>, random: &mut Random, id: &str) {
    let run = execution(id, "");
    if random.permille(500) {
        let request =
            TerminateWorkflowExecutionRequest { namespace: NAMESPACE.into(), workflow_execution: Some(run), ..Default::default() };
        ask(world, random, || {
            let request = request.clone();
            Call::new("terminate a start", move |engine| {
                let request = request.clone();
                async move { engine.terminate(request).await }
            })
        })
        .await;
        return;
    }
    let request = RequestCancelWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(run),
        request_id: format!("cancel-{id}"),
        ..Default::default()
    };
    ask(world, random, || {
        let request = request.clone();
        Call::new("cancel a start", move |engine| {
            let request = request.clone();
            async move { engine.request_cancel(request).await }
        })
    })
    .await;
}

/// Never more than may be are let go, by what is durable. Runs of a shard that has been given up count for nothing at a server.
pub(crate) fn count(world: &World) {
    if world.plan.moves > 0 {
        return;
    }
    let mut open: BTreeMap<(String, String), i32> = BTreeMap::new();
    world.disk.with_tables(|tables| {
        for value in tables.table(Table::Flow).values() {
            let progress = FlowRecord::decode(value.clone()).ok().and_then(|record| record.progress).unwrap_or_default();
            for member in progress.members.iter().filter(|_| !progress.held) {
                *open.entry((member.rule.clone(), member.key.clone())).or_default() += 1;
            }
        }
    });
    for ((rule, key), open) in open {
        let max = if rule == LIMIT { OPEN_MAX } else { 1 };
        if open > max {
            world.violation(format!("{open} runs are open under flow rule {rule} for {key}, {max} may be"));
        }
    }
}
