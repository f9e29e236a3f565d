//! Batch operations (spec 08 §4): one operation on many runs, in the background.
//!
//! A job is two rows of Meta: its record, which memory holds too, and beside it what was asked for. Jobs are no workflows,
//! so lists of workflows never show them.
//!
//! | state | what happens | after a crash |
//! |---|---|---|
//! | running | a task takes page after page of targets, acts on several at once, and notes after each page how far it came | goes on behind the last page noted; the calls of the page in between are repeated, with the same request ids |
//! | completed | nothing: the counts stay until the namespace's retention has passed | - |
//! | failed (stopped, or it could not go on) | the same | - |
//!
//! A target that is listed without a run means the chain of runs that is current when the job begins, not one that somebody
//! starts later under the same id.
//!
//! What a repeated call finds done counts as done. A target that is gone or closed counts as done; one that refuses counts
//! as failed at once, one that cannot be reached after some tries.
//!
//! A query may find again what the job itself has closed or made: a reset ends a run, which comes among the closed ones then.
//! That is left alone and counted once. After a crash, runs of the page in between that the query does not find any more
//! are not counted.

mod act;
mod check;
mod fork;
mod run;
mod select;

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use bytes::Bytes;
use prost::Message;
use sempre_api::{
    sempre::v1::StartBatchForkRequest,
    v1::{
        batch::BatchOperationInfo,
        common::Execution,
        enums::{BatchOperationState, BatchOperationType},
        workflowservice::{DescribeBatchOperationResponse, StartBatchOperationRequest},
    },
};
use sempre_core::{NamespaceId, Refusal, Span, Timestamp};
use tokio::sync::Notify;

use crate::{
    namespaces::Namespaces,
    records::{Change, Records},
    shared::Shared,
};

pub(crate) use act::{Acted, Caller, act_here, chain_here, chains};
pub(crate) use check::{Acts, Checked};
pub(crate) use run::run;

/// First byte of the keys of what jobs were asked for.
const ORDER: u8 = b'o';
/// Jobs of one namespace that are remembered; the oldest finished ones are forgotten first.
const JOBS_MAX: usize = 10_000;
/// Finished jobs forgotten with one new job.
const FORGOTTEN_AT_ONCE: usize = 100;

/// A job, as stored.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct JobRecord {
    /// Counts starts: tells which of two is newer.
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
    /// `BatchOperationType`, its old values.
    #[prost(int32, tag = "2")]
    pub(crate) kind: i32,
    /// `BatchOperationState`.
    #[prost(int32, tag = "3")]
    pub(crate) state: i32,
    /// Nanoseconds.
    #[prost(int64, tag = "4")]
    pub(crate) start_time: i64,
    /// Nanoseconds; 0 = it has not ended.
    #[prost(int64, tag = "5")]
    pub(crate) close_time: i64,
    /// First part of the request ids of its calls.
    #[prost(string, tag = "6")]
    pub(crate) token: String,
    #[prost(string, tag = "7")]
    pub(crate) identity: String,
    #[prost(string, tag = "8")]
    pub(crate) reason: String,
    /// The runs are those of a list query.
    #[prost(string, tag = "9")]
    pub(crate) query: String,
    /// Targets, as counted at the start.
    #[prost(int64, tag = "10")]
    pub(crate) total: i64,
    /// Of the pages that are done.
    #[prost(int64, tag = "11")]
    pub(crate) complete: i64,
    #[prost(int64, tag = "12")]
    pub(crate) failed: i64,
    /// How far it came.
    #[prost(message, optional, tag = "13")]
    pub(crate) place: Option<Place>,
    /// Why it failed or who stopped it, for the log.
    #[prost(string, tag = "14")]
    pub(crate) end: String,
}

/// The first target that was not dealt with.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct Place {
    /// Of a list of targets.
    #[prost(uint64, tag = "1")]
    pub(crate) index: u64,
    /// Of a query: behind this run of the list order.
    #[prost(int64, tag = "2")]
    pub(crate) close: i64,
    #[prost(int64, tag = "3")]
    pub(crate) start: i64,
    #[prost(fixed64, tag = "4")]
    pub(crate) run_high: u64,
    #[prost(fixed64, tag = "5")]
    pub(crate) run_low: u64,
}

/// What a job was asked for, as stored beside it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct OrderRecord {
    #[prost(message, optional, tag = "1")]
    pub(crate) start: Option<StartBatchOperationRequest>,
    #[prost(message, optional, tag = "2")]
    pub(crate) fork: Option<StartBatchForkRequest>,
    /// Of each listed target, in their order: [`check::Target::chain`].
    #[prost(string, repeated, tag = "3")]
    pub(crate) chains: Vec<String>,
}

