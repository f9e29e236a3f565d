//! Updates through the engine: waits, speculative tasks without commits, lost memory.

use std::sync::atomic::Ordering;

use sempre_api::{
    Any,
    v1::{
        command::{ContinueAsNewWorkflowExecutionCommandAttributes, command::Attributes},
        common::{
            Callback, callback,
            link::{Variant, workflow_event::Reference},
        },
        enums::{CommandType, UpdateWorkflowExecutionLifecycleStage as Stage, WorkflowIdConflictPolicy},
        failure::Failure,
        protocol::{Message, message::SequencingId},
        update::{Acceptance, Input, Meta, Outcome, Rejection, Request, Response, UpdateRef, WaitPolicy, outcome::Value},
        workflowservice::{
            execute_multi_operation_request::operation::Operation as Asked,
            execute_multi_operation_response::response::Response as Answered, *,
        },
    },
};
use sempre_core::{Refusal, Span, refusal::Operation, state::callback::OutcomeState, validate::AddressRule};
use sempre_engine::Settings;

use crate::{nodes::*, support::*};

type Updated = tokio::task::JoinHandle<Result<UpdateWorkflowExecutionResponse, Refusal>>;

fn update_request(id: &str, stage: Stage) -> UpdateWorkflowExecutionRequest {
    UpdateWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution("a", "")),
        wait_policy: Some(WaitPolicy { lifecycle_stage: stage as i32 }),
        request: Some(Request {
            meta: Some(Meta { update_id: id.into(), identity: "client".into() }),
            input: Some(Input { name: "handler".into(), args: Some(payloads("args")), header: None }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn update(w: &World, id: &str, stage: Stage) -> Updated {
    let (engine, request) = (w.engine.clone(), update_request(id, stage));
    tokio::spawn(async move { engine.update_workflow(request, None).await })
}

async fn poll_update(w: &World, run_id: &str, id: &str, stage: Stage) -> Result<PollWorkflowExecutionUpdateResponse, Refusal> {
    let request = PollWorkflowExecutionUpdateRequest {
        namespace: NAMESPACE.into(),
        update_ref: Some(UpdateRef { workflow_execution: Some(execution("a", run_id)), update_id: id.into() }),
        wait_policy: Some(WaitPolicy { lifecycle_stage: stage as i32 }),
        ..Default::default()
    };
    soon(w.engine.poll_update(request, None)).await
}

fn packed<M: prost::Name>(id: &str, what: &str, body: &M) -> Message {
    Message {
        id: format!("{id}/{what}"),
        protocol_instance_id: id.into(),
        body: Some(Any { type_url: format!("type.googleapis.com/{}", M::full_name()), value: body.encode_to_vec() }),
        ..Default::default()
    }
}

fn accept(task: &PollWorkflowTaskQueueResponse, id: &str) -> Message {
    let request = task.messages.iter().find(|m| m.protocol_instance_id == id).expect("the task brings the update");
    let Some(SequencingId::EventId(sequencing)) = request.sequencing_id else { panic!("not sequenced") };
    let body = Acceptance {
        accepted_request_message_id: request.id.clone(),
        accepted_request_sequencing_event_id: sequencing,
        accepted_request: None,
    };
    packed(id, "accept", &body)
}

fn respond(id: &str) -> Message {
    let outcome = Some(Outcome { value: Some(Value::Success(payloads("done"))) });
    packed(id, "complete", &Response { meta: Some(Meta { update_id: id.into(), ..Default::default() }), outcome })
}

fn reject(id: &str) -> Message {
    packed(id, "reject", &Rejection { failure: Some(Failure { message: "no".into(), ..Default::default() }), ..Default::default() })
}

fn completion(task: &PollWorkflowTaskQueueResponse, messages: Vec<Message>) -> RespondWorkflowTaskCompletedRequest {
    RespondWorkflowTaskCompletedRequest { task_token: task.task_token.clone(), messages, identity: "worker".into(), ..Default::default() }
}

async fn complete(w: &World, task: &PollWorkflowTaskQueueResponse, messages: Vec<Message>) -> RespondWorkflowTaskCompletedResponse {
    soon(w.engine.respond_workflow_task_completed(completion(task, messages))).await.unwrap()
}

fn outcome(response: &UpdateWorkflowExecutionResponse) -> String {
    text(response.outcome.as_ref())
}

fn text(outcome: Option<&Outcome>) -> String {
    match outcome.and_then(|o| o.value.as_ref()) {
        Some(Value::Success(p)) => String::from_utf8_lossy(&p.payloads[0].data).into_owned(),
        Some(Value::Failure(f)) => format!("failure {}", f.message),
        None => "none".into(),
    }
}

async fn idle() -> World {
    let w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete(&task.task_token, vec![]).await;
    w
}

#[tokio::test]
async fn an_update_is_answered_by_the_task_that_brings_it() {
    let w = idle().await;
    let poll = w.poll_beside();
    w.settle().await;
    let updated = update(&w, "u", Stage::Completed);
    let task = soon(poll).await.unwrap();
    assert_eq!(names(&task.history.clone().unwrap().events().unwrap()).len(), 6, "with the events of the speculative task");
    assert_eq!(w.names("a").await.len(), 6, "a worker that reads history gets them as well");
    complete(&w, &task, vec![accept(&task, "u"), respond("u")]).await;
    let answer = soon(updated).await.unwrap().unwrap();
    assert_eq!((outcome(&answer).as_str(), answer.stage()), ("done", Stage::Completed));
    let reference = answer.update_ref.unwrap();
    assert_eq!((reference.update_id.as_str(), reference.workflow_execution.unwrap().workflow_id.as_str()), ("u", "a"));
    assert_eq!(w.names("a").await.len(), 9);
    // Again: from history.
    let again = soon(update(&w, "u", Stage::Accepted)).await.unwrap().unwrap();
    assert_eq!((outcome(&again).as_str(), again.stage()), ("done", Stage::Completed));
}

#[tokio::test]
async fn a_rejected_update_needs_no_commit() {
    let w = idle().await;
    w.settle().await;
    let commits = w.engine.stats().commits.get();
    let poll = w.poll_beside();
    w.settle().await;
    let updated = update(&w, "u", Stage::Completed);
    let task = soon(poll).await.unwrap();
    let answer = complete(&w, &task, vec![reject("u")]).await;
    assert_eq!(answer.reset_history_event_id, 3);
    assert_eq!(outcome(&soon(updated).await.unwrap().unwrap()), "failure no");
    // The same without a poller that waits.
    let updated = update(&w, "v", Stage::Completed);
    w.settle().await;
    let task = w.poll().await;
    complete(&w, &task, vec![reject("v")]).await;
    assert_eq!(outcome(&soon(updated).await.unwrap().unwrap()), "failure no");
    assert_eq!(w.engine.stats().commits.get(), commits);
    assert_eq!(w.names("a").await.len(), 4);
}

#[tokio::test]
async fn a_caller_waits_for_the_stage_it_names() {
    let w = idle().await;
    let accepted = update(&w, "u", Stage::Unspecified);
    let completed = update(&w, "u", Stage::Completed);
    w.settle().await;
    let task = w.poll().await;
    complete(&w, &task, vec![accept(&task, "u")]).await;
    let answer = soon(accepted).await.unwrap().unwrap();
    assert_eq!((outcome(&answer).as_str(), answer.stage()), ("none", Stage::Accepted));
    w.settle().await;
    assert!(!completed.is_finished());
    w.signal("a", "go").await.unwrap();
    let task = w.poll().await;
    complete(&w, &task, vec![respond("u")]).await;
    assert_eq!(outcome(&soon(completed).await.unwrap().unwrap()), "done");
}

#[tokio::test]
async fn a_wait_ends_with_the_stage_reached() {
    let w = idle().await;
    let updated = update(&w, "u", Stage::Completed);
    w.settle().await;
    let task = w.poll().await;
    let early = update(&w, "later", Stage::Accepted);
    complete(&w, &task, vec![accept(&task, "u")]).await;
    w.advance(Span::seconds(19)).await;
    assert!(!updated.is_finished() && !early.is_finished());
    w.advance(Span::seconds(1)).await;
    let answer = soon(updated).await.unwrap().unwrap();
    assert_eq!((outcome(&answer).as_str(), answer.stage()), ("none", Stage::Accepted));
    assert_eq!(soon(early).await.unwrap().unwrap().stage(), Stage::Admitted);
    let polled = poll_update(&w, "", "u", Stage::Unspecified).await.unwrap();
    assert_eq!(polled.stage(), Stage::Accepted);
}

#[tokio::test]
async fn a_caller_that_gives_up_sooner_is_told_so() {
    let w = idle().await;
    let (engine, deadline) = (w.engine.clone(), w.engine.now() + Span::seconds(3));
    let updated = tokio::spawn(async move { engine.update_workflow(update_request("u", Stage::Completed), Some(deadline)).await });
    w.advance(Span::seconds(3)).await;
    assert!(matches!(soon(updated).await.unwrap(), Err(Refusal::DeadlineExceeded(_))));
}

#[tokio::test]
async fn a_speculative_task_that_nobody_takes_becomes_a_normal_one() {
    let w = idle().await;
    let updated = update(&w, "u", Stage::Completed);
    w.advance(Span::seconds(4)).await;
    assert_eq!(w.names("a").await.len(), 5, "scheduled, in memory");
    w.advance(Span::seconds(1)).await;
    let expected = ["WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_TIMED_OUT", "WORKFLOW_TASK_SCHEDULED"];
    assert_eq!(w.names("a").await[4..], expected);
    let task = w.poll().await;
    complete(&w, &task, vec![accept(&task, "u"), respond("u")]).await;
    assert_eq!(outcome(&soon(updated).await.unwrap().unwrap()), "done");
}

#[tokio::test]
async fn a_worker_that_does_not_answer_loses_the_speculative_task() {
    let w = idle().await;
    let updated = update(&w, "u", Stage::Completed);
    w.settle().await;
    let late = w.poll().await;
    w.advance(Span::seconds(10)).await;
    assert_eq!(w.names("a").await[4..7], ["WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_STARTED", "WORKFLOW_TASK_TIMED_OUT"]);
    let gone = soon(w.engine.respond_workflow_task_completed(completion(&late, vec![]))).await.unwrap_err();
    assert_eq!(gone, Refusal::NotFound("Workflow task not found.".into()));
    let task = w.poll().await;
    complete(&w, &task, vec![accept(&task, "u"), respond("u")]).await;
    assert_eq!(outcome(&soon(updated).await.unwrap().unwrap()), "done");
}

#[tokio::test]
async fn a_signal_gives_the_offer_of_a_speculative_task_a_row() {
    let mut w = idle().await;
    let updated = update(&w, "u", Stage::Completed);
    w.settle().await;
    assert!(w.store.rows(sempre_store::Table::Offer).is_empty());
    w.signal("a", "go").await.unwrap();
    assert_eq!(w.store.rows(sempre_store::Table::Offer).len(), 1);
    // The server dies: the task is there still, the update is sent again by its caller.
    w.reopen().await;
    assert!(matches!(soon(updated).await.unwrap(), Err(Refusal::Unavailable(_))));
    let updated = update(&w, "u", Stage::Completed);
    w.settle().await;
    let task = w.poll().await;
    complete(&w, &task, vec![accept(&task, "u"), respond("u")]).await;
    assert_eq!(outcome(&soon(updated).await.unwrap().unwrap()), "done");
    assert!(w.store.rows(sempre_store::Table::Offer).is_empty());
}

#[tokio::test]
async fn an_accepted_update_survives_a_restart_and_its_outcome_the_run() {
    let mut w = idle().await;
    let updated = update(&w, "u", Stage::Accepted);
    w.settle().await;
    let task = w.poll().await;
    complete(&w, &task, vec![accept(&task, "u")]).await;
    let run_id = soon(updated).await.unwrap().unwrap().update_ref.unwrap().workflow_execution.unwrap().run_id;
    w.reopen().await;
    w.signal("a", "go").await.unwrap();
    let task = w.poll().await;
    let request = RespondWorkflowTaskCompletedRequest { commands: done(), ..completion(&task, vec![]) };
    let place = command(
        CommandType::ProtocolMessage,
        Attributes::ProtocolMessageCommandAttributes(sempre_api::v1::command::ProtocolMessageCommandAttributes {
            message_id: "u/complete".into(),
        }),
    );
    let request =
        RespondWorkflowTaskCompletedRequest { commands: [vec![place], request.commands].concat(), messages: vec![respond("u")], ..request };
    soon(w.engine.respond_workflow_task_completed(request)).await.unwrap();
    w.reopen().await;
    let polled = poll_update(&w, &run_id, "u", Stage::Completed).await.unwrap();
    assert_eq!((text(polled.outcome.as_ref()).as_str(), polled.stage()), ("done", Stage::Completed));
    let unknown = poll_update(&w, "", "other", Stage::Completed).await.unwrap_err();
    assert_eq!(unknown, Refusal::NotFound("update \"other\" not found".into()));
    let closed = soon(update(&w, "other", Stage::Completed)).await.unwrap().unwrap_err();
    assert_eq!(closed, Refusal::NotFound("workflow execution already completed".into()));
}

#[tokio::test]
async fn a_failed_commit_loses_updates_and_they_are_sent_again() {
    let w = idle().await;
    let updated = update(&w, "u", Stage::Completed);
    w.settle().await;
    let task = w.poll().await;
    w.store.refuse.store(1, Ordering::SeqCst);
    let lost = soon(w.engine.respond_workflow_task_completed(completion(&task, vec![accept(&task, "u"), respond("u")]))).await;
    assert!(matches!(lost, Err(Refusal::Unavailable(_))));
    assert!(!updated.is_finished());
    for _ in 0..20 {
        w.advance(Span::millis(20)).await;
    }
    let task = w.poll().await;
    complete(&w, &task, vec![accept(&task, "u"), respond("u")]).await;
    assert_eq!(outcome(&soon(updated).await.unwrap().unwrap()), "done");
    assert_eq!(w.names("a").await.len(), 9, "once");
}

#[tokio::test]
async fn an_update_follows_a_run_that_continues_as_new() {
    let w = world().await;
    let first = w.start("a").await;
    let task = w.poll().await;
    let updated = update(&w, "u", Stage::Completed);
    w.settle().await;
    let fixed = {
        let (engine, request) = (w.engine.clone(), update_request("only this run", Stage::Completed));
        let request = UpdateWorkflowExecutionRequest { workflow_execution: Some(execution("a", &first)), ..request };
        tokio::spawn(async move { engine.update_workflow(request, None).await })
    };
    w.settle().await;
    let next = ContinueAsNewWorkflowExecutionCommandAttributes::default();
    let next = Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(Box::new(next));
    w.complete(&task.task_token, vec![command(CommandType::ContinueAsNewWorkflowExecution, next)]).await;
    assert!(matches!(soon(fixed).await.unwrap(), Err(Refusal::ResourceExhausted { .. })));
    w.advance(Span::seconds(1)).await;
    let task = w.poll().await;
    complete(&w, &task, vec![accept(&task, "u"), respond("u")]).await;
    let answer = soon(updated).await.unwrap().unwrap();
    assert_ne!(answer.update_ref.unwrap().workflow_execution.unwrap().run_id, first);
}

#[tokio::test]
async fn an_update_for_a_sticky_worker_that_is_gone_goes_to_the_normal_queue() {
    let w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete_sticky(&task.task_token, vec![]).await;
    let updated = update(&w, "u", Stage::Completed);
    w.settle().await;
    let task = w.poll().await;
    assert_eq!(names(&task.history.clone().unwrap().events().unwrap()).len(), 6, "whole history");
    complete(&w, &task, vec![accept(&task, "u"), respond("u")]).await;
    assert_eq!(outcome(&soon(updated).await.unwrap().unwrap()), "done");
}

/// Its offer had no row when the poll took it; the signal has one written, under the name of the normal queue.
#[tokio::test]
async fn a_speculative_task_that_a_signal_overtakes_on_its_way_to_a_poll_leaves_no_row() {
    let w = world_with(Settings { shards: 1, batch_inputs_max: 1, ..settings() }).await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete_sticky(&task.task_token, vec![]).await;
    let updated = update(&w, "u", Stage::Completed);
    w.settle().await;
    // The poll has the offer before the shard has the signal, and the shard has the signal before it has the poll.
    let (signal, task) = tokio::join!(w.signal("a", "go"), w.poll());
    signal.unwrap();
    assert_eq!(w.store.rows(sempre_store::Table::Offer).len(), 0);
    complete(&w, &task, vec![accept(&task, "u"), respond("u")]).await;
    assert_eq!(outcome(&soon(updated).await.unwrap().unwrap()), "done");
}

#[tokio::test]
async fn an_update_for_a_sticky_worker_comes_with_the_new_events_only() {
    let w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete_sticky(&task.task_token, vec![]).await;
    let poll = w.poll_sticky_beside();
    w.settle().await;
    let updated = update(&w, "u", Stage::Completed);
    let task = soon(poll).await.unwrap();
    assert_eq!(
        names(&task.history.clone().unwrap().events().unwrap()),
        ["WORKFLOW_TASK_COMPLETED", "WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_STARTED"]
    );
    complete(&w, &task, vec![reject("u")]).await;
    assert_eq!(outcome(&soon(updated).await.unwrap().unwrap()), "failure no");
}

#[tokio::test]
async fn what_an_update_must_have_is_checked_in_order() {
    let w = idle().await;
    let refused = |change: fn(&mut UpdateWorkflowExecutionRequest)| {
        let mut request = update_request("u", Stage::Accepted);
        change(&mut request);
        let engine = w.engine.clone();
        async move { soon(engine.update_workflow(request, None)).await.unwrap_err() }
    };
    let invalid = |text: &str| Refusal::InvalidArgument(text.into());
    assert_eq!(refused(|r| r.workflow_execution = None).await, invalid("Execution is not set on request."));
    assert_eq!(refused(|r| r.request = None).await, invalid("Update meta is not set on request."));
    assert_eq!(refused(|r| r.request.as_mut().unwrap().meta = None).await, invalid("Update meta is not set on request."));
    assert_eq!(refused(|r| r.request.as_mut().unwrap().input = None).await, invalid("Update input is not set on request."));
    let no_name = refused(|r| r.request.as_mut().unwrap().input.as_mut().unwrap().name.clear());
    assert_eq!(no_name.await, invalid("Update name is not set on request."));
    let long = refused(|r| r.request.as_mut().unwrap().meta.as_mut().unwrap().update_id = "x".repeat(1001));
    assert_eq!(long.await, invalid("UpdateId length exceeds limit."));
    let admitted = refused(|r| r.wait_policy = Some(WaitPolicy { lifecycle_stage: Stage::Admitted as i32 }));
    assert!(matches!(admitted.await, Refusal::PermissionDenied(text) if text.contains("waiting on update admitted is not supported")));
    let callbacks = refused(|r| r.request.as_mut().unwrap().completion_callbacks.push(Default::default()));
    assert_eq!(callbacks.await, Refusal::Unimplemented("unknown callback variant: <nil>".into()));
    let no_ref = PollWorkflowExecutionUpdateRequest { namespace: NAMESPACE.into(), ..Default::default() };
    assert_eq!(soon(w.engine.poll_update(no_ref, None)).await.unwrap_err(), invalid("UpdateRef is not set on request."));
}

#[tokio::test]
async fn an_update_without_an_id_gets_one() {
    let w = idle().await;
    let (engine, mut request) = (w.engine.clone(), update_request("", Stage::Completed));
    request.wait_policy = None;
    let updated = tokio::spawn(async move { engine.update_workflow(request, None).await });
    w.settle().await;
    let task = w.poll().await;
    let id = task.messages[0].protocol_instance_id.clone();
    complete(&w, &task, vec![accept(&task, &id), respond(&id)]).await;
    let answer = soon(updated).await.unwrap().unwrap();
    assert_eq!(answer.update_ref.unwrap().update_id, id);
    assert_eq!(id.len(), 36);
}

#[tokio::test]
async fn an_update_of_a_shard_that_goes_is_not_said_to_be_untried_once_a_run_has_it() {
    for id in ["", "u"] {
        let n = nodes().await;
        let (a, b) = (&n.a, &n.b);
        let run = n.id(1, "run");
        a.start(&run).await;
        let task = a.poll().await;
        a.complete(&task.task_token, vec![]).await;
        let (engine, mut request) = (a.engine.clone(), update_request(id, Stage::Completed));
        request.workflow_execution = Some(execution(&run, ""));
        let again = request.clone();
        let updated = tokio::spawn(async move { engine.update_workflow(request, None).await });
        a.settle().await;
        let task = a.poll().await;
        let given = task.messages[0].protocol_instance_id.clone();
        complete(a, &task, vec![accept(&task, &given)]).await;
        assert!(!updated.is_finished());
        n.give(1, a, b).await;
        n.advance(Span::seconds(1)).await;
        // Who is told that it is elsewhere sends it there as it came: without an id it would be another.
        assert_eq!(soon(updated).await.unwrap().unwrap_err(), Refusal::Unavailable("workflow update was aborted".into()), "{id:?}");
        // One that comes now has not been tried.
        elsewhere(soon(a.engine.update_workflow(again, None)).await, 1);
        let accepted = b.names(&run).await.iter().filter(|name| **name == "WORKFLOW_EXECUTION_UPDATE_ACCEPTED").count();
        assert_eq!(accepted, 1);
    }
}

fn with_start(id: &str, conflict: WorkflowIdConflictPolicy) -> ExecuteMultiOperationRequest {
    let mut start = start_request("a");
    start.request_id = format!("for update {id} {conflict:?}");
    start.set_workflow_id_conflict_policy(conflict);
    let operation = |operation| execute_multi_operation_request::Operation { operation: Some(operation) };
    ExecuteMultiOperationRequest {
        namespace: NAMESPACE.into(),
        operations: vec![operation(Asked::StartWorkflow(start)), operation(Asked::UpdateWorkflow(update_request(id, Stage::Completed)))],
        ..Default::default()
    }
}

type Both = tokio::task::JoinHandle<Result<ExecuteMultiOperationResponse, Refusal>>;

fn execute(w: &World, request: ExecuteMultiOperationRequest) -> Both {
    let engine = w.engine.clone();
    tokio::spawn(async move { engine.execute_multi_operation(request, None, || {}).await })
}

fn answers(response: ExecuteMultiOperationResponse) -> (StartWorkflowExecutionResponse, UpdateWorkflowExecutionResponse) {
    let [start, update]: [_; 2] = response.responses.try_into().unwrap();
    match (start.response, update.response) {
        (Some(Answered::StartWorkflow(start)), Some(Answered::UpdateWorkflow(update))) => (start, update),
        other => panic!("not the answers: {other:?}"),
    }
}

#[tokio::test]
async fn update_with_start_starts_a_run_and_its_first_task_brings_the_update() {
    let w = world().await;
    let poll = w.poll_beside();
    w.settle().await;
    let both = execute(&w, with_start("u", WorkflowIdConflictPolicy::UseExisting));
    let task = soon(poll).await.unwrap();
    complete(&w, &task, vec![accept(&task, "u"), respond("u")]).await;
    let (start, update) = answers(soon(both).await.unwrap().unwrap());
    assert!(start.started);
    assert_eq!(outcome(&update), "done");
    assert_eq!(update.update_ref.unwrap().workflow_execution.unwrap().run_id, start.run_id);
    // Again: the outcome from history, also when the run is closed.
    w.signal("a", "go").await.unwrap();
    let task = w.poll().await;
    w.complete(&task.task_token, done()).await;
    let (start, update) = answers(soon(execute(&w, with_start("u", WorkflowIdConflictPolicy::Fail))).await.unwrap().unwrap());
    assert!(!start.started);
    assert_eq!((outcome(&update).as_str(), update.stage()), ("done", Stage::Completed));
    // Another one: a new run.
    let both = execute(&w, with_start("v", WorkflowIdConflictPolicy::Fail));
    w.settle().await;
    let task = w.poll().await;
    complete(&w, &task, vec![accept(&task, "v"), respond("v")]).await;
    assert!(answers(soon(both).await.unwrap().unwrap()).0.started);
}

#[tokio::test]
async fn update_with_start_updates_the_run_that_is_there() {
    let w = idle().await;
    let both = execute(&w, with_start("u", WorkflowIdConflictPolicy::UseExisting));
    w.settle().await;
    let task = w.poll().await;
    complete(&w, &task, vec![reject("u")]).await;
    let (start, update) = answers(soon(both).await.unwrap().unwrap());
    assert!(!start.started);
    assert_eq!(outcome(&update), "failure no");
    let refused = soon(execute(&w, with_start("v", WorkflowIdConflictPolicy::Fail))).await.unwrap().unwrap_err();
    let Refusal::MultiOperation(refused) = refused else { panic!("not refused as one of several") };
    assert!(matches!(&refused.start, Operation::Refused(r) if matches!(**r, Refusal::AlreadyStarted { .. })));
    assert_eq!(refused.update, Operation::NotTried);
}

#[tokio::test]
async fn update_with_start_starts_anew_when_the_run_closes_before_it_accepts() {
    let w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    let both = execute(&w, with_start("u", WorkflowIdConflictPolicy::UseExisting));
    w.settle().await;
    w.complete(&task.task_token, done()).await;
    w.settle().await;
    let task = w.poll().await;
    complete(&w, &task, vec![accept(&task, "u"), respond("u")]).await;
    let (start, update) = answers(soon(both).await.unwrap().unwrap());
    assert!(start.started);
    assert_eq!(outcome(&update), "done");
}

#[tokio::test]
async fn a_started_run_stays_when_its_update_is_aborted() {
    let w = world().await;
    let both = execute(&w, with_start("u", WorkflowIdConflictPolicy::Fail));
    w.settle().await;
    let task = w.poll().await;
    w.complete(&task.task_token, done()).await;
    let refused = soon(both).await.unwrap().unwrap_err();
    let Refusal::MultiOperation(refused) = refused else { panic!("not refused as one of several") };
    assert_eq!(refused.start, Operation::Done);
    assert!(
        matches!(&refused.update, Operation::Refused(r) if matches!(&**r, Refusal::NotFound(text) if text.contains("aborted by closing")))
    );
}

#[tokio::test]
async fn what_update_with_start_may_not_ask_for() {
    let w = world().await;
    let refused = |change: fn(&mut StartWorkflowExecutionRequest, &mut UpdateWorkflowExecutionRequest)| {
        let mut request = with_start("u", WorkflowIdConflictPolicy::Fail);
        let [start, update] = &mut request.operations[..] else { panic!("two operations") };
        let (Some(Asked::StartWorkflow(start)), Some(Asked::UpdateWorkflow(update))) = (&mut start.operation, &mut update.operation) else {
            panic!("start and update")
        };
        change(start, update);
        let engine = w.engine.clone();
        async move {
            match soon(engine.execute_multi_operation(request, None, || {})).await {
                Err(Refusal::MultiOperation(multi)) => [multi.start, multi.update].map(|operation| match operation {
                    Operation::Refused(refusal) => match *refusal {
                        Refusal::InvalidArgument(text) => text,
                        other => panic!("{other:?}"),
                    },
                    Operation::NotTried => "-".into(),
                    Operation::Done => "done".into(),
                }),
                other => panic!("not refused as one of several: {other:?}"),
            }
        }
    };
    assert_eq!(refused(|s, _| s.cron_schedule = "* * * * *".into()).await, ["CronSchedule is not allowed.", "-"]);
    assert_eq!(refused(|s, _| s.request_eager_execution = true).await, ["RequestEagerExecution is not supported.", "-"]);
    assert_eq!(
        refused(|s, _| s.workflow_start_delay = Some(Span::seconds(1).to_api())).await,
        ["WorkflowStartDelay is not supported.", "-"]
    );
    assert_eq!(refused(|s, _| s.namespace = "x".into()).await, ["Operation namespace did not match request's namespace.", "-"]);
    assert_eq!(refused(|_, u| u.first_execution_run_id = "x".into()).await, ["-", "FirstExecutionRunId is not allowed."]);
    assert_eq!(refused(|s, _| s.workflow_id = "b".into()).await, ["-", "WorkflowId is not consistent with previous operation(s)."]);
    assert_eq!(refused(|_, u| u.request = None).await, ["-", "Update meta is not set on request."]);
    let run_id = |_: &mut StartWorkflowExecutionRequest, u: &mut UpdateWorkflowExecutionRequest| {
        u.workflow_execution = Some(execution("a", "0198c0de-0000-7000-8000-000000000000"));
    };
    assert_eq!(refused(run_id).await, ["-", "RunId is not allowed."]);
    let one = ExecuteMultiOperationRequest { operations: vec![], ..with_start("u", WorkflowIdConflictPolicy::Fail) };
    let refusal = soon(w.engine.execute_multi_operation(one, None, || {})).await.unwrap_err();
    assert_eq!(refusal, Refusal::InvalidArgument("Operations have to be exactly [Start, Update].".into()));
}

/// The ids of updates that a task brings.
fn brought(task: &PollWorkflowTaskQueueResponse) -> Vec<&str> {
    task.messages.iter().map(|m| m.protocol_instance_id.as_str()).collect()
}

#[tokio::test]
async fn an_update_that_nobody_waits_for_is_forgotten_after_a_minute() {
    let w = idle().await;
    let gone = update(&w, "gone", Stage::Completed);
    w.settle().await;
    gone.abort();
    w.advance(Span::seconds(5)).await;
    w.advance(Span::seconds(54)).await;
    let answer = poll_update(&w, "", "gone", Stage::Unspecified).await.unwrap();
    assert_eq!(answer.stage(), Stage::Admitted, "not yet, and a call keeps it for another minute");
    w.advance(Span::seconds(59)).await;
    w.advance(Span::seconds(1)).await;
    let unknown = poll_update(&w, "", "gone", Stage::Unspecified).await.unwrap_err();
    assert!(matches!(unknown, Refusal::NotFound(_)), "{unknown:?}");
    assert_eq!(brought(&w.poll().await), Vec::<&str>::new());
}

#[tokio::test]
async fn a_full_cache_keeps_no_update_that_nobody_waits_for() {
    let mut settings = settings();
    settings.cache_bytes_max = 1;
    let w = world_with(settings).await;
    w.start("a").await;
    let gone = update(&w, "gone", Stage::Completed);
    let stays = update(&w, "stays", Stage::Completed);
    w.settle().await;
    gone.abort();
    // So that its task comes first.
    w.advance(Span::millis(1)).await;
    for n in 0..4 {
        w.start(&format!("w{n}")).await;
    }
    let task = w.poll().await;
    assert_eq!(brought(&task), ["stays"]);
    complete(&w, &task, vec![accept(&task, "stays"), respond("stays")]).await;
    assert_eq!(outcome(&soon(stays).await.unwrap().unwrap()), "done");
}

fn with_callback(id: &str, request_id: &str, stage: Stage) -> UpdateWorkflowExecutionRequest {
    let nexus = callback::Nexus { url: "http://outside:80/".into(), ..Default::default() };
    let callback = Callback { variant: Some(callback::Variant::Nexus(nexus)), ..Default::default() };
    let mut request = update_request(id, stage);
    let update = request.request.as_mut().unwrap();
    (update.request_id, update.completion_callbacks) = (request_id.into(), vec![callback]);
    request
}

/// What the answer links to: `event 8`, `request r`, or the reason for none.
fn linked(response: &UpdateWorkflowExecutionResponse) -> String {
    match response.link.clone().map(|link| link.variant.unwrap()) {
        Some(Variant::WorkflowEvent(event)) => {
            assert_eq!((event.namespace.as_str(), event.workflow_id.as_str()), (NAMESPACE, "a"));
            match event.reference.unwrap() {
                Reference::EventRef(event) => format!("event {}", event.event_id),
                Reference::RequestIdRef(request) => format!("request {}", request.request_id),
            }
        }
        Some(Variant::Workflow(workflow)) => workflow.reason,
        other => format!("{other:?}"),
    }
}

/// 08 §5.7
#[tokio::test]
async fn callbacks_of_an_update_are_told_the_outcome_that_its_event_has() {
    let mut settings = settings();
    settings.limits.callback_addresses = vec![AddressRule { pattern: "*".into(), allow_insecure: true }];
    let mut w = world_with(settings).await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete(&task.task_token, vec![]).await;
    let send = |w: &World, request| {
        let engine = w.engine.clone();
        tokio::spawn(async move { soon(engine.update_workflow(request, None)).await })
    };
    let first = send(&w, with_callback("u", "r1", Stage::Accepted));
    let task = w.poll().await;
    complete(&w, &task, vec![accept(&task, "u")]).await;
    assert_eq!(linked(&first.await.unwrap().unwrap()), "request r1");
    w.reopen().await;
    let second = send(&w, with_callback("u", "r2", Stage::Accepted)).await.unwrap().unwrap();
    assert_eq!(linked(&second), "request r2");
    w.signal("a", "go").await.unwrap();
    let task = w.poll().await;
    complete(&w, &task, vec![respond("u")]).await;
    w.until("both are told", || w.outside.calls.lock().unwrap().len() == 2).await;
    for call in w.outside.calls.lock().unwrap().iter() {
        let outcome = call.outcome.clone().unwrap();
        assert_eq!((outcome.state(), outcome.result), (OutcomeState::Succeeded, payloads("done").payloads.into_iter().next()));
        assert_ne!(outcome.close_time, 0);
    }
    let late = send(&w, with_callback("u", "r3", Stage::Completed)).await.unwrap().unwrap();
    assert_eq!((linked(&late).as_str(), outcome(&late).as_str()), ("event 8", "done"));
    let rejected = send(&w, with_callback("v", "r4", Stage::Completed));
    let task = w.poll().await;
    complete(&w, &task, vec![reject("v")]).await;
    let rejected = rejected.await.unwrap().unwrap();
    assert_eq!((linked(&rejected).as_str(), outcome(&rejected).as_str()), ("Update rejected", "failure no"));
    assert_eq!(w.outside.calls.lock().unwrap().len(), 2);
}

/// A hundred callers are told at once; the others look again by themselves.
#[tokio::test]
async fn more_callers_than_are_told_at_once_all_hear_the_outcome() {
    let w = idle().await;
    let poll = w.poll_beside();
    let mut calls: Vec<Updated> = (0..75).map(|_| update(&w, "u", Stage::Completed)).collect();
    calls.extend((0..75).map(|_| update(&w, "u", Stage::Accepted)));
    let task = soon(poll).await.unwrap();
    w.settle().await;
    complete(&w, &task, vec![accept(&task, "u"), respond("u")]).await;
    for _ in 0..40 {
        w.advance(Span::millis(500)).await;
    }
    for call in calls {
        assert_eq!(outcome(&soon(call).await.unwrap().unwrap()), "done");
    }
    assert_eq!(w.names("a").await.len(), 9, "one update");
}

/// Who is told of the acceptance asks again for the outcome, which may have come before it can.
#[tokio::test]
async fn no_caller_misses_an_outcome_that_follows_the_acceptance_at_once() {
    let w = idle().await;
    let calls: Vec<Updated> = (0..20).map(|_| update(&w, "u", Stage::Completed)).collect();
    w.settle().await;
    let task = w.poll().await;
    // The completion that accepts, a signal, and the completion that answers are in the inbox before any caller runs.
    let next = w.poll_beside();
    w.settle().await;
    let engine = w.engine.clone();
    let accepted = completion(&task, vec![accept(&task, "u")]);
    let worker = tokio::spawn(async move {
        engine.respond_workflow_task_completed(accepted).await.unwrap();
        let signal = SignalWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_execution: Some(execution("a", "")),
            signal_name: "go".into(),
            ..Default::default()
        };
        engine.signal_workflow(signal).await.unwrap();
        let task = next.await.unwrap();
        engine.respond_workflow_task_completed(completion(&task, vec![respond("u")])).await.unwrap();
    });
    soon(worker).await.unwrap();
    for call in calls {
        assert_eq!(outcome(&soon(call).await.unwrap().unwrap()), "done");
    }
}
