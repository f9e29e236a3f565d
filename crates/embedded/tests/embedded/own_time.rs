//! Single runs that skip time: where they may, and that they do without anybody who lets time go.

use std::collections::BTreeMap;

use sempre_api::v1::{
    common::{Payload, Payloads, TimeSkippingConfig, WorkflowType},
    taskqueue::TaskQueue,
    workflowservice::StartWorkflowExecutionRequest,
};
use sempre_core::Refusal;
use sempre_embedded::{Builder, Sempre, testing::TestEnvironment};
use temporalio_client::WorkflowGetResultOptions;

use crate::{
    folders::Folder,
    workflows::{Outcome, QUEUE, Year, with_worker},
};

/// Starts a year that skips time by itself.
async fn start(sempre: &Sempre) -> Result<(), Refusal> {
    let metadata = BTreeMap::from([("encoding".to_owned(), "json/plain".into())]);
    let months = Payload { metadata, data: "12".into(), ..Payload::default() };
    let request = StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: "year".into(),
        workflow_type: Some(WorkflowType { name: "Year".into() }),
        task_queue: Some(TaskQueue { name: QUEUE.into(), ..TaskQueue::default() }),
        input: Some(Payloads { payloads: vec![months] }),
        request_id: "start".into(),
        time_skipping_config: Some(TimeSkippingConfig { enabled: true, ..TimeSkippingConfig::default() }),
        ..StartWorkflowExecutionRequest::default()
    };
    sempre.engine().start_workflow(request).await.map(drop)
}

/// Whether runs may skip time in a server.
async fn may_skip(builder: Builder) -> Outcome<bool> {
    let sempre = builder.start().await?;
    let started = start(&sempre).await;
    sempre.shutdown().await;
    match started {
        Ok(()) => Ok(true),
        Err(Refusal::Unimplemented(_)) => Ok(false),
        Err(other) => Err(format!("{other:?}").into()),
    }
}

#[tokio::test]
async fn a_run_skips_time_by_itself_where_data_is_in_memory() -> Outcome {
    let sempre = Sempre::in_memory().await?;
    let client = sempre.client("default").await?;
    // Within the patience of `with_worker`: nobody waits for a timer.
    with_worker(&client, async {
        start(&sempre).await.map_err(|refusal| format!("{refusal:?}"))?;
        let handle = client.get_workflow_handle::<Year>("year");
        assert_eq!(handle.get_result(WorkflowGetResultOptions::default()).await?, 12);
        Ok(())
    })
    .await?;
    sempre.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn runs_may_skip_time_in_memory_and_not_over_a_folder_unless_it_is_said() -> Outcome {
    let [usual, said, engine] = ["usual", "said", "engine"].map(Folder::new);
    assert!(may_skip(Sempre::builder()).await?);
    assert!(!may_skip(Sempre::builder().time_skipping(false)).await?);
    assert!(!may_skip(Sempre::builder().folder(&usual.0)).await?);
    assert!(may_skip(Sempre::builder().folder(&said.0).time_skipping(true)).await?);
    let by_settings = Sempre::builder().engine(|settings| settings.limits.time_skipping = true);
    assert!(may_skip(by_settings.clone().folder(&engine.0)).await?);
    assert!(!may_skip(by_settings.time_skipping(false)).await?);
    Ok(())
}

#[tokio::test]
async fn an_environment_for_tests_is_in_memory_and_lets_runs_skip_time_unless_it_is_said() -> Outcome {
    let folder = Folder::new("environment");
    let test = TestEnvironment::start_with(Sempre::builder().folder(&folder.0)).await?;
    assert!(!folder.0.exists(), "data is in memory, whatever is said");
    start(test.server()).await.map_err(|refusal| format!("{refusal:?}"))?;
    test.shutdown().await;
    let test = TestEnvironment::start_with(Sempre::builder().time_skipping(false)).await?;
    let refused = start(test.server()).await;
    assert!(matches!(refused, Err(Refusal::Unimplemented(_))), "{refused:?}");
    test.shutdown().await;
    Ok(())
}
