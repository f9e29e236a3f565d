//! One walk through the runs of a namespace for their patches.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sempre_api::{
    History,
    sempre::v1::{ListPatchesRequest, ListPatchesResponse, PatchProgress, WorkflowTypePatches},
    v1::history::history_event::Attributes,
};
use sempre_core::{
    Refusal, RunKey, Span, Timestamp,
    patch::{self, ATTRIBUTE, Patch},
    visibility::{AttributeType, Comparison, Field, Filter, ParseOptions, Record, SystemField, Value, decode_as, parse},
};
use tokio::sync::mpsc::Sender;

use super::{
    EVENTS_MAX, HISTORIES_DEFAULT, HISTORIES_MAX, RECORDS_MAX, TYPES_MAX,
    tally::{Run, Tally, met_by_markers},
};
use crate::{
    Engine,
    calls::lists::refused,
    history::{read::PAGE_BYTES, slice::PageLimit},
    namespaces::Namespace,
    rebuild::Rebuild,
    shard::message::ViewRequest,
    shared::{give_way, internal},
};

const PAGE_RECORDS: usize = 1000;
const PAGE: PageLimit = PageLimit { events: 1000, bytes: PAGE_BYTES };

pub(super) struct Walk {
    engine: Engine,
    namespace: Arc<Namespace>,
    types: BTreeSet<String>,
    patch_id: String,
    histories: i64,
    sender: Sender<Result<ListPatchesResponse, Refusal>>,
    progress: PatchProgress,
    events_left: i64,
    /// When it began with the type that it is at.
    begun: Timestamp,
}

enum Ended {
    Left,
    Refused(Refusal),
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn system(field: SystemField) -> Field {
    Field::System(field)
}

impl Walk {
    pub(super) fn new(
        engine: Engine,
        namespace: Arc<Namespace>,
        request: ListPatchesRequest,
        sender: Sender<Result<ListPatchesResponse, Refusal>>,
    ) -> Self {
        let histories = match i64::from(request.histories_per_type) {
            0 => HISTORIES_DEFAULT,
            given => given.clamp(0, HISTORIES_MAX),
        };
        let (types, patch_id) = (request.workflow_types.into_iter().collect(), request.patch_id);
        let (progress, begun) = (PatchProgress::default(), Timestamp(0));
        Self { engine, namespace, types, patch_id, histories, sender, progress, events_left: EVENTS_MAX, begun }
    }

    pub(super) async fn run(mut self) {
        if let Err(Ended::Refused(refusal)) = self.all().await {
            // The reader may leave at the last moment.
            let _ = self.sender.send(Err(refusal)).await;
        }
    }

