//! Calls about batch operations (spec 08 §4), and our own: what one would act on, forks of many runs.

use futures::FutureExt;
use prost::Message;
use sempre_api::{
    sempre::v1::{BatchTarget, PreviewBatchOperationRequest, PreviewBatchOperationResponse, StartBatchForkRequest, StartBatchForkResponse},
    v1::{
        enums::BatchOperationState,
        workflowservice::{
            DescribeBatchOperationRequest, DescribeBatchOperationResponse, ListBatchOperationsRequest, ListBatchOperationsResponse,
            StartBatchOperationRequest, StartBatchOperationResponse, StopBatchOperationRequest, StopBatchOperationResponse,
        },
    },
};
use sempre_core::{Refusal, refusal::text, validate};

use crate::{
    Engine,
    batch::{self, Checked, JobRecord, OrderRecord},
    records::BATCH_JOBS,
    shared::STOPPING,
};

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;
const SAMPLE_DEFAULT: i32 = 10;
const SAMPLE_MAX: i32 = 100;
const JOB_TASK: &str = "sempre batch job";

impl Engine {
    /// `StartBatchOperation`.
    pub async fn start_batch(&self, request: StartBatchOperationRequest) -> Result<StartBatchOperationResponse, Refusal> {
        self.namespace(&request.namespace)?;
        let checked = Checked::new(&request, self.shared.settings.standalone_activities, &self.shared.settings.limits)?;
        let namespace = request.namespace.clone();
        self.begin_batch(&namespace, checked, OrderRecord { start: Some(request), fork: None, ..OrderRecord::default() }).await?;
        Ok(StartBatchOperationResponse {})
    }

    /// `SteerService.StartBatchFork`.
    pub async fn start_batch_fork(&self, request: StartBatchForkRequest) -> Result<StartBatchForkResponse, Refusal> {
        self.namespace(&request.namespace)?;
        let checked = Checked::fork(&request, &self.shared.settings.limits)?;
        let namespace = request.namespace.clone();
        self.begin_batch(&namespace, checked, OrderRecord { start: None, fork: Some(request), ..OrderRecord::default() }).await?;
        Ok(StartBatchForkResponse {})
    }

    /// Takes a job and begins it.
    async fn begin_batch(&self, namespace: &str, checked: Checked, mut order: OrderRecord) -> Result<(), Refusal> {
        let namespace = self.namespace(namespace)?;
        let limits = &self.shared.settings.limits;
        validate::at_most(&checked.job_id, "JobId length exceeds limit.", limits)?;
        let total = self.batch_total(&namespace.view.name, &checked).await?;
        let now = self.now();
        let job = JobRecord {
            kind: checked.kind as i32,
            state: BatchOperationState::Running as i32,
            start_time: now.0,
            token: self.job_token(),
            identity: checked.identity.clone(),
            reason: checked.reason.clone(),
            query: checked.query.clone(),
            total,
            ..JobRecord::default()
        };
        let bounds = (self.shared.settings.batch_jobs_max, namespace.view.retention, now);
        let (engine, job_id) = (self.downgrade(), checked.job_id.clone());
        let started = async move {
            let shared = engine.shared.clone();
            let strong = engine.get().ok_or_else(|| Refusal::Unavailable(STOPPING.into()))?;
            order.chains = batch::chains(&strong, namespace.id(), checked.acts, &checked.targets).await?;
            drop(strong);
            let key = shared.batches.start(&shared.namespaces, namespace.id(), &job_id, job, order, bounds).await?;
            shared.spawner.spawn(JOB_TASK, batch::run(engine, key).boxed());
            Ok(())
        };
        // A job that was taken is begun.
        self.shared.to_the_end("sempre start of a batch job", started).await
    }

    /// How many runs a job is about, as far as can be said before it begins.
    async fn batch_total(&self, namespace: &str, checked: &Checked) -> Result<i64, Refusal> {
        if checked.selection.is_empty() {
            return Ok(checked.targets.len() as i64);
        }
        self.select_count(namespace, checked.acts, &checked.query, &checked.selection).await
    }

    /// Goes on with the jobs that the last process left, or another node, if they are here.
    pub(crate) fn resume_batches(&self) {
        if !self.shared.once.has(BATCH_JOBS.owner) {
            return;
        }
        for key in self.shared.batches.running() {
            self.shared.spawner.spawn(JOB_TASK, batch::run(self.downgrade(), key).boxed());
        }
    }

    fn job_token(&self) -> String {
        self.namespace_id().to_string()
    }

    /// `StopBatchOperation`.
    pub async fn stop_batch(&self, request: StopBatchOperationRequest) -> Result<StopBatchOperationResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        validate::required(&request.job_id, "JobId is not set on request.")?;
        validate::required(&request.reason, "Reason is not set on request.")?;
        let (key, _) = self.shared.batch_job(namespace.id(), &request.job_id)?;
        let why = format!("stopped by {:?}: {}", request.identity, request.reason);
        let (shared, now) = (self.shared.clone(), self.now());
        let stopped = async move { shared.batches.stop(&key, why, now).await };
        if !self.shared.to_the_end("sempre stop of a batch job", stopped).await? {
            return Err(Refusal::not_found(text::ALREADY_COMPLETED));
        }
        Ok(StopBatchOperationResponse {})
    }

    /// `DescribeBatchOperation`.
    pub async fn describe_batch(&self, request: DescribeBatchOperationRequest) -> Result<DescribeBatchOperationResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        validate::required(&request.job_id, "JobId is not set on request.")?;
        self.shared.describe_batch(namespace.id(), &request.job_id).await
    }

    /// `ListBatchOperations`, newest first.
    pub async fn list_batches(&self, request: ListBatchOperationsRequest) -> Result<ListBatchOperationsResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let size = usize::try_from(request.page_size).ok().filter(|size| *size > 0).unwrap_or(PAGE_DEFAULT).min(PAGE_MAX);
        let before = match request.next_page_token.as_ref() {
            [] => u64::MAX,
            token => u64::from_be_bytes(token.try_into().map_err(|_| Refusal::invalid("Invalid NextPageToken."))?),
        };
        let (operation_info, next_page_token) = self.shared.list_batches(namespace.id(), before, size);
        Ok(ListBatchOperationsResponse { operation_info, next_page_token })
    }

    /// `SteerService.PreviewBatchOperation`.
    pub async fn preview_batch(&self, request: PreviewBatchOperationRequest) -> Result<PreviewBatchOperationResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let start = StartBatchOperationRequest::decode(request.start.clone())
            .map_err(|_| Refusal::invalid("what is to be started is not an encoded StartBatchOperationRequest message"))?;
        let checked = Checked::new(&start, self.shared.settings.standalone_activities, &self.shared.settings.limits)?;
        let size = if request.sample_size == 0 { SAMPLE_DEFAULT } else { request.sample_size.clamp(1, SAMPLE_MAX) };
        let size = usize::try_from(size).unwrap_or_default();
        let name = &namespace.view.name;
        let total = self.batch_total(name, &checked).await?;
        let shown = if checked.selection.is_empty() {
            checked.targets.into_iter().take(size).collect()
        } else {
            self.select_page(name, checked.acts, &checked.selection, None, size).await?.0
        };
        let sample = shown.into_iter().map(|target| BatchTarget { workflow_id: target.workflow_id, run_id: target.run_id });
        Ok(PreviewBatchOperationResponse { total, sample: sample.collect() })
    }
}
