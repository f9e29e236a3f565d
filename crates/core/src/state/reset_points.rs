//! Reset points: where each build of the workers has first completed a task of the chain (spec 01 §12.4).
//!
//! From history alone: the first WorkflowTaskCompleted event of a build adds a point, a Started event brings those of the
//! run before. Workers that name no build are a build without a name.

use alloc::{string::String, sync::Arc, vec::Vec};

use prost::Message;
use sempre_api::v1::{
    history::WorkflowTaskCompletedEventAttributes,
    workflow::{ResetPointInfo, ResetPoints as Api},
};

use crate::Timestamp;

/// Points of a chain that are kept; the oldest go first (`history.maxAutoResetPoints`).
pub const POINTS_MAX: usize = 20;

/// One point.
#[derive(Clone, PartialEq, Message)]
pub struct ResetPoint {
    /// The worker's build id.
    #[prost(string, tag = "1")]
    pub build_id: String,
    /// Its binary checksum, of old workers.
    #[prost(string, tag = "2")]
    pub binary_checksum: String,
    /// The run; empty = the run that has the point.
    #[prost(string, tag = "3")]
    pub run_id: String,
    /// The WorkflowTaskCompleted event.
    #[prost(int64, tag = "4")]
    pub completed_event_id: i64,
    /// Time of that event, ns.
    #[prost(int64, tag = "5")]
    pub create_time: i64,
    /// When `run_id` is deleted, ns; 0 = not known.
    #[prost(int64, tag = "6")]
    pub expire_time: i64,
    /// No child, signal or cancel request to others was pending.
    #[prost(bool, tag = "7")]
    pub resettable: bool,
}

/// The points of a run; copies share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResetPoints(Option<Arc<Vec<ResetPoint>>>);

impl ResetPoints {
    /// The points, oldest first.
    pub fn as_slice(&self) -> &[ResetPoint] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    /// As they were stored.
    pub(super) fn stored(points: Vec<ResetPoint>) -> Self {
        Self((!points.is_empty()).then(|| Arc::new(points)))
    }

    /// From the Started event of a run that follows another. Points of runs that are deleted go.
    pub(super) fn inherited(api: Option<&Api>, now: Timestamp) -> Self {
        let points = api.map_or(&[][..], |points| &points.points).iter().map(ResetPoint::from_api);
        Self::stored(points.filter(|point| point.expire_time == 0 || point.expire_time >= now.0).collect())
    }

    /// A task was completed by a build: a point, if it is the first of that build.
    pub(super) fn completed(&mut self, a: &WorkflowTaskCompletedEventAttributes, event_id: i64, now: Timestamp, resettable: bool) {
        let (build_id, checksum) = build(a);
        if self.as_slice().iter().any(|point| point.build_id == build_id && point.binary_checksum == checksum) {
            return;
        }
        let points = Arc::make_mut(self.0.get_or_insert_default());
        points.push(ResetPoint {
            build_id: build_id.into(),
            binary_checksum: checksum.into(),
            run_id: String::new(),
            completed_event_id: event_id,
            create_time: now.0,
            expire_time: 0,
            resettable,
        });
        let forgotten = points.len().saturating_sub(POINTS_MAX);
        points.drain(..forgotten);
    }

    /// Folders of before this version have no points of workers that name no build: leaves out what they left out. For a
    /// check of what is stored; a run that goes on gets its point from its next completion.
    pub(crate) fn as_written_before(&mut self, stored: &Self) {
        let nameless = |point: &&ResetPoint| point.build_id.is_empty() && point.binary_checksum.is_empty() && point.run_id.is_empty();
        let (had, has) = (stored.as_slice().iter().find(nameless), self.as_slice().iter().find(nameless));
        if had == has {
            return;
        }
        let mut points: Vec<ResetPoint> = self.as_slice().iter().filter(|point| !nameless(point)).cloned().collect();
        if let Some(had) = had {
            let at = points.iter().position(|point| point.completed_event_id > had.completed_event_id).unwrap_or(points.len());
            points.insert(at, had.clone());
        }
        *self = Self::stored(points);
    }

    /// As the API has them; `own` is the run. `expires`: when it is deleted, if it ends now.
    pub(crate) fn to_api(&self, own: &str, expires: Option<Timestamp>) -> Option<Api> {
        let points = self.0.as_ref()?;
        Some(Api { points: points.iter().map(|point| point.to_api(own, expires)).collect() })
    }
}

#[allow(deprecated, reason = "what unversioned workers still send")]
fn build(a: &WorkflowTaskCompletedEventAttributes) -> (&str, &str) {
    let versioned = a.deployment_version.as_ref().map(|version| version.build_id.as_str()).filter(|id| !id.is_empty());
    let build_id = versioned.or_else(|| a.worker_version.as_ref().map(|stamp| stamp.build_id.as_str()));
    (build_id.unwrap_or_default(), &a.binary_checksum)
}

impl ResetPoint {
    #[allow(deprecated, reason = "old fields that workers and clients still send and read")]
    fn from_api(point: &ResetPointInfo) -> Self {
        let nanos = |time: Option<&sempre_api::Timestamp>| time.map_or(0, |time| Timestamp::from_api(time).0);
        Self {
            build_id: point.build_id.clone(),
            binary_checksum: point.binary_checksum.clone(),
            run_id: point.run_id.clone(),
            completed_event_id: point.first_workflow_task_completed_id,
            create_time: nanos(point.create_time.as_ref()),
            expire_time: nanos(point.expire_time.as_ref()),
            resettable: point.resettable,
        }
    }

    #[allow(deprecated, reason = "old fields that workers and clients still send and read")]
    fn to_api(&self, own: &str, expires: Option<Timestamp>) -> ResetPointInfo {
        let is_own = self.run_id.is_empty();
        let stored = (self.expire_time != 0).then_some(Timestamp(self.expire_time));
        ResetPointInfo {
            build_id: self.build_id.clone(),
            binary_checksum: self.binary_checksum.clone(),
            run_id: if is_own { own.into() } else { self.run_id.clone() },
            first_workflow_task_completed_id: self.completed_event_id,
            create_time: Some(Timestamp(self.create_time).to_api()),
            expire_time: expires.filter(|_| is_own).or(stored).map(Timestamp::to_api),
            resettable: self.resettable,
        }
    }
}
