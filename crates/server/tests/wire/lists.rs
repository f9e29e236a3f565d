//! Lists and counts on the wire, and the rebuild of their index.

use sempre_api::{
    sempre::v1::{DescribeVisibilityRequest, RebuildVisibilityRequest, operate_service_client::OperateServiceClient},
    v1::{
        common::{WorkflowExecution, WorkflowType},
        taskqueue::TaskQueue,
        workflowservice::{
            CountWorkflowExecutionsRequest, GetSearchAttributesRequest, ListWorkflowExecutionsRequest, ScanWorkflowExecutionsRequest,
            StartWorkflowExecutionRequest, TerminateWorkflowExecutionRequest,
        },
    },
};
use tonic::Code;

use crate::support::TestServer;

fn list(query: &str) -> ListWorkflowExecutionsRequest {
    ListWorkflowExecutionsRequest { namespace: "default".into(), query: query.into(), ..Default::default() }
}

fn start(id: &str) -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: id.into(),
        workflow_type: Some(WorkflowType { name: "Type".into() }),
        task_queue: Some(TaskQueue { name: "queue".into(), ..Default::default() }),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_clients_each_always_sees_its_own_writes() {
    let server = TestServer::start().await;
    let clients = (0..64).map(|client| {
        let mut workflow = server.workflow();
        tokio::spawn(async move {
            for n in 0..4 {
                let id = format!("w-{client}-{n}");
                workflow.start_workflow_execution(start(&id)).await.unwrap();
                let open = list(&format!("WorkflowId = '{id}' AND ExecutionStatus = 'Running'"));
                assert_eq!(workflow.list_workflow_executions(open.clone()).await.unwrap().into_inner().executions.len(), 1, "{id}");
                let workflow_execution = Some(WorkflowExecution { workflow_id: id.clone(), run_id: String::new() });
                let end = TerminateWorkflowExecutionRequest { namespace: "default".into(), workflow_execution, ..Default::default() };
                workflow.terminate_workflow_execution(end).await.unwrap();
                assert_eq!(workflow.list_workflow_executions(open).await.unwrap().into_inner().executions.len(), 0, "{id}");
                let query = format!("WorkflowId = '{id}' AND CloseTime IS NOT NULL");
                let count = CountWorkflowExecutionsRequest { namespace: "default".into(), query };
                assert_eq!(workflow.count_workflow_executions(count).await.unwrap().into_inner().count, 1, "{id}");
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    let all = CountWorkflowExecutionsRequest { namespace: "default".into(), query: String::new() };
    assert_eq!(server.workflow().count_workflow_executions(all).await.unwrap().into_inner().count, 256);
    server.stop().await.unwrap().unwrap();
}

#[tokio::test]
async fn queries_are_refused_with_words() {
    let server = TestServer::start().await;
    let mut workflow = server.workflow();
    for (query, text) in [
        ("NoSuch = 1", "invalid query: invalid expression: column name 'NoSuch' is not a valid search attribute"),
        ("WorkflowId = 'a' ORDER BY StartTime", "invalid query: operation is not supported: 'ORDER BY' clause"),
        ("GROUP BY ExecutionStatus", "invalid query: operation is not supported: 'GROUP BY' clause"),
    ] {
        let status = workflow.list_workflow_executions(list(query)).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, text));
    }
    let scan = ScanWorkflowExecutionsRequest { namespace: "default".into(), ..Default::default() };
    assert!(workflow.scan_workflow_executions(scan).await.unwrap().into_inner().executions.is_empty());
    let known = workflow.get_search_attributes(GetSearchAttributesRequest {}).await.unwrap().into_inner().keys;
    assert!(known.contains_key("WorkflowType") && known.contains_key("BuildIds") && known.contains_key("SempreHealth"));
    server.stop().await.unwrap().unwrap();
}

#[tokio::test]
async fn the_index_is_rebuilt_on_demand() {
    let server = TestServer::start().await;
    for id in ["a", "b"] {
        server.workflow().start_workflow_execution(start(id)).await.unwrap();
    }
    let mut operate = OperateServiceClient::new(server.channel.clone());
    let began = operate.rebuild_visibility(RebuildVisibilityRequest {}).await.unwrap().into_inner().rebuild.unwrap();
    assert!(began.running || began.finished == 1, "{began:?}");
    let done = loop {
        let now = operate.describe_visibility(DescribeVisibilityRequest {}).await.unwrap().into_inner();
        match now.rebuild {
            Some(rebuild) if rebuild.finished == 1 => break rebuild,
            _ => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    };
    assert_eq!((done.running, done.slots_done, done.runs, done.damaged), (false, 1024, 2, 0));
    let listed = server.workflow().list_workflow_executions(list("")).await.unwrap().into_inner();
    assert_eq!(listed.executions.len(), 2);
    server.stop().await.unwrap().unwrap();
}
