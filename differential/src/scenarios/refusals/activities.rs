//! What operators may not do to activities.

use sempre_api::v1::{taskqueue::TaskQueue, workflowservice::*};
use tonic::Request;

use super::ask;
use crate::{
    scenarios::{commands::*, scenarios},
    scene::{Done, NAMESPACE, Scene, secs},
};

scenarios!("refusals": activity_operators, activity_jitter, activity_options, activity_options_ignored);

async fn activity_operators(s: Scene) -> Done {
    s.start("a").await?;
    s.work([s.act("x").command()]).await?;
    let (namespace, execution) = (|| NAMESPACE.to_owned(), || Some(s.execution("a")));
    ask!(s, "no activity", pause_activity, PauseActivityRequest { namespace: namespace(), execution: execution(), ..Default::default() });
    ask!(
        s,
        "unknown",
        pause_activity,
        PauseActivityRequest {
            namespace: namespace(),
            execution: execution(),
            activity: Some(pause_activity_request::Activity::Id("nobody".into())),
            ..Default::default()
        }
    );
    ask!(
        s,
        "unknown type",
        pause_activity,
        PauseActivityRequest {
            namespace: namespace(),
            execution: execution(),
            activity: Some(pause_activity_request::Activity::Type("Nobody".into())),
            ..Default::default()
        }
    );
    ask!(
        s,
        "empty",
        pause_activity,
        PauseActivityRequest {
            namespace: namespace(),
            execution: execution(),
            activity: Some(pause_activity_request::Activity::Id(String::new())),
            ..Default::default()
        }
    );
    ask!(
        s,
        "no activity",
        unpause_activity,
        UnpauseActivityRequest { namespace: namespace(), execution: execution(), ..Default::default() }
    );
    ask!(
        s,
        "unknown",
        unpause_activity,
        UnpauseActivityRequest {
            namespace: namespace(),
            execution: execution(),
            activity: Some(unpause_activity_request::Activity::Id("nobody".into())),
            ..Default::default()
        }
    );
    ask!(
        s,
        "unknown type",
        unpause_activity,
        UnpauseActivityRequest {
            namespace: namespace(),
            execution: execution(),
            activity: Some(unpause_activity_request::Activity::Type("Nobody".into())),
            ..Default::default()
        }
    );
    ask!(
        s,
        "not paused",
        unpause_activity,
        UnpauseActivityRequest {
            namespace: namespace(),
            execution: execution(),
            activity: Some(unpause_activity_request::Activity::Id("x".into())),
            ..Default::default()
        }
    );
    ask!(s, "no activity", reset_activity, ResetActivityRequest { namespace: namespace(), execution: execution(), ..Default::default() });
    ask!(
        s,
        "unknown",
        reset_activity,
        ResetActivityRequest {
            namespace: namespace(),
            execution: execution(),
            activity: Some(reset_activity_request::Activity::Id("nobody".into())),
            ..Default::default()
        }
    );
    ask!(
        s,
        "unknown type",
        reset_activity,
        ResetActivityRequest {
            namespace: namespace(),
            execution: execution(),
            activity: Some(reset_activity_request::Activity::Type("Nobody".into())),
            ..Default::default()
        }
    );
    s.terminate("a").await?;
    Ok(())
}

async fn activity_jitter(s: Scene) -> Done {
    s.start("a").await?;
    s.work([s.act("x").command()]).await?;
    let (namespace, execution) = (|| NAMESPACE.to_owned(), || Some(s.execution("a")));
    ask!(
        s,
        "jitter",
        unpause_activity,
        UnpauseActivityRequest {
            namespace: namespace(),
            execution: execution(),
            activity: Some(unpause_activity_request::Activity::Id("x".into())),
            jitter: secs(-1),
            ..Default::default()
        }
    );
    ask!(
        s,
        "jitter",
        reset_activity,
        ResetActivityRequest {
            namespace: namespace(),
            execution: execution(),
            activity: Some(reset_activity_request::Activity::Id("x".into())),
            jitter: secs(-1),
            ..Default::default()
        }
    );
    s.terminate("a").await?;
    Ok(())
}

