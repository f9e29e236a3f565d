//! Schedules over the wire: codes, details and texts.

use prost::Message;
use sempre_api::v1::{
    common::WorkflowType,
    enums::WorkflowIdReusePolicy,
    errordetails::WorkflowExecutionAlreadyStartedFailure,
    schedule::{
        IntervalSpec, Range, Schedule, ScheduleAction, SchedulePatch, ScheduleSpec, ScheduleState, StructuredCalendarSpec,
        schedule_action::Action,
    },
    taskqueue::TaskQueue,
    workflow::NewWorkflowExecutionInfo,
    workflowservice::*,
};
use tonic::{Code, Status};

use crate::support::{TestServer, read};

fn schedule() -> Schedule {
    let action = NewWorkflowExecutionInfo {
        workflow_id: "wf".into(),
        workflow_type: Some(WorkflowType { name: "T".into() }),
        task_queue: Some(TaskQueue { name: "q".into(), ..Default::default() }),
        ..Default::default()
    };
    Schedule {
        spec: Some(ScheduleSpec { cron_string: vec!["TZ=Europe/Berlin 0 12 * * MON # lunch".into()], ..Default::default() }),
        action: Some(ScheduleAction { action: Some(Action::StartWorkflow(action)) }),
        ..Default::default()
    }
}

fn request() -> CreateScheduleRequest {
    CreateScheduleRequest {
        namespace: "default".into(),
        schedule_id: "s".into(),
        schedule: Some(schedule()),
        request_id: "r".into(),
        ..Default::default()
    }
}

fn action(request: &mut CreateScheduleRequest) -> &mut NewWorkflowExecutionInfo {
    match request.schedule.as_mut().expect("set").action.as_mut().and_then(|action| action.action.as_mut()) {
        Some(Action::StartWorkflow(action)) => action,
        None => panic!("set"),
    }
}

fn spec(request: &mut CreateScheduleRequest) -> &mut ScheduleSpec {
    request.schedule.as_mut().expect("set").spec.as_mut().expect("set")
}

