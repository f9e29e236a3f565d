//! Activities that belong to no workflow, as a script has them.

use std::time::Duration;

use sempre_api::v1::{activity::ActivityExecutionInfo, common::ActivityType, workflowservice::*};
use tonic::Status;

use super::{NAMESPACE, Scene, Stop, payloads, secs};

/// How often lists are asked for what the reference indexes in its own time, and the milliseconds between.
const LOOKS: u32 = 100;
const LOOKS_EVERY: u64 = 100;

/// What is newer than the reference's API, or each server's own.
fn comparable(info: &mut ActivityExecutionInfo) {
    info.state_size_bytes = 0;
    (info.total_heartbeat_count, info.start_delay, info.execution_time) = (0, None, None);
    info.links.clear();
    info.sdk_name.clear();
    info.sdk_version.clear();
    // The reference describes search attributes of activities without their types.
    let fields = info.search_attributes.iter_mut().flat_map(|search| search.indexed_fields.values_mut());
    fields.for_each(|payload| drop(payload.metadata.remove("type")));
}

impl Scene {
    /// Starts an activity; the request may be changed. Returns its run id.
    pub async fn start_activity(&self, name: &str, change: impl FnOnce(&mut StartActivityExecutionRequest)) -> Result<String, Status> {
        let mut request = StartActivityExecutionRequest {
            namespace: NAMESPACE.into(),
            identity: "starter".into(),
            request_id: self.id(&format!("start-{name}")),
            activity_id: self.id(name),
            activity_type: Some(ActivityType { name: "Act".into() }),
            task_queue: self.queue(),
            start_to_close_timeout: secs(10),
            input: payloads("\"in\""),
            ..Default::default()
        };
        change(&mut request);
        let result = self.client().start_activity_execution(Self::request(request)).await;
        // Newer than the reference's API: a link in the answer.
        let result = result.map(|response| response.map(|answer| StartActivityExecutionResponse { link: None, ..answer }));
        self.record(&format!("start activity {name}"), result).map(|answer| answer.run_id)
    }

    /// Describes it, with all that can be asked for; the request may be changed.
    pub async fn describe_activity(
        &self,
        name: &str,
        change: impl FnOnce(&mut DescribeActivityExecutionRequest),
    ) -> Result<DescribeActivityExecutionResponse, Status> {
        let mut request = DescribeActivityExecutionRequest {
            namespace: NAMESPACE.into(),
            activity_id: self.id(name),
            include_input: true,
            include_outcome: true,
            include_heartbeat_details: true,
            include_last_failure: true,
            ..Default::default()
        };
        change(&mut request);
        let result = self.client().describe_activity_execution(Self::request(request)).await;
        let token = result.as_ref().map(|answer| answer.get_ref().long_poll_token.clone()).unwrap_or_default();
        let result = result.map(|response| {
            response.map(|mut answer| {
                answer.long_poll_token.clear();
                answer.outcome.iter_mut().for_each(|outcome| outcome.retry_state = 0);
                answer.info.iter_mut().for_each(comparable);
                answer
            })
        });
        let answer = self.record(&format!("describe activity {name}"), result)?;
        Ok(DescribeActivityExecutionResponse { long_poll_token: token, ..answer })
    }

    /// Waits for its end.
    pub async fn poll_activity(&self, name: &str, run_id: &str) -> Result<PollActivityExecutionResponse, Status> {
        let request = PollActivityExecutionRequest { namespace: NAMESPACE.into(), activity_id: self.id(name), run_id: run_id.into() };
        let answer = self.client().poll_activity_execution(Self::request(request)).await;
        // Newer than the reference's API.
        let answer = answer.map(|response| {
            response.map(|mut answer| {
                answer.outcome.iter_mut().for_each(|outcome| outcome.retry_state = 0);
                answer
            })
        });
        self.record(&format!("poll activity {name}"), answer)
    }

    /// Asks for its cancellation; the request may be changed.
    pub async fn ask_to_cancel(&self, name: &str, change: impl FnOnce(&mut RequestCancelActivityExecutionRequest)) -> Result<(), Status> {
        let mut request = RequestCancelActivityExecutionRequest {
            namespace: NAMESPACE.into(),
            activity_id: self.id(name),
            identity: "client".into(),
            request_id: self.id(&format!("cancel-{name}")),
            reason: "enough".into(),
            ..Default::default()
        };
        change(&mut request);
        let result = self.client().request_cancel_activity_execution(Self::request(request)).await;
        self.record(&format!("ask to cancel {name}"), result).map(drop)
    }