impl JobRecord {
    pub(crate) fn is_running(&self) -> bool {
        self.state == BatchOperationState::Running as i32
    }

    /// It has ended so long ago that it counts for nothing.
    fn is_over(&self, retention: Span, now: Timestamp) -> bool {
        !self.is_running() && Timestamp(self.close_time) + retention <= now
    }

    fn times(&self) -> (Option<sempre_api::Timestamp>, Option<sempre_api::Timestamp>) {
        let at = |nanos: i64| (nanos != 0).then(|| Timestamp(nanos).to_api());
        (at(self.start_time), at(self.close_time))
    }
}

/// A job's key in the records.
pub(crate) fn key(namespace: NamespaceId, job_id: &str) -> Vec<u8> {
    [&namespace.0.0, job_id.as_bytes()].concat()
}

fn order_key(key: &[u8]) -> Vec<u8> {
    [&[ORDER], key].concat()
}

/// Namespace and job id of a key.
pub(crate) fn parse_key(key: &[u8]) -> Option<(NamespaceId, String)> {
    let (namespace, job_id) = key.split_first_chunk::<16>()?;
    Some((NamespaceId(sempre_core::ids::Uuid(*namespace)), String::from_utf8(job_id.to_vec()).ok()?))
}

/// What a running job has done beyond its record.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) complete: AtomicI64,
    pub(crate) failed: AtomicI64,
    /// No further target is begun.
    stopped: AtomicBool,
    wake: Notify,
}

impl Live {
    fn halt(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake.notify_waiters();
    }

    /// The job was stopped, or the engine stops.
    pub(crate) fn stops(&self, shared: &Shared) -> bool {
        self.stopped.load(Ordering::Acquire) || shared.stopping.load(Ordering::Acquire)
    }

    /// Waits until that time, or until it stops.
    pub(crate) async fn sleep_until(&self, shared: &Shared, at: Timestamp) {
        let mut woken = std::pin::pin!(self.wake.notified());
        // Listens from here on: nobody can stop it unnoticed between the look and the wait.
        woken.as_mut().enable();
        if self.stops(shared) {
            return;
        }
        tokio::select! {
            biased;
            () = shared.clock.sleep_until(at) => {}
            () = woken => {}
        }
    }
}

/// See the module.
pub(crate) struct Batches {
    pub(crate) records: Records<JobRecord>,
    live: Mutex<HashMap<Vec<u8>, Arc<Live>>>,
}

impl Batches {
    pub(crate) fn new(records: Records<JobRecord>) -> Self {
        Self { records, live: Mutex::default() }
    }

