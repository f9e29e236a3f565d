//! The bytes between nodes.

use sempre_api::v1::{
    common::{Link, Payload, Payloads, WorkflowExecution},
    failure::Failure,
    history::HistoryEvent,
    workflowservice::StartWorkflowExecutionRequest,
};
use sempre_core::{
    RunId, RunKey, Timestamp,
    chain_end::AskedChild,
    ids::Uuid,
    input::ChildClosed,
    keys::RunRecord,
    schedule::Ended,
    transition::{
        CallbackCall, CallbackResult, Delivery, ExternalCancel, ExternalSignal, OperationCall, OperationResult, OutboxMessage, StartChild,
    },
};

use super::{
    answer::{CallbackRecord, DeliveryRecord, EndedRecord, OperationRecord},
    receive::request_of,
    record::{Letter, Letterhead},
    *,
};
use crate::shard::delivery::Tried;

fn sender() -> RunKey {
    let workflow = WorkflowKey { namespace: sempre_core::NamespaceId(Uuid([7; 16])), workflow_id: "sender".into() };
    RunKey { workflow, run: RunId(Uuid([9; 16])) }
}

fn messages() -> Vec<OutboxMessage> {
    vec![
        OutboxMessage::StartChild(Box::new(StartChild {
            initiated_event_id: 5,
            request: StartWorkflowExecutionRequest { workflow_id: "child".into(), ..Default::default() },
            parent: sender(),
            parent_namespace: "default".into(),
            root: WorkflowExecution::default(),
            replaces_child_of: Some(RunId(Uuid([3; 16]))),
            inherited: Default::default(),
            time: None,
        })),
        OutboxMessage::Signal(Box::new(ExternalSignal {
            initiated_event_id: 6,
            workflow_id: "target".into(),
            run_id: String::new(),
            child_only: true,
            parent: None,
            request_id: "r".into(),
            name: "s".into(),
            input: Some(Payloads::default()),
            header: None,
        })),
        OutboxMessage::Cancel(Box::new(ExternalCancel {
            initiated_event_id: 7,
            workflow_id: "target".into(),
            run_id: String::new(),
            child_only: false,
            parent: None,
            request_id: "r".into(),
            reason: "why".into(),
        })),
        OutboxMessage::ReleaseChild { workflow_id: "child".into(), run_id: "run".into() },
        OutboxMessage::ChildClosed {
            parent: sender(),
            news: Box::new(ChildClosed {
                initiated_event_id: 8,
                child: WorkflowExecution::default(),
                first_run_id: "first".into(),
                workflow_type: "type".into(),
                close_event: Box::new(HistoryEvent { event_id: 3, ..Default::default() }),
            }),
        },
        OutboxMessage::AskChild(Box::new(AskedChild {
            initiated_event_id: 9,
            workflow_id: "child".into(),
            workflow_type: "type".into(),
            first_run_id: "first".into(),
        })),
        OutboxMessage::TerminateChild { workflow_id: "child".into(), first_run_id: "first".into(), parent: None },
        OutboxMessage::CancelChild { workflow_id: "child".into(), first_run_id: "first".into(), parent: Some(RunId(Uuid([3; 16]))) },
        OutboxMessage::Callback(Box::new(CallbackCall { number: 4, ..Default::default() })),
        OutboxMessage::StartOperation(Box::new(OperationCall { attempt: 4, ..Default::default() })),
    ]
}

#[test]
fn a_message_is_the_same_at_the_other_node_and_says_who_sends_it() {
    for message in messages() {
        let bytes = RequestRecord { request: Some(Request::Letter(Letter::new(&sender(), message.clone()))) }.encode_to_vec();
        let Some(Request::Letter(letter)) = request_of(bytes.into()) else { panic!("{message:?}") };
        let again = letter.clone().tried(Tried::Perhaps).open().unwrap();
        assert_eq!(again, (sender(), message.clone(), Tried::Perhaps));
        assert_eq!(letter.open(), Some((sender(), message, Tried::Never)));
    }
}

#[test]
fn what_is_cut_off_is_a_shorter_message_or_none_and_never_a_panic() {
    for message in messages() {
        let bytes = Bytes::from(RequestRecord { request: Some(Request::Letter(Letter::new(&sender(), message))) }.encode_to_vec());
        for end in 0..bytes.len() {
            assert!(request_of(bytes.slice(..end)).is_none(), "the length of what it holds is at its begin");
        }
    }
    assert!(Letter::open(Letter::default()).is_none() && Letterhead::default().key().is_none());
    assert!(RunRecord { namespace_id: Bytes::from_static(b"short"), ..Default::default() }.workflow().is_none());
}

#[test]
fn answers_are_the_same_at_the_other_node() {
    let failure = || Box::new(Failure { message: "why".into(), ..Default::default() });
    let deliveries = [
        Delivery::Ok,
        Delivery::ChildStarted { initiated_event_id: 5, run_id: "run".into() },
        Delivery::ChildNotStarted { initiated_event_id: 5, cause: 1 },
        Delivery::Done { initiated_event_id: 6 },
        Delivery::Failed { initiated_event_id: 6, cause: 2 },
    ];
    for delivery in deliveries {
        assert_eq!(DeliveryRecord::new(delivery.clone()).unwrap().delivery(), Some(delivery));
    }
    let callback = Delivery::Callback { number: 1, attempt: 1, result: CallbackResult::Delivered };
    assert_eq!(DeliveryRecord::new(callback), None, "that has an answer of its own");
    let results = [
        CallbackResult::Delivered,
        CallbackResult::Refused("a".into()),
        CallbackResult::Undelivered("b".into()),
        CallbackResult::Blocked(Timestamp(5)),
    ];
    for result in results {
        assert_eq!(CallbackRecord::new(result.clone()).result(), Some(result));
    }
    let results = [
        OperationResult::Completed { result: Some(Payload::default()), links: vec![Link::default()] },
        OperationResult::Started { token: "t".into(), links: Vec::new() },
        OperationResult::Failed(failure()),
        OperationResult::Canceled(failure()),
        OperationResult::Refused(failure()),
        OperationResult::Undelivered(failure()),
        OperationResult::NoTime(3),
        OperationResult::Blocked(Timestamp(5)),
    ];
    for result in results {
        assert_eq!(OperationRecord::new(result.clone()).result(), Some(result));
    }
    let ended =
        Ended { workflow_id: "w".into(), run_id: "r".into(), status: 2, result: Some(Payloads::default()), failure: Some(*failure()) };
    assert_eq!(EndedRecord::new(ended.clone()).ended(), ended);
    // What a newer version says is not taken for something else.
    assert_eq!(DeliveryRecord::default().delivery(), None);
    assert_eq!(CallbackRecord::default().result(), None);
    assert_eq!(OperationRecord::default().result(), None);
}

#[test]
fn what_another_node_cannot_read_may_pass() {
    let bytes = |answer| Bytes::from(AnswerRecord { answer: Some(answer) }.encode_to_vec());
    let unreadable = [bytes(Answer::Unreadable(())), Bytes::new(), Bytes::from_static(b"\xff"), Bytes::from_static(b"\xfa\x06\x00")];
    for answer in unreadable {
        let refusal = answered(answer).unwrap_err();
        assert!(refusal.may_pass(), "{refusal:?}");
    }
    assert_eq!(answered(bytes(Answer::Done(()))), Ok(Answer::Done(())));
}