    /// Terminates it; the request may be changed.
    pub async fn terminate_activity(&self, name: &str, change: impl FnOnce(&mut TerminateActivityExecutionRequest)) -> Result<(), Status> {
        let mut request = TerminateActivityExecutionRequest {
            namespace: NAMESPACE.into(),
            activity_id: self.id(name),
            identity: "client".into(),
            request_id: self.id(&format!("terminate-{name}")),
            reason: "stop".into(),
            ..Default::default()
        };
        change(&mut request);
        let result = self.client().terminate_activity_execution(Self::request(request)).await;
        self.record(&format!("terminate activity {name}"), result).map(drop)
    }

    /// Deletes it; the request may be changed.
    pub async fn delete_activity(&self, name: &str, change: impl FnOnce(&mut DeleteActivityExecutionRequest)) -> Result<(), Status> {
        let mut request = DeleteActivityExecutionRequest { namespace: NAMESPACE.into(), activity_id: self.id(name), ..Default::default() };
        change(&mut request);
        let result = self.client().delete_activity_execution(Self::request(request)).await;
        self.record(&format!("delete activity {name}"), result).map(drop)
    }

    /// Waits until it is gone.
    pub async fn activity_gone(&self, name: &str) -> Result<(), Stop> {
        for _ in 0..LOOKS {
            let request =
                DescribeActivityExecutionRequest { namespace: NAMESPACE.into(), activity_id: self.id(name), ..Default::default() };
            if let Err(status) = self.client().describe_activity_execution(Self::request(request)).await {
                self.note(format!("gone {name}: {:?} {}", status.code(), status.message()));
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(LOOKS_EVERY)).await;
        }
        Err(Stop(format!("{name} stays")))
    }

    /// What answers an activity task by id, without a workflow.
    pub async fn complete_activity_by_id(
        &self,
        name: &str,
        change: impl FnOnce(&mut RespondActivityTaskCompletedByIdRequest),
    ) -> Result<(), Status> {
        let mut request = RespondActivityTaskCompletedByIdRequest {
            namespace: NAMESPACE.into(),
            activity_id: self.id(name),
            result: payloads("\"by id\""),
            identity: "somebody".into(),
            ..Default::default()
        };
        change(&mut request);
        let result = self.client().respond_activity_task_completed_by_id(Self::request(request)).await;
        self.record(&format!("complete activity {name} by id"), result).map(drop)
    }

    /// Lists activities once there are so many; `filter` may name them by [`Scene::id`].
    pub async fn list_activities(&self, filter: &str, wanted: usize) -> Result<(), Stop> {
        let request = |page_size| ListActivityExecutionsRequest {
            namespace: NAMESPACE.into(),
            page_size,
            query: filter.into(),
            ..Default::default()
        };
        let mut answer = self.client().list_activity_executions(Self::request(request(100))).await;
        for _ in 0..LOOKS {
            if answer.as_ref().map_or(true, |answer| answer.get_ref().executions.len() == wanted) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(LOOKS_EVERY)).await;
            answer = self.client().list_activity_executions(Self::request(request(100))).await;
        }
        let answer = answer.map(|response| {
            response.map(|mut answer| {
                answer.executions.sort_by(|a, b| a.activity_id.cmp(&b.activity_id));
                for info in &mut answer.executions {
                    info.state_size_bytes = 0;
                    info.execution_time = None;
                    // Each server's own name for what these activities are among all that it lists.
                    if let Some(search) = &mut info.search_attributes {
                        search.indexed_fields.remove("TemporalNamespaceDivision");
                    }
                }
                answer
            })
        });
        self.record("list activities", answer).map(drop).or(Ok(()))
    }

    /// Counts activities.
    pub async fn count_activities(&self, query: &str) -> Result<(), Status> {
        let request = CountActivityExecutionsRequest { namespace: NAMESPACE.into(), query: query.into() };
        let answer = self.client().count_activity_executions(Self::request(request)).await;
        let answer = answer.map(|response| {
            response.map(|mut answer| {
                answer.groups.sort_by_key(|group| group.group_values.first().map(|value| value.data.clone()));
                answer
            })
        });
        self.record("count activities", answer).map(drop)
    }
}