    fn live(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Arc<Live>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The running jobs, for an engine that opens.
    pub(crate) fn running(&self) -> Vec<Vec<u8>> {
        self.records.read().iter().filter(|(_, job)| job.is_running()).map(|(key, _)| key.clone()).collect()
    }

    /// What was asked for.
    pub(crate) async fn order(&self, key: &[u8]) -> Result<OrderRecord, Refusal> {
        let row = self.records.beside(&order_key(key)).await?.unwrap_or_default();
        OrderRecord::decode(row).map_err(|error| {
            tracing::error!(%error, "the order of a batch job is damaged");
            Refusal::FailedPrecondition("the order of the batch job is damaged".into())
        })
    }

    /// Begins to count for a job. `None`: somebody works on it already, and looks whether he goes on when he ends.
    fn begin(&self, key: &[u8], job: &JobRecord) -> Option<Arc<Live>> {
        let mut all = self.live();
        let Entry::Vacant(place) = all.entry(key.to_vec()) else { return None };
        let live = Arc::new(Live::default());
        live.complete.store(job.complete, Ordering::Relaxed);
        live.failed.store(job.failed, Ordering::Relaxed);
        Some(place.insert(live).clone())
    }

    fn end(&self, key: &[u8]) {
        self.live().remove(key);
    }

    /// Another node goes on with all jobs.
    pub(crate) fn halt_all(&self) {
        self.live().values().for_each(|live| live.halt());
    }

    /// Takes a new job, unless its namespace is gone, its id is known or too many are running.
    pub(crate) async fn start(
        &self,
        namespaces: &Namespaces,
        namespace: NamespaceId,
        job_id: &str,
        job: JobRecord,
        order: OrderRecord,
        (running_max, retention, now): (usize, Span, Timestamp),
    ) -> Result<Vec<u8>, Refusal> {
        let key = key(namespace, job_id);
        let decide = |shown: &crate::records::Shown<JobRecord>| {
            let of_namespace = || shown.range(namespace.0.0.to_vec()..).take_while(|(key, _)| key.starts_with(&namespace.0.0));
            // Deleted since the call was admitted: what goes with a namespace may have gone already.
            if namespaces.is_gone(namespace) {
                return Err(Refusal::NamespaceNotFound(namespaces.view(namespace).name.clone()));
            }
            if shown.get(&key).is_some_and(|job| !job.is_over(retention, now)) {
                return Err(check::already_known(job_id));
            }
            if of_namespace().filter(|(_, job)| job.is_running()).count() >= running_max {
                return Err(check::too_many());
            }
            let mut finished: Vec<_> = of_namespace().filter(|(_, job)| !job.is_running()).collect();
            finished.sort_by_key(|(_, job)| job.number);
            let surplus = (of_namespace().count() + 1).saturating_sub(JOBS_MAX);
            let number = shown.values().map(|job| job.number).max().unwrap_or_default() + 1;
            let mut change = Change::put(key.clone(), JobRecord { number, ..job });
            change.beside.push((order_key(&key), Some(order.encode_to_vec())));
            for (n, (gone, job)) in finished.into_iter().enumerate().take(FORGOTTEN_AT_ONCE) {
                if *gone != key && (n < surplus || job.is_over(retention, now)) {
                    change.records.push((gone.clone(), None));
                    change.beside.push((order_key(gone), None));
                }
            }
            Ok((change, ()))
        };
        self.records.change(decide).await?;
        Ok(key)
    }

    /// Notes how far a running job came, or that it has ended. False: it is not running any more.
    pub(crate) async fn note(&self, key: &[u8], change: impl FnOnce(&mut JobRecord) + Send) -> Result<bool, Refusal> {
        self.records
            .change(|shown| {
                let Some(job) = shown.get(key).filter(|job| job.is_running()) else {
                    return Ok((Change { records: Vec::new(), beside: Vec::new() }, false));
                };
                let mut job = JobRecord::clone(job);
                change(&mut job);
                Ok((Change::put(key.to_vec(), job), true))
            })
            .await
    }

    /// Stops a job. False: it was not running. A job goes on as long as its record does not say that it was stopped: else
    /// one that could not be written would neither work nor end.
    pub(crate) async fn stop(&self, key: &[u8], why: String, now: Timestamp) -> Result<bool, Refusal> {
        let live = self.live().get(key).cloned();
        let stopped = self.note(key, |job| {
            job.state = BatchOperationState::Failed as i32;
            job.close_time = now.0;
            job.end = why;
            if let Some(live) = &live {
                job.complete = live.complete.load(Ordering::Relaxed);
                job.failed = live.failed.load(Ordering::Relaxed);
            }
        });
        let stopped = stopped.await?;
        // A job that begins just now has looked at its record before or is known by now.
        if let Some(live) = self.live().get(key) {
            live.halt();
        }
        Ok(stopped)
    }

    /// The last counts of a job that was stopped: some calls were under way.
    pub(crate) async fn recount(&self, key: &[u8], job: &JobRecord, live: &Live) -> Result<(), Refusal> {
        let (complete, failed) = (live.complete.load(Ordering::Relaxed), live.failed.load(Ordering::Relaxed));
        let decide = |shown: &crate::records::Shown<JobRecord>| {
            let known = shown.get(key).filter(|known| known.token == job.token && !known.is_running());
            let change = match known {
                Some(known) if (known.complete, known.failed) != (complete, failed) => {
                    Change::put(key.to_vec(), JobRecord { complete, failed, ..JobRecord::clone(known) })
                }
                _ => Change { records: Vec::new(), beside: Vec::new() },
            };
            Ok((change, ()))
        };
        self.records.change(decide).await
    }

    /// The engine stops: jobs need not wait for their next turn to see that.
    pub(crate) fn wake_all(&self) {
        self.live().values().for_each(|live| live.wake.notify_waiters());
    }

    /// Forgets a namespace's jobs, running ones too.
    pub(crate) async fn forget(&self, namespace: NamespaceId) -> Result<(), Refusal> {
        loop {
            let gone = self.records.change(|shown| {
                let mut change = Change { records: Vec::new(), beside: Vec::new() };
                let of_namespace = shown.range(namespace.0.0.to_vec()..).take_while(|(key, _)| key.starts_with(&namespace.0.0));
                for (key, _) in of_namespace.take(FORGOTTEN_AT_ONCE) {
                    change.records.push((key.clone(), None));
                    change.beside.push((order_key(key), None));
                }
                let keys: Vec<_> = change.records.iter().map(|(key, _)| key.clone()).collect();
                Ok((change, keys))
            });
            let gone = gone.await?;
            if gone.is_empty() {
                return Ok(());
            }
            for key in gone {
                if let Some(live) = self.live().get(&key) {
                    live.halt();
                }
            }
        }
    }
}

impl Shared {
    /// A job that still counts.
    pub(crate) fn batch_job(&self, namespace: NamespaceId, job_id: &str) -> Result<(Vec<u8>, Arc<JobRecord>), Refusal> {
        let key = key(namespace, job_id);
        let (retention, now) = (self.namespaces.view(namespace).retention, self.now());
        let known = self.batches.records.get(&key).filter(|job| !job.is_over(retention, now));
        known.map(|job| (key, job)).ok_or_else(|| Refusal::not_found(format!("workflow not found for ID: {job_id}")))
    }