async fn refused(server: &TestServer, change: impl FnOnce(&mut CreateScheduleRequest)) -> (Code, String) {
    let mut request = request();
    change(&mut request);
    let status = server.workflow().create_schedule(request).await.expect_err("refused");
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn texts_of_refused_schedules() {
    let server = TestServer::start().await;
    type Change = fn(&mut CreateScheduleRequest);
    let cases: [(Change, &str); 15] = [
        (|r| r.schedule_id.clear(), "ScheduleId is not set on request."),
        (|r| r.schedule_id = "x".repeat(980), "ScheduleId length exceeds limit."),
        (|r| r.request_id.clear(), "RequestId is not set on request."),
        (|r| r.request_id = "x".repeat(1001), "RequestId length exceeds limit."),
        (|r| spec(r).cron_string.push("hello".into()), "Invalid schedule spec: CronString does not have 5-7 fields"),
        (|r| spec(r).timezone_name = "UTC".into(), "Invalid schedule spec: conflicting timezone names"),
        (|r| spec(r).interval.push(IntervalSpec::default()), "Invalid schedule spec: interval is too small"),
        (|r| spec(r).cron_string = vec!["TZ=Mars/Base 0 0 * * *".into()], "Invalid schedule spec: unknown time zone Mars/Base"),
        (|r| r.schedule.as_mut().expect("set").action = None, "Only StartWorkflow action is supported for schedules"),
        (|r| action(r).cron_schedule = "* * * * *".into(), "Scheduled workflow must not contain CronSchedule"),
        (
            |r| action(r).set_workflow_id_reuse_policy(WorkflowIdReusePolicy::RejectDuplicate),
            "Scheduled workflow must not contain WorkflowIDReusePolicy",
        ),
        (|r| action(r).workflow_id = "x".repeat(980), "WorkflowId length exceeds limit."),
        (|r| action(r).workflow_id.clear(), "WorkflowId is not set on request."),
        (|r| action(r).workflow_type = None, "WorkflowType is not set on request."),
        (
            |r| r.schedule.as_mut().expect("set").state = Some(ScheduleState { notes: "x".repeat(1001), ..Default::default() }),
            "Schedule notes exceeds limit.",
        ),
    ];
    for (change, text) in cases {
        assert_eq!(refused(&server, change).await, (Code::InvalidArgument, text.to_owned()));
    }
}

#[tokio::test]
async fn the_way_of_a_schedule() {
    let server = TestServer::start().await;
    let mut client = server.workflow();
    let created = client.create_schedule(request()).await.expect("created").into_inner();
    assert_eq!(created.conflict_token.as_ref(), [0, 0, 0, 0, 0, 0, 0, 1]);
    let again = client.create_schedule(CreateScheduleRequest { request_id: "other".into(), ..request() }).await.expect_err("there");
    let (code, text, detail) = read(&again);
    assert_eq!((code, text.as_str()), (Code::AlreadyExists, "schedule \"s\" is already registered"));
    let (name, value) = detail.expect("a detail");
    assert_eq!(name, "WorkflowExecutionAlreadyStartedFailure");
    assert_eq!(WorkflowExecutionAlreadyStartedFailure::decode(value).expect("decodes").start_request_id, "r");

    let describe = DescribeScheduleRequest { namespace: "default".into(), schedule_id: "s".into() };
    let described = client.describe_schedule(describe.clone()).await.expect("described").into_inner();
    let spec = described.schedule.expect("a schedule").spec.expect("a spec");
    assert!(spec.cron_string.is_empty());
    assert_eq!(spec.timezone_name, "Europe/Berlin");
    let range = |start, end| vec![Range { start, end, step: 1 }];
    let lunch = StructuredCalendarSpec {
        second: range(0, 0),
        minute: range(0, 0),
        hour: range(12, 12),
        day_of_month: range(1, 31),
        month: range(1, 12),
        year: Vec::new(),
        day_of_week: range(1, 1),
        comment: "lunch".into(),
    };
    assert_eq!(spec.structured_calendar, std::slice::from_ref(&lunch));
    assert_eq!((described.memo, described.search_attributes), (None, None));

    let patch = |patch: Option<SchedulePatch>| PatchScheduleRequest {
        namespace: "default".into(),
        schedule_id: "s".into(),
        patch,
        ..Default::default()
    };
    let text = |status: Status| (status.code(), status.message().to_owned());
    let unset = client.patch_schedule(patch(None)).await.map_err(text).err();
    assert_eq!(unset, Some((Code::InvalidArgument, "Patch is not set on request.".into())));
    let long = SchedulePatch { pause: "x".repeat(1001), ..Default::default() };
    let long = client.patch_schedule(patch(Some(long))).await.map_err(text).err();
    assert_eq!(long, Some((Code::InvalidArgument, "Schedule notes exceeds limit.".into())));

    let list = ListSchedulesRequest { namespace: "default".into(), ..Default::default() };
    let large = ListSchedulesRequest { maximum_page_size: 1001, ..list.clone() };
    for list in [list.clone(), large] {
        let schedules = client.list_schedules(list).await.expect("a list").into_inner().schedules;
        let [entry] = &schedules[..] else { panic!("one schedule") };
        assert_eq!(
            entry.info.as_ref().and_then(|info| info.spec.as_ref()).expect("a spec").structured_calendar,
            std::slice::from_ref(&lunch)
        );
    }
    let bad = ListSchedulesRequest { next_page_token: bytes::Bytes::from_static(b"x"), ..list };
    let bad = client.list_schedules(bad).await.map_err(text).err();
    assert_eq!(bad, Some((Code::InvalidArgument, "Invalid NextPageToken.".into())));

    let delete = DeleteScheduleRequest { namespace: "default".into(), schedule_id: "s".into(), ..Default::default() };
    client.delete_schedule(delete.clone()).await.expect("deleted");
    let gone = Some((Code::NotFound, "schedule not found".to_owned()));
    assert_eq!(client.delete_schedule(delete).await.map_err(text).err(), gone);
    assert_eq!(client.describe_schedule(describe).await.map_err(text).err(), gone);
    let count = CountSchedulesRequest { namespace: "default".into(), ..Default::default() };
    assert_eq!(client.count_schedules(count).await.expect("a count").into_inner().count, 0);
}

#[tokio::test]
async fn schedules_can_be_switched_off() {
    let mut settings = sempre_server::ServerSettings::default();
    settings.engine.schedules = false;
    let server = TestServer::start_with(settings).await;
    assert_eq!(refused(&server, |_| {}).await, (Code::PermissionDenied, "Schedules are disabled on this namespace.".into()));
    let info = server.workflow().get_system_info(GetSystemInfoRequest::default()).await.expect("info").into_inner();
    assert!(!info.capabilities.expect("set").supports_schedules);
}