async fn activity_options(s: Scene) -> Done {
    type R = UpdateActivityOptionsRequest;
    s.start("a").await?;
    s.work([s.act("x").command()]).await?;
    let id = |id: &str| Some(update_activity_options_request::Activity::Id(id.into()));
    let mask = |paths: &[&str]| Some(prost_types::FieldMask { paths: paths.iter().map(|p| (*p).to_owned()).collect() });
    let options = |change: fn(&mut sempre_api::v1::activity::ActivityOptions)| {
        let mut options = sempre_api::v1::activity::ActivityOptions::default();
        change(&mut options);
        Some(options)
    };
    let good = || R { namespace: NAMESPACE.into(), execution: Some(s.execution("a")), activity: id("x"), ..Default::default() };
    ask!(s, "nothing", update_activity_options, good());
    ask!(
        s,
        "no activity",
        update_activity_options,
        R { activity: None, activity_options: options(|_| {}), update_mask: mask(&["heartbeat_timeout"]), ..good() }
    );
    ask!(
        s,
        "unknown",
        update_activity_options,
        R { activity: id("nobody"), activity_options: options(|_| {}), update_mask: mask(&["heartbeat_timeout"]), ..good() }
    );
    ask!(s, "no mask", update_activity_options, R { activity_options: options(|_| {}), ..good() });
    ask!(s, "both", update_activity_options, R { activity_options: options(|_| {}), restore_original: true, ..good() });
    ask!(
        s,
        "negative",
        update_activity_options,
        R { activity_options: options(|o| o.heartbeat_timeout = secs(-1)), update_mask: mask(&["heartbeat_timeout"]), ..good() }
    );
    ask!(
        s,
        "no timeouts",
        update_activity_options,
        R { activity_options: options(|_| {}), update_mask: mask(&["start_to_close_timeout", "schedule_to_close_timeout"]), ..good() }
    );
    ask!(
        s,
        "no queue name",
        update_activity_options,
        R { activity_options: options(|o| o.task_queue = Some(TaskQueue::default())), update_mask: mask(&["task_queue.name"]), ..good() }
    );
    ask!(
        s,
        "no retry policy",
        update_activity_options,
        R { activity_options: options(|_| {}), update_mask: mask(&["retry_policy.maximum_attempts"]), ..good() }
    );
    s.terminate("a").await?;
    Ok(())
}

async fn activity_options_ignored(s: Scene) -> Done {
    type R = UpdateActivityOptionsRequest;
    s.start("a").await?;
    s.work([s.act("x").command()]).await?;
    let id = |id: &str| Some(update_activity_options_request::Activity::Id(id.into()));
    let mask = |paths: &[&str]| Some(prost_types::FieldMask { paths: paths.iter().map(|p| (*p).to_owned()).collect() });
    let options = |change: fn(&mut sempre_api::v1::activity::ActivityOptions)| {
        let mut options = sempre_api::v1::activity::ActivityOptions::default();
        change(&mut options);
        Some(options)
    };
    let good = || R { namespace: NAMESPACE.into(), execution: Some(s.execution("a")), activity: id("x"), ..Default::default() };
    ask!(
        s,
        "unknown field",
        update_activity_options,
        R { activity_options: options(|_| {}), update_mask: mask(&["no_such_field"]), ..good() }
    );
    ask!(s, "no queue", update_activity_options, R { activity_options: options(|_| {}), update_mask: mask(&["task_queue"]), ..good() });
    ask!(
        s,
        "bad retry",
        update_activity_options,
        R { activity_options: options(|o| o.retry_policy = retry(-1)), update_mask: mask(&["retry_policy"]), ..good() }
    );
    s.terminate("a").await?;
    Ok(())
}
