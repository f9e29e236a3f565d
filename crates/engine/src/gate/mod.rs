//! Whether the workers of a version can go on with the runs there are, before the version gets them.
//!
//! | step | bound |
//! |---|---|
//! | workflow types with open runs on the version's task queues, from the index | [`TYPES_MAX`] |
//! | of each, runs spread evenly over start times, and one of each kind that the index tells apart | [`READ_DEFAULT`], records looked at: [`SEEN_MAX`] |
//! | their histories, for their shapes ([`outline`]) | [`EVENTS_MAX`] events for all |
//! | of each shape, the commonest first, some runs are replayed by the version's workers | [`SHAPES_DEFAULT`], [`ASKS_AT_ONCE`] at a time |
//!
//! A replay is a query task ([`verdict::QUERY`]) on the line of the version: no sticky queue, whatever version the run is
//! pinned to. It has the history up to the end of the last completed workflow task, so that one that is pending or under
//! way is no matter, and the worker replays and never executes. No input is given to the run: nothing of it can change,
//! no task is started, and other queries are not in the way.

mod check;
mod outline;
mod sample;
pub(crate) mod verdict;

use std::sync::Arc;

use futures::FutureExt;
use sempre_api::{
    sempre::v1::{CheckDeploymentVersionRequest, CheckDeploymentVersionResponse},
    v1::enums::TaskQueueType,
};
use sempre_core::{
    Refusal, Span, Version,
    transition::{QueueKind, QueueName},
};
use tokio::sync::mpsc;

use crate::{Engine, deployments::key, matching::QUERY_POLLER_WINDOW, namespaces::Namespace};
use check::Check;

/// Checks under way in one process; more are refused.
pub(crate) const CHECKS_AT_ONCE: usize = 4;
/// Workflow types of one check.
const TYPES_MAX: usize = 1000;
/// Records of runs of a type that are looked at, the newest.
const SEEN_MAX: usize = 100_000;
/// Histories of a type that are read, unless the call says otherwise.
const READ_DEFAULT: usize = 200;
const READ_MAX: usize = 5000;
/// Shapes of a type that are replayed.
const SHAPES_DEFAULT: usize = 25;
const SHAPES_MAX: usize = 500;
/// Runs of a shape that are replayed.
const ALIKE_DEFAULT: usize = 1;
const ALIKE_MAX: usize = 20;
/// Events that one check reads.
const EVENTS_MAX: i64 = 2_000_000;
/// Replays asked for at a time.
const ASKS_AT_ONCE: usize = 4;
/// How long one may take.
const REPLAY_TIMEOUT: Span = Span::seconds(10);
const REPLAY_TIMEOUT_MAX: Span = Span::seconds(300);
/// Problems that are told of a type.
const PROBLEMS_MAX: usize = 20;
/// Messages made ahead of the reader.
const MESSAGES_AHEAD: usize = 16;

/// Progress of a check, then its result. An `Err` is the last.
pub type CheckMessages = mpsc::Receiver<Result<CheckDeploymentVersionResponse, Refusal>>;

/// A task queue of workflows.
#[derive(Clone, Debug)]
struct Queue {
    name: QueueName,
    /// The version's workers have polled it at some time.
    known: bool,
    /// They do now.
    polled: bool,
}

/// How much a check looks at.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    read: usize,
    shapes: usize,
    alike: usize,
    timeout: Span,
}

/// A count of the request: 0 is the default; more than the maximum is the maximum.
fn bound(given: i32, default: usize, max: usize) -> Result<usize, Refusal> {
    match usize::try_from(given) {
        Ok(0) => Ok(default),
        Ok(given) => Ok(given.min(max)),
        Err(_) => Err(Refusal::invalid("counts must not be negative")),
    }
}

impl Bounds {
    fn of(request: &CheckDeploymentVersionRequest) -> Result<Self, Refusal> {
        let timeout = match request.replay_timeout.as_ref() {
            None => REPLAY_TIMEOUT,
            given => {
                Span::from_api(given).ok().filter(|span| *span > Span::ZERO).ok_or_else(|| Refusal::invalid("invalid ReplayTimeout"))?
            }
        };
        Ok(Self {
            read: bound(request.runs_per_type, READ_DEFAULT, READ_MAX)?,
            shapes: bound(request.shapes_per_type, SHAPES_DEFAULT, SHAPES_MAX)?,
            alike: bound(request.runs_per_shape, ALIKE_DEFAULT, ALIKE_MAX)?,
            timeout: timeout.min(REPLAY_TIMEOUT_MAX),
        })
    }
}

impl Engine {
    /// `VersionService.CheckDeploymentVersion`. Refuses a version that is not known, and one without workers.
    pub fn check_version(&self, request: CheckDeploymentVersionRequest) -> Result<CheckMessages, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        if request.deployment_name.is_empty() || request.build_id.is_empty() {
            return Err(Refusal::invalid("deployment name and build ID are required"));
        }
        let bounds = Bounds::of(&request)?;
        let version = Arc::new(Version { deployment: request.deployment_name.clone(), build_id: request.build_id.clone() });
        let queues = self.queues_of_version(&namespace, &version)?;
        if !queues.iter().any(|queue| queue.polled) {
            return Err(Refusal::FailedPrecondition(format!(
                "no worker of version '{version}' polls a task queue of workflows now: start workers of it first, they get no tasks before \
                 the version is current"
            )));
        }
        let Ok(turn) = self.shared.checks.clone().try_acquire_owned() else {
            return Err(Refusal::Overloaded("several versions are being checked, try again when one has ended"));
        };
        let (sender, messages) = mpsc::channel(MESSAGES_AHEAD);
        let types = request.workflow_types.into_iter().collect();
        let check = Check::new(self.clone(), namespace, version, queues, bounds, request.include_pinned, types, sender);
        let run = async move {
            let _turn = turn;
            check.run().await;
        };
        self.shared.spawner.spawn("sempre check of a version", run.boxed());
        Ok(messages)
    }

    /// The task queues of workflows of a version, and those that only its deployment's current version has.
    fn queues_of_version(&self, namespace: &Namespace, version: &Arc<Version>) -> Result<Vec<Queue>, Refusal> {
        let not_found =
            || Refusal::not_found(format!("build ID '{}' not found in Worker Deployment '{}'", version.build_id, version.deployment));
        let record = self.shared.deployments.get(&key(namespace.id(), &version.deployment)).ok_or_else(not_found)?;
        let own = record.versions.get(&version.build_id).ok_or_else(not_found)?;
        let current = record.current().and_then(|build| record.versions.get(build));
        let mut queues: Vec<Queue> = Vec::new();
        for (of, known) in [(Some(own), true), (current, false)] {
            for queue in of.iter().flat_map(|of| &of.queues).filter(|queue| queue.r#type == TaskQueueType::Workflow as i32) {
                if queues.iter().any(|other| other.name.name == queue.name) {
                    continue;
                }
                let kind = QueueKind::Workflow;
                let name = QueueName { namespace: namespace.id(), name: queue.name.clone(), kind, sticky: false, version: None };
                let seen = self.shared.matching.poller_seen(&name.line(Some(version)));
                let polled = known && seen.is_some_and(|seen| self.wall_now().since(seen) < QUERY_POLLER_WINDOW);
                queues.push(Queue { name, known, polled });
            }
        }
        Ok(queues)
    }
}
