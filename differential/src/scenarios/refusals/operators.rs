//! Resets, options and pauses that are refused.

use sempre_api::v1::{workflow::WorkflowExecutionOptions, workflowservice::*};
use tonic::Request;

use super::{ask, long, priority};
use crate::{
    scenarios::{commands::*, scenarios},
    scene::{Done, NAMESPACE, Scene},
};

scenarios!("refusals": resets, resets_of_unknown_type, options, pause_before_a_task, pauses);

async fn resets(s: Scene) -> Done {
    s.start("a").await?;
    s.work([timer("t", 60)]).await?;
    s.reset("a", 0, |_| {}).await.ok();
    s.reset("a", 1, |_| {}).await.ok();
    s.reset("a", 2, |_| {}).await.ok();
    s.reset("a", 5, |_| {}).await.ok();
    s.reset("a", 99, |_| {}).await.ok();
    s.reset("a", -1, |_| {}).await.ok();
    s.reset("a", 4, |r| r.request_id.clear()).await.ok();
    s.reset("a", 4, |r| r.request_id = long()).await.ok();
    s.terminate("a").await?;
    Ok(())
}

async fn resets_of_unknown_type(s: Scene) -> Done {
    s.start("a").await?;
    s.work([timer("t", 60)]).await?;
    s.reset("a", 4, |r| r.reset_reapply_type = 99).await.ok();
    s.terminate("a").await?;
    Ok(())
}

async fn options(s: Scene) -> Done {
    s.start("a").await?;
    let mask = |paths: &[&str]| Some(prost_types::FieldMask { paths: paths.iter().map(|p| (*p).to_owned()).collect() });
    let request = |update_mask, options| UpdateWorkflowExecutionOptionsRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(s.execution("a")),
        workflow_execution_options: options,
        update_mask,
        identity: "operator".into(),
    };
    ask!(s, "no options", update_workflow_execution_options, request(mask(&["priority"]), None));
    ask!(s, "no mask", update_workflow_execution_options, request(None, Some(WorkflowExecutionOptions::default())));
    ask!(
        s,
        "unknown field",
        update_workflow_execution_options,
        request(mask(&["no_such_field"]), Some(WorkflowExecutionOptions::default()))
    );
    ask!(
        s,
        "bad priority",
        update_workflow_execution_options,
        request(mask(&["priority"]), Some(WorkflowExecutionOptions { priority: Some(priority(-1, "")), ..Default::default() }))
    );
    s.terminate("a").await?;
    Ok(())
}

async fn pause_before_a_task(s: Scene) -> Done {
    s.start("a").await?;
    let pause =
        PauseWorkflowExecutionRequest { namespace: NAMESPACE.into(), workflow_id: s.id("a"), request_id: "r".into(), ..Default::default() };
    ask!(s, "first", pause_workflow_execution, pause);
    let unpause = UnpauseWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_id: s.id("a"),
        request_id: "r".into(),
        ..Default::default()
    };
    ask!(s, "first", unpause_workflow_execution, unpause);
    s.terminate("a").await?;
    Ok(())
}

async fn pauses(s: Scene) -> Done {
    s.start("a").await?;
    s.work([]).await?;
    let pause = || PauseWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_id: s.id("a"),
        identity: "operator".into(),
        reason: "why".into(),
        request_id: "r".into(),
        ..Default::default()
    };
    let unpause = || UnpauseWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_id: s.id("a"),
        identity: "operator".into(),
        reason: "why".into(),
        request_id: "r".into(),
        ..Default::default()
    };
    ask!(s, "not paused", unpause_workflow_execution, unpause());
    ask!(s, "long reason", pause_workflow_execution, PauseWorkflowExecutionRequest { reason: long(), ..pause() });
    ask!(s, "long request", pause_workflow_execution, PauseWorkflowExecutionRequest { request_id: long(), ..pause() });
    ask!(s, "long identity", pause_workflow_execution, PauseWorkflowExecutionRequest { identity: long(), ..pause() });
    ask!(s, "first", pause_workflow_execution, pause());
    ask!(s, "same", pause_workflow_execution, pause());
    ask!(s, "another", pause_workflow_execution, PauseWorkflowExecutionRequest { request_id: "other".into(), ..pause() });
    ask!(s, "long reason", unpause_workflow_execution, UnpauseWorkflowExecutionRequest { reason: long(), ..unpause() });
    ask!(s, "first", unpause_workflow_execution, unpause());
    s.terminate("a").await?;
    Ok(())
}
