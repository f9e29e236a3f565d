//! What operators do to activities: pause, reset, other options.

use std::sync::Arc;

use sempre_api::{
    FieldMask,
    v1::{
        activity::ActivityOptions,
        workflowservice::{
            PauseActivityRequest, ResetActivityRequest, UpdateActivityOptionsRequest, pause_activity_request, reset_activity_request,
            update_activity_options_request,
        },
    },
};
use sempre_core::Span;

use super::{ask, execution, pauses};
use crate::{
    network::Call,
    random::Random,
    world::{NAMESPACE, World, lock},
};

pub(crate) async fn operate(world: &Arc<World>, random: &mut Random, workflow: &str, run: &str, k: u64) {
    let id = format!("a{}-{}", random.below(world.plan.steps.max(1)), random.below(3));
    match random.below(3) {
        0 => pause(world, random, workflow, run, &id, k).await,
        1 => reset(world, random, workflow, run, &id).await,
        _ => options(world, random, workflow, run, &id).await,
    }
}

async fn pause(world: &Arc<World>, random: &mut Random, workflow: &str, run: &str, id: &str, k: u64) {
    lock(&world.oracle).paused.insert(workflow.to_owned());
    let activity = if random.permille(500) {
        pause_activity_request::Activity::Id(id.to_owned())
    } else {
        pause_activity_request::Activity::Type("Work".into())
    };
    let request = PauseActivityRequest {
        namespace: NAMESPACE.into(),
        execution: Some(execution(workflow, run)),
        identity: "operator".into(),
        activity: Some(activity),
        reason: "simulated".into(),
        request_id: format!("pause-activity-{workflow}-{k}"),
    };
    ask(world, random, || {
        let request = request.clone();
        Call::new("pause activity", move |engine| {
            let request = request.clone();
            async move { engine.pause_activity(request).await }
        })
    })
    .await;
    let pause = Span::millis(random.between(1, 15_000) as i64);
    world.time.sleep(pause).await;
    pauses::unpause_activities(world, random, workflow, run).await;
}

async fn reset(world: &Arc<World>, random: &mut Random, workflow: &str, run: &str, id: &str) {
    // Its attempts are counted from 1 again.
    lock(&world.oracle).activities_reset.insert(workflow.to_owned());
    let request = ResetActivityRequest {
        namespace: NAMESPACE.into(),
        execution: Some(execution(workflow, run)),
        identity: "operator".into(),
        activity: Some(reset_activity_request::Activity::Id(id.to_owned())),
        reset_heartbeat: random.permille(500),
        jitter: random.permille(300).then(|| Span::seconds(3).to_api()),
        restore_original_options: random.permille(300),
        ..Default::default()
    };
    ask(world, random, || {
        let request = request.clone();
        Call::new("reset activity", move |engine| {
            let request = request.clone();
            async move { engine.reset_activity(request).await }
        })
    })
    .await;
}

async fn options(world: &Arc<World>, random: &mut Random, workflow: &str, run: &str, id: &str) {
    // Its timeouts are not what its Scheduled event says.
    lock(&world.oracle).options_changed.insert(workflow.to_owned());
    let options = ActivityOptions {
        start_to_close_timeout: Some(Span::millis(random.between(500, 60_000) as i64).to_api()),
        heartbeat_timeout: Some(Span::millis(random.between(500, 20_000) as i64).to_api()),
        ..Default::default()
    };
    let request = UpdateActivityOptionsRequest {
        namespace: NAMESPACE.into(),
        execution: Some(execution(workflow, run)),
        identity: "operator".into(),
        activity: Some(update_activity_options_request::Activity::Id(id.to_owned())),
        activity_options: Some(options),
        update_mask: Some(FieldMask { paths: vec!["start_to_close_timeout".into(), "heartbeat_timeout".into()] }),
        ..Default::default()
    };
    ask(world, random, || {
        let request = request.clone();
        Call::new("activity options", move |engine| {
            let request = request.clone();
            async move { engine.update_activity_options(request).await }
        })
    })
    .await;
}