    pub(crate) async fn describe_batch(&self, namespace: NamespaceId, job_id: &str) -> Result<DescribeBatchOperationResponse, Refusal> {
        let (key, job) = self.batch_job(namespace, job_id)?;
        let order = self.batches.order(&key).await?;
        let live = self.batches.live().get(&key).cloned().filter(|_| job.is_running());
        let (start_time, close_time) = job.times();
        let count = |live: Option<&AtomicI64>, noted: i64| live.map_or(noted, |live| live.load(Ordering::Relaxed));
        let kind = order.acts().execution_type();
        let executions = order.targets().into_iter().map(|target| Execution {
            r#type: kind as i32,
            business_id: target.workflow_id,
            run_id: target.run_id,
        });
        Ok(DescribeBatchOperationResponse {
            operation_type: shown_kind(job.kind),
            job_id: job_id.to_owned(),
            state: job.state,
            start_time,
            close_time,
            total_operation_count: job.total,
            complete_operation_count: count(live.as_ref().map(|live| &live.complete), job.complete),
            failure_operation_count: count(live.as_ref().map(|live| &live.failed), job.failed),
            identity: job.identity.clone(),
            reason: job.reason.clone(),
            query: job.query.clone(),
            executions: executions.collect(),
        })
    }

    /// Jobs of a namespace, newest first, from behind the one of this number on.
    pub(crate) fn list_batches(&self, namespace: NamespaceId, before: u64, limit: usize) -> (Vec<BatchOperationInfo>, Bytes) {
        let (retention, now) = (self.namespaces.view(namespace).retention, self.now());
        let shown = self.batches.records.read();
        let of_namespace = shown.range(namespace.0.0.to_vec()..).take_while(|(key, _)| key.starts_with(&namespace.0.0));
        let mut jobs: Vec<_> = of_namespace.filter(|(_, job)| job.number < before && !job.is_over(retention, now)).collect();
        jobs.sort_by_key(|(_, job)| std::cmp::Reverse(job.number));
        let more = jobs.len() > limit;
        jobs.truncate(limit);
        let token = match jobs.last() {
            Some((_, last)) if more => Bytes::copy_from_slice(&last.number.to_be_bytes()),
            _ => Bytes::new(),
        };
        let info = |(key, job): (&Vec<u8>, &Arc<JobRecord>)| {
            let (start_time, close_time) = job.times();
            let job_id = parse_key(key).map(|(_, id)| id).unwrap_or_default();
            BatchOperationInfo { job_id, state: job.state, start_time, close_time, operation_type: shown_kind(job.kind) }
        };
        (jobs.into_iter().map(info).collect(), token)
    }
}

/// The name of a job's type that answers give: jobs keep the first names of what acts on workflows, which are deprecated.
#[allow(deprecated, reason = "the old names are what jobs keep")]
fn shown_kind(kind: i32) -> i32 {
    use BatchOperationType as Type;
    let name = match Type::try_from(kind) {
        Ok(Type::Terminate) => Type::TerminateWorkflow,
        Ok(Type::Cancel) => Type::CancelWorkflow,
        Ok(Type::Signal) => Type::SignalWorkflow,
        Ok(Type::Delete) => Type::DeleteWorkflow,
        Ok(Type::Reset) => Type::ResetWorkflow,
        Ok(Type::UpdateExecutionOptions) => Type::UpdateWorkflowExecutionOptions,
        _ => return kind,
    };
    name as i32
}
