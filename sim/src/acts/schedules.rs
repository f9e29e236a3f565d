//! Schedules: a few actions each, all overlap policies, triggers by hand; somebody waits until each has done its work.

use std::sync::Arc;

use futures::FutureExt;
use sempre_api::v1::{
    common::WorkflowType,
    enums::ScheduleOverlapPolicy as Policy,
    schedule::{
        IntervalSpec, Schedule, ScheduleAction, SchedulePatch, SchedulePolicies, ScheduleSpec, ScheduleState, TriggerImmediatelyRequest,
        schedule_action::Action,
    },
    workflow::NewWorkflowExecutionInfo,
    workflowservice::*,
};
use sempre_core::Span;

use super::ask;
use crate::{
    executor::WORLD,
    network::{Answer, Call},
    oracle::Scheduled,
    random::Random,
    script::{Input, queue},
    world::{CALLERS, NAMESPACE, World, lock},
};

/// Starts the schedules of the plan.
pub(crate) fn start_all(world: &Arc<World>) {
    for n in 0..world.plan.schedules {
        let random = Random::new(world.plan.seed, CALLERS + 700 + n);
        world.spawn_busy("scheduler", scheduler(world.clone(), n, random));
    }
}

const POLICIES: &[Policy] =
    &[Policy::Skip, Policy::BufferOne, Policy::BufferAll, Policy::CancelOther, Policy::TerminateOther, Policy::AllowAll];

fn schedule(world: &World, random: &mut Random, id: &str, policy: Policy, actions: u64) -> Schedule {
    let interval = IntervalSpec { interval: Some(Span::seconds(random.between(1, 20) as i64).to_api()), phase: None };
    let input = Input {
        seed: random.any(),
        depth: 0,
        generation: 0,
        steps: random.between(0, world.plan.steps),
        waits: false,
        goes_on: true,
        marker: format!("<in-{id}>"),
    };
    let action = NewWorkflowExecutionInfo {
        workflow_id: id.into(),
        workflow_type: Some(WorkflowType { name: "Scheduled".into() }),
        task_queue: Some(queue()),
        input: Some(input.to_payloads()),
        ..Default::default()
    };
    Schedule {
        spec: Some(ScheduleSpec { interval: vec![interval], ..Default::default() }),
        action: Some(ScheduleAction { action: Some(Action::StartWorkflow(action)) }),
        policies: Some(SchedulePolicies { overlap_policy: policy as i32, ..Default::default() }),
        state: Some(ScheduleState { limited_actions: true, remaining_actions: actions as i64, ..Default::default() }),
    }
}

async fn scheduler(world: Arc<World>, n: u64, mut random: Random) {
    let id = format!("s{n}");
    let wait = Span::millis(random.below(20_000) as i64);
    world.time.sleep(wait).await;
    let policy = *random.pick(POLICIES).unwrap_or(&Policy::Skip);
    let actions = random.between(1, 5);
    let request = CreateScheduleRequest {
        namespace: NAMESPACE.into(),
        schedule_id: id.clone(),
        schedule: Some(schedule(&world, &mut random, &id, policy, actions)),
        request_id: format!("create-{id}"),
        ..Default::default()
    };
    lock(&world.oracle).schedules.insert(id.clone(), Scheduled { policy: policy as i32, actions, ..Scheduled::default() });
    lock(&world.oracle).waiting += 1;
    let answer = ask(&world, &mut random, || {
        let request = request.clone();
        Call::new("create schedule", move |engine| {
            let request = request.clone();
            async move { engine.create_schedule(request).await }
        })
    })
    .await;
    let created = matches!(answer, Answer::Done(_));
    if let Answer::Refused(refusal) = answer {
        world.violation(format!("schedule {id} was refused: {refusal:?}"));
    }
    let after = Random::new(random.any(), 1);
    world.executor.spawn(WORLD, "schedule", watch(world.clone(), after, id.clone(), created).boxed());
    for k in 0..random.below(3) {
        let pause = Span::millis(random.below(15_000) as i64);
        world.time.sleep(pause).await;
        trigger(&world, &mut random, &id, k).await;
    }
}

async fn trigger(world: &Arc<World>, random: &mut Random, id: &str, k: u64) {
    let policy = *random.pick(POLICIES).unwrap_or(&Policy::Skip);
    let patch = SchedulePatch {
        trigger_immediately: Some(TriggerImmediatelyRequest { overlap_policy: policy as i32, scheduled_time: None }),
        ..Default::default()
    };
    let request = PatchScheduleRequest {
        namespace: NAMESPACE.into(),
        schedule_id: id.into(),
        patch: Some(patch),
        request_id: format!("trigger-{id}-{k}"),
        ..Default::default()
    };
    if let Some(known) = lock(&world.oracle).schedules.get_mut(id) {
        known.triggers += 1;
        known.overlaps |= policy == Policy::AllowAll;
    }
    ask(world, random, || {
        let request = request.clone();
        Call::new("trigger", move |engine| {
            let request = request.clone();
            async move { engine.patch_schedule(request).await }
        })
    })
    .await;
}

/// Waits until a schedule has nothing left to do, and remembers what it says of itself.
///
/// It rests when it is seen to twice in a row after the world was healed: a call that begins before may be answered with what
/// was on a slow disk, and so may the first one after.
async fn watch(world: Arc<World>, mut random: Random, id: String, created: bool) {
    let mut calm = 0;
    loop {
        let most = if world.is_healed() { 4000 } else { 20_000 };
        world.time.sleep(Span::millis(random.between(1000, most) as i64)).await;
        let healed = world.is_healed();
        let request = DescribeScheduleRequest { namespace: NAMESPACE.into(), schedule_id: id.clone() };
        let answer = ask(&world, &mut random, || {
            let request = request.clone();
            Call::new("describe schedule", move |engine| {
                let request = request.clone();
                async move { engine.describe_schedule(request).await }
            })
        })
        .await;
        let said = match answer {
            Answer::Unknown => continue,
            Answer::Refused(refusal) => {
                if created {
                    world.violation(format!("schedule {id} was acknowledged and cannot be described: {refusal:?}"));
                } else if !world.is_healed() {
                    continue;
                }
                None
            }
            Answer::Done(described) => {
                let state = described.schedule.and_then(|schedule| schedule.state).unwrap_or_default();
                let info = described.info.unwrap_or_default();
                let rests = state.remaining_actions == 0 && info.running_workflows.is_empty() && info.buffer_size == 0;
                if !rests {
                    let (left, running, waiting) = (state.remaining_actions, &info.running_workflows, info.buffer_size);
                    world.trace.line(world.time.now(), format_args!("schedule {id}: {left} actions left, {waiting} wait, {running:?} run"));
                }
                // Before that a trigger may still come.
                calm = if rests && healed { calm + 1 } else { 0 };
                if calm < 2 {
                    continue;
                }
                Some(info.action_count)
            }
        };
        let mut oracle = lock(&world.oracle);
        if let Some(known) = oracle.schedules.get_mut(&id) {
            known.taken = said;
        }
        oracle.waiting -= 1;
        return;
    }
}