    async fn tell(&self, done: Option<WorkflowTypePatches>) -> Result<(), Ended> {
        let message = ListPatchesResponse { progress: Some(self.progress.clone()), r#type: done };
        self.sender.send(Ok(message)).await.map_err(|_| Ended::Left)
    }

    async fn all(&mut self) -> Result<(), Ended> {
        Rebuild::ready(&self.engine.shared).await?;
        let users = parse("", &*self.namespace, ParseOptions::default()).map_err(Refusal::from)?.filter;
        let shared = self.engine.shared.clone();
        let visibility = &shared.listing.visibility;
        let groups = visibility.count_by(self.namespace.id(), users.as_ref(), &system(SystemField::WorkflowType)).await.map_err(refused)?;
        let mut names: Vec<String> = Vec::new();
        for (value, _) in groups {
            if let Some(Value::Keyword(name)) = value
                && (self.types.is_empty() || self.types.contains(&name))
            {
                names.push(name);
            }
        }
        if names.len() > TYPES_MAX {
            return Err(
                Refusal::FailedPrecondition(format!("there are more than {TYPES_MAX} workflow types: name those that matter")).into()
            );
        }
        self.progress.types_total = names.len() as i64;
        for name in names {
            self.progress.workflow_type.clone_from(&name);
            self.tell(None).await?;
            let done = self.of_type(name, users.as_ref()).await?;
            self.progress.types_done += 1;
            self.tell(Some(done)).await?;
        }
        Ok(())
    }

    async fn of_type(&mut self, workflow_type: String, users: Option<&Filter>) -> Result<WorkflowTypePatches, Ended> {
        let mut told = WorkflowTypePatches { workflow_type, ..WorkflowTypePatches::default() };
        let kind = Filter::Compare(system(SystemField::WorkflowType), Comparison::Equal, Value::Keyword(told.workflow_type.clone()));
        let of_type: Vec<Filter> = users.cloned().into_iter().chain([kind]).collect();
        let attribute = Field::Attribute { name: ATTRIBUTE.into(), kind: AttributeType::KeywordList };
        let mut tally = Tally::default();
        let mut left = self.histories;
        let state = |open: bool| Filter::IsNull { field: system(SystemField::CloseTime), negated: !open };
        let has = |with: bool| Filter::IsNull { field: attribute.clone(), negated: with };
        // Before any is looked at: one that meets a patch in between is then also counted as one that has not, and one that closes hides
        // no other. Who begins from now on begins with today's code.
        self.begun = self.engine.shared.now();
        tally.open_unnoted = self.count(&of_type, [state(true), has(false)]).await?;
        // Open runs first; of them and of closed ones first those that the index says something of.
        for open in [true, false] {
            for with in [true, false] {
                let filter = Filter::And(of_type.iter().cloned().chain([state(open), has(with)]).collect());
                self.runs(&mut told, &mut tally, &filter, with, &mut left).await?;
            }
        }
        told.open_runs = self.count(&of_type, [state(true)]).await?;
        told.closed_runs = self.count(&of_type, [state(false)]).await?;
        tally.settle();
        told.truncated |= tally.overflow;
        let retention = Span(self.namespace.record.retention);
        told.patches = tally.uses(&self.patch_id, told.closed_runs, retention, !told.truncated);
        Ok(told)
    }

    /// How many runs there are with all of that.
    async fn count(&self, of_type: &[Filter], more: impl IntoIterator<Item = Filter>) -> Result<i64, Ended> {
        let filter = Filter::And(of_type.iter().cloned().chain(more).collect());
        let visibility = &self.engine.shared.listing.visibility;
        Ok(visibility.count(self.namespace.id(), Some(&filter)).await.map_err(refused)? as i64)
    }

    /// Looks at runs; reads histories while there are any to be read.
    async fn runs(
        &mut self,
        told: &mut WorkflowTypePatches,
        tally: &mut Tally,
        filter: &Filter,
        with: bool,
        left: &mut i64,
    ) -> Result<(), Ended> {
        let mut after = None;
        loop {
            let page = self.engine.runs(self.namespace.id(), Some(filter), after, PAGE_RECORDS).await?;
            for record in &page.records {
                let reads = *left > 0 && self.events_left > 0;
                // What the index says nothing of is looked at by its history, or not at all.
                if !with && !reads {
                    return Ok(());
                }
                if told.records_read >= RECORDS_MAX {
                    told.truncated = true;
                    return Ok(());
                }
                // It is not among those that were counted as saying nothing.
                if !with && record.is_open() && Timestamp(record.start_time) > self.begun {
                    continue;
                }
                told.records_read += 1;
                self.progress.records_read += 1;
                let Some(key) = record.run_key() else { continue };
                let met = if reads {
                    *left -= 1;
                    let Some(patches) = self.markers(&key).await? else { continue };
                    *(if record.is_open() { &mut told.open_histories_read } else { &mut told.closed_histories_read }) += 1;
                    self.progress.histories_read += 1;
                    // A codec may have been over the markers: the index knows of them all the same.
                    let met = met_by_markers(patches.into_iter());
                    tally.marked(&met);
                    if met.is_empty() { by_index(record) } else { met }
                } else {
                    by_index(record)
                };
                tally.run(&run_of(record, &key), &met);
                if self.progress.records_read % 500 == 0 {
                    self.tell(None).await?;
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// The patches in a history; `None`: the run is gone.
    async fn markers(&mut self, key: &RunKey) -> Result<Option<Vec<Patch>>, Ended> {
        let shared = &self.engine.shared;
        let end = match shared.view(&key.workflow, Some(key.run), ViewRequest::default()).await {
            Ok((_, view)) => view.next_event_id,
            Err(Refusal::NotFound(_)) => return Ok(None),
            Err(refusal) => return Err(refusal.into()),
        };
        let (mut next, mut patches) = (1, Vec::new());
        while next < end {
            let page = match shared.read_page(key, next, end, PAGE).await {
                Ok(page) => page,
                Err(Refusal::NotFound(_)) => return Ok(None),
                Err(refusal) => return Err(refusal.into()),
            };
            next = page.next;
            let events = History { chunks: page.chunks }.events().map_err(|_| internal("history that can be read"))?;
            patches.extend(events.iter().filter_map(|event| match &event.attributes {
                Some(Attributes::MarkerRecordedEventAttributes(marker)) => patch::of_marker(marker),
                _ => None,
            }));
            give_way().await;
        }
        self.events_left -= end - 1;
        Ok(Some(patches))
    }
}

fn run_of(record: &Record, key: &RunKey) -> Run {
    Run {
        workflow_id: record.workflow_id.clone(),
        run_id: key.run.to_string(),
        start: Timestamp(record.start_time),
        closed: (!record.is_open()).then_some(Timestamp(record.close_time)),
        noted: record.search_attributes.contains_key(ATTRIBUTE),
    }
}

/// What the index says: of each entry the plain meaning, a patch by that name.
fn by_index(record: &Record) -> BTreeMap<(String, Option<i64>), bool> {
    let entries = record.search_attributes.get(ATTRIBUTE).and_then(|payload| decode_as(payload, AttributeType::KeywordList));
    let Some(Value::KeywordList(entries)) = entries else { return BTreeMap::new() };
    entries.into_iter().map(|entry| ((entry, None), false)).collect()
}
