//! Calls about schedules (spec 07).

use std::sync::Arc;

use bytes::Bytes;
use futures::future::{join_all, select};
use sempre_api::{
    sempre::v1::{ListSkippedActionsRequest, ListSkippedActionsResponse},
    v1::{
        common::SearchAttributes,
        enums::WorkflowExecutionStatus as Status,
        schedule::{SchedulePatch, schedule_action},
        workflowservice::{
            CountSchedulesRequest, CountSchedulesResponse, CreateScheduleRequest, CreateScheduleResponse, DeleteScheduleRequest,
            DeleteScheduleResponse, DescribeScheduleRequest, DescribeScheduleResponse, ListScheduleMatchingTimesRequest,
            ListScheduleMatchingTimesResponse, ListSchedulesRequest, ListSchedulesResponse, PatchScheduleRequest, PatchScheduleResponse,
            UpdateScheduleRequest, UpdateScheduleResponse, count_schedules_response::AggregationGroup,
        },
    },
};
use sempre_core::{
    Context, IdSource, NamespaceId, Refusal, Span, Timestamp,
    keys::schedules::{self as keys, ScheduleKey},
    schedule::{self, Schedule, state::Definition},
    validate,
    visibility::{Division, Filter, ParseOptions, Query, parse},
};
use sempre_store::{StoreError, Table};

use super::{
    lists::{group_value, page_size},
    named,
};
use crate::{
    Engine,
    namespaces::Namespace,
    schedules::{CLOSED, Call, Found, LoadError, Update, chain, damaged, load},
    shared::{Shared, give_way},
    visibility::{Groups, index},
    zones::Database,
};

/// Schedules of a list looked at in one read.
const SCAN: usize = 200;
/// How long a call waits for the starts that it asks for.
const WAIT_FOR_STARTS: Span = Span::seconds(2);
/// Begins the token of a list's next page.
const TOKEN_VERSION: u8 = 1;

fn unreadable(error: &StoreError) -> Refusal {
    tracing::error!(%error, "a schedule could not be read");
    Refusal::Unavailable("schedules could not be read".into())
}

fn not_loaded(error: &LoadError) -> Refusal {
    match error {
        LoadError::Store(error) => unreadable(error),
        LoadError::Damaged => damaged(),
    }
}

/// The patch starts runs: its answer waits for them.
fn asks_for_starts(patch: &SchedulePatch) -> bool {
    patch.trigger_immediately.is_some() || !patch.backfill_request.is_empty()
}

impl Shared {
    /// In the reference server a schedule is a workflow: who starts one under the id that it has there meets it here too.
    pub(crate) async fn check_reserved(&self, namespace: &Namespace, workflow_id: &str) -> Result<(), Refusal> {
        let Some(schedule_id) = workflow_id.strip_prefix(schedule::WORKFLOW_ID_PREFIX) else { return Ok(()) };
        let key = ScheduleKey { namespace: namespace.id(), schedule_id: schedule_id.into() };
        match load(&*self.store, &key).await {
            Ok(Some(there)) => Err(schedule::in_the_way(&there, workflow_id)),
            Ok(None) | Err(LoadError::Damaged) => Ok(()),
            Err(LoadError::Store(error)) => Err(unreadable(&error)),
        }
    }
}

impl Engine {
    fn schedules_of(&self, namespace: &str) -> Result<Arc<Namespace>, Refusal> {
        self.with_schedules(self.namespace(namespace)?)
    }

    fn with_schedules(&self, namespace: Arc<Namespace>) -> Result<Arc<Namespace>, Refusal> {
        if !self.shared.settings.schedules {
            return Err(Refusal::PermissionDenied("Schedules are disabled on this namespace.".into()));
        }
        Ok(namespace)
    }

    fn schedule_key(&self, namespace: &Namespace, schedule_id: String) -> Result<ScheduleKey, Refusal> {
        schedule::schedule_id(&schedule_id, &self.shared.settings.limits)?;
        Ok(ScheduleKey { namespace: namespace.id(), schedule_id })
    }

    fn check_call(&self, identity: &str, request_id: &str) -> Result<(), Refusal> {
        self.check_identity(identity)?;
        validate::at_most(request_id, "RequestId length exceeds limit.", &self.shared.settings.limits)
    }

    /// What a client says of a schedule, in its normal form.
    fn definition(&self, namespace: &Namespace, given: &sempre_api::v1::schedule::Schedule) -> Result<Definition, Refusal> {
        let limits = self.shared.settings.limits_of(&namespace.view.name);
        let (now, cron) = (self.shared.now(), &self.shared.cron);
        self.with_schedule_ids(|ids| {
            let mut definition = Definition { uid: ids.uuid(), create_time: now.0, ..Definition::default() };
            let mut cx = Context {
                now,
                ids,
                limits,
                cron,
                endpoints: &sempre_core::nexus::NoEndpoints,
                ranks: &sempre_core::transition::NoRanks,
                gate: &sempre_core::flow::NoGate,
                namespace: &namespace.view,
            };
            schedule::definition(&mut definition, given, &Database, &mut cx)?;
            Ok(definition)
        })
    }

    /// With the search attributes registered that a schedule and its action set, where unknown ones are.
    async fn with_attributes(
        &self,
        namespace: Arc<Namespace>,
        given: &sempre_api::v1::schedule::Schedule,
        own: &Option<SearchAttributes>,
    ) -> Result<Arc<Namespace>, Refusal> {
        let action = given.action.as_ref().and_then(|action| action.action.as_ref());
        let of_action = action.and_then(|schedule_action::Action::StartWorkflow(start)| start.search_attributes.as_ref());
        self.shared.register_unknown(namespace, own.iter().chain(of_action)).await
    }

    /// Calls; with `starts` the answer waits, for a while, until what was asked for is started: who asks then sees it.
    async fn call_schedule(&self, key: ScheduleKey, call: Call, starts: bool) -> Result<Bytes, Refusal> {
        if !starts {
            return self.shared.schedules.call(key, call).await;
        }
        let (token, settled) = self.shared.schedules.call_for_starts(key, call).await?;
        let end = self.shared.clock.sleep_until(self.shared.now() + WAIT_FOR_STARTS);
        // It is durable, whatever comes first.
        let _ = select(settled, end).await;
        Ok(token)
    }

    /// `CreateSchedule`.
    pub async fn create_schedule(&self, mut request: CreateScheduleRequest) -> Result<CreateScheduleResponse, Refusal> {
        let namespace = self.with_schedules(self.namespace(&request.namespace)?)?;
        let key = self.schedule_key(&namespace, request.schedule_id)?;
        validate::required(&request.request_id, "RequestId is not set on request.")?;
        self.check_call(&request.identity, &request.request_id)?;
        let mut given = request.schedule.unwrap_or_default();
        let namespace = self.with_attributes(namespace, &given, &request.search_attributes).await?;
        named::said_of(&namespace, &mut given);
        named::said(&namespace, request.search_attributes.as_mut());
        let definition = self.definition(&namespace, &given)?;
        let (mut attributes, limits) = (request.search_attributes, &self.shared.settings.limits);
        schedule::belongings(&mut attributes, request.memo.as_ref(), &namespace.view, limits)?;
        if request.initial_patch.is_some() {
            schedule::patch(request.initial_patch.as_ref())?;
        }
        let definition = Definition {
            namespace_id: Bytes::copy_from_slice(&key.namespace.0.0),
            schedule_id: key.schedule_id.clone(),
            request_id: request.request_id,
            memo: request.memo,
            search_attributes: attributes,
            ..definition
        };
        let starts = request.initial_patch.as_ref().is_some_and(asks_for_starts);
        let create = (definition, given.state.unwrap_or_default(), request.initial_patch);
        let conflict_token = self.call_schedule(key, Call::Create(Box::new(create)), starts).await?;
        Ok(CreateScheduleResponse { conflict_token })
    }

    /// `UpdateSchedule`.
    pub async fn update_schedule(&self, mut request: UpdateScheduleRequest) -> Result<UpdateScheduleResponse, Refusal> {
        let namespace = self.schedules_of(&request.namespace)?;
        let key = self.schedule_key(&namespace, request.schedule_id)?;
        self.check_call(&request.identity, &request.request_id)?;
        let mut given = request.schedule.unwrap_or_default();
        let namespace = self.with_attributes(namespace, &given, &request.search_attributes).await?;
        named::said_of(&namespace, &mut given);
        named::said(&namespace, request.search_attributes.as_mut());
        let definition = self.definition(&namespace, &given)?;
        let (mut attributes, limits) = (request.search_attributes, &self.shared.settings.limits);
        schedule::belongings(&mut attributes, request.memo.as_ref(), &namespace.view, limits)?;
        let update = Update {
            definition,
            state: given.state.unwrap_or_default(),
            search_attributes: attributes,
            memo: request.memo,
            conflict_token: request.conflict_token,
            request_id: request.request_id,
        };
        self.shared.schedules.call(key, Call::Update(Box::new(update))).await?;
        Ok(UpdateScheduleResponse::default())
    }

    /// `PatchSchedule`.
    pub async fn patch_schedule(&self, request: PatchScheduleRequest) -> Result<PatchScheduleResponse, Refusal> {
        let namespace = self.schedules_of(&request.namespace)?;
        let key = self.schedule_key(&namespace, request.schedule_id)?;
        self.check_call(&request.identity, &request.request_id)?;
        let patch = schedule::patch(request.patch.as_ref())?.clone();
        let starts = asks_for_starts(&patch);
        self.call_schedule(key, Call::Patch(Box::new(patch), request.request_id), starts).await?;
        Ok(PatchScheduleResponse::default())
    }

    /// `DeleteSchedule`: what it has started runs on.
    pub async fn delete_schedule(&self, request: DeleteScheduleRequest) -> Result<DeleteScheduleResponse, Refusal> {
        let namespace = self.schedules_of(&request.namespace)?;
        let key = self.schedule_key(&namespace, request.schedule_id)?;
        self.check_identity(&request.identity)?;
        self.shared.schedules.call(key, Call::Delete).await?;
        Ok(DeleteScheduleResponse::default())
    }

    async fn schedule(&self, key: &ScheduleKey) -> Result<Schedule, Refusal> {
        let loaded = load(&*self.shared.store, key).await.map_err(|error| not_loaded(&error))?;
        loaded.ok_or_else(schedule::not_found)
    }

    /// `DescribeSchedule`.
    pub async fn describe_schedule(&self, request: DescribeScheduleRequest) -> Result<DescribeScheduleResponse, Refusal> {
        let namespace = self.schedules_of(&request.namespace)?;
        let key = self.schedule_key(&namespace, request.schedule_id)?;
        let mut schedule = self.schedule(&key).await?;
        self.refresh(&key, &mut schedule).await;
        let mut description = schedule::describe(&schedule, self.shared.now());
        named::shown(&namespace, description.search_attributes.as_mut());
        if let Some(schedule) = &mut description.schedule {
            named::shown_of(&namespace, schedule);
        }
        Ok(description)
    }

    /// Finds out what has become of the runs that are thought to be open. A schedule hears by itself only of those that
    /// others wait for, and of them a little later.
    async fn refresh(&self, key: &ScheduleKey, schedule: &mut Schedule) {
        // A paused run is open, too; rows of older versions call it paused.
        let open = [Status::Running as i32, Status::Paused as i32];
        let asked = schedule.state.recent.iter().filter(|recent| open.contains(&recent.status)).map(|recent| async {
            match chain(&self.shared, key.namespace, &recent.workflow_id, &recent.run_id).await {
                Found::Status(status) if CLOSED.contains(&status) => Some((recent.number, status)),
                _ => None,
            }
        });
        let found: Vec<(u64, i32)> = join_all(asked).await.into_iter().flatten().collect();
        for (number, status) in &found {
            schedule.seen(*number, *status);
        }
        schedule.state.running.retain(|running| found.iter().all(|(number, _)| *number != running.number));
        if !found.is_empty()
            && let Err(refusal) = self.shared.schedules.call(key.clone(), Call::Seen(found)).await
        {
            tracing::debug!(?refusal, "what has become of scheduled runs is found out again next time");
        }
    }

    /// `InspectService.ListSkippedActions`.
    pub async fn list_skipped_actions(&self, request: ListSkippedActionsRequest) -> Result<ListSkippedActionsResponse, Refusal> {
        let namespace = self.schedules_of(&request.namespace)?;
        let key = self.schedule_key(&namespace, request.schedule_id)?;
        Ok(ListSkippedActionsResponse { skipped: schedule::skipped(&self.schedule(&key).await?) })
    }

    /// `ListScheduleMatchingTimes`.
    pub async fn list_schedule_matching_times(
        &self,
        request: ListScheduleMatchingTimesRequest,
    ) -> Result<ListScheduleMatchingTimesResponse, Refusal> {
        let namespace = self.schedules_of(&request.namespace)?;
        let key = self.schedule_key(&namespace, request.schedule_id)?;
        let (Some(start), Some(end)) = (&request.start_time, &request.end_time) else {
            return Err(Refusal::invalid("StartTime and EndTime must be set on request."));
        };
        let schedule = self.schedule(&key).await?;
        let start_time = schedule::matching_times(&schedule, Timestamp::from_api(start), Timestamp::from_api(end))?;
        Ok(ListScheduleMatchingTimesResponse { start_time })
    }

    async fn scan_schedules(&self, namespace: NamespaceId, after: &str, most: usize) -> Result<(Vec<ScheduleKey>, bool), Refusal> {
        scan(&self.shared, namespace, after, most).await
    }

    /// `ListSchedules`, in the order of their ids.
    pub async fn list_schedules(&self, request: ListSchedulesRequest) -> Result<ListSchedulesResponse, Refusal> {
        let namespace = self.schedules_of(&request.namespace)?;
        let size = page_size(request.maximum_page_size);
        let filter = query(&request.query, &namespace, false)?.filter;
        let mut after = read_token(&request.next_page_token)?;
        let now = self.shared.now();
        let mut schedules = Vec::new();
        loop {
            // No more than fit, so that the page ends with the last one looked at.
            let (keys, more) = self.scan_schedules(namespace.id(), &after, SCAN.min(size - schedules.len())).await?;
            for key in keys {
                // One that was deleted meanwhile is left out, and a damaged one unless all are asked for.
                match load(&*self.shared.store, &key).await {
                    Ok(Some(schedule)) if selects(filter.as_ref(), &schedule) => {
                        let mut entry = schedule::list_entry(&schedule, now);
                        named::shown(&namespace, entry.search_attributes.as_mut());
                        schedules.push(entry);
                    }
                    Ok(_) => {}
                    Err(LoadError::Damaged) if filter.is_none() => schedules.push(schedule::list_damaged(&key.schedule_id)),
                    Err(LoadError::Damaged) => {}
                    Err(LoadError::Store(error)) => return Err(unreadable(&error)),
                }
                after = key.schedule_id;
                give_way().await;
            }
            if !more || schedules.len() >= size {
                let next_page_token = if more { token(&after) } else { Bytes::new() };
                return Ok(ListSchedulesResponse { schedules, next_page_token });
            }
        }
    }

    /// `CountSchedules`. Damaged ones are counted where all are asked for, and have no value to be grouped by.
    pub async fn count_schedules(&self, request: CountSchedulesRequest) -> Result<CountSchedulesResponse, Refusal> {
        let namespace = self.schedules_of(&request.namespace)?;
        let Query { filter, group_by } = query(&request.query, &namespace, true)?;
        let (mut after, mut count, mut groups) = (String::new(), 0, Groups::new());
        loop {
            let (keys, more) = self.scan_schedules(namespace.id(), &after, SCAN).await?;
            if filter.is_none() && group_by.is_none() {
                count += keys.len() as i64;
            } else {
                for key in &keys {
                    let record = match load(&*self.shared.store, key).await {
                        Ok(None) => continue,
                        Ok(Some(schedule)) => Some(schedule::record(&schedule)),
                        Err(LoadError::Damaged) => None,
                        Err(LoadError::Store(error)) => return Err(unreadable(&error)),
                    };
                    if filter.as_ref().is_none_or(|filter| record.as_ref().is_some_and(|record| filter.matches(record))) {
                        count += 1;
                        if let Some(field) = &group_by {
                            index::add_to_group(&mut groups, record.and_then(|record| record.value(field)));
                        }
                    }
                    give_way().await;
                }
            }
            match keys.into_iter().next_back() {
                Some(last) if more => after = last.schedule_id,
                _ => break,
            }
        }
        index::sort_groups(&mut groups);
        let Some(field) = group_by else { return Ok(CountSchedulesResponse { count, groups: Vec::new() }) };
        let group = |(value, schedules)| AggregationGroup { group_values: vec![group_value(&field, value)], count: schedules as i64 };
        Ok(CountSchedulesResponse { count, groups: groups.into_iter().map(group).collect() })
    }
}

/// The next schedules of a namespace in the order of their ids, behind `after`, and whether there may be more.
async fn scan(shared: &Shared, namespace: NamespaceId, after: &str, most: usize) -> Result<(Vec<ScheduleKey>, bool), Refusal> {
    let (from, to) = keys::definitions_after(namespace, after);
    let rows = shared.store.scan(Table::Schedule, &from, &to, most).await.map_err(|error| unreadable(&error))?;
    let more = rows.len() == most;
    Ok((rows.iter().filter_map(|(key, _)| keys::parse_key(key)).collect(), more))
}

/// Deletes all schedules of a namespace.
pub(crate) async fn remove_schedules(shared: &Shared, namespace: NamespaceId) -> Result<(), Refusal> {
    // Answered by the one task that makes schedules: what it made before it knew of the deletion is written by then.
    let none = ScheduleKey { namespace, schedule_id: String::new() };
    match shared.schedules.call(none, Call::Delete).await {
        Ok(_) | Err(Refusal::NotFound(_)) => {}
        Err(refusal) => return Err(refusal),
    }
    let mut after = String::new();
    loop {
        let (keys, more) = scan(shared, namespace, &after, SCAN).await?;
        if let Some(last) = keys.last() {
            after.clone_from(&last.schedule_id);
        }
        for removed in join_all(keys.into_iter().map(|key| shared.schedules.call(key, Call::Delete))).await {
            match removed {
                Ok(_) | Err(Refusal::NotFound(_)) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        if !more {
            return Ok(());
        }
    }
}

/// A list query over schedules.
fn query(query: &str, namespace: &Namespace, groups: bool) -> Result<Query, Refusal> {
    let options = ParseOptions { groups, schedules: true, division: Division::Any, ..Default::default() };
    Ok(parse(query, namespace, options)?)
}

fn selects(filter: Option<&Filter>, schedule: &Schedule) -> bool {
    filter.is_none_or(|filter| filter.matches(&schedule::record(schedule)))
}

fn token(after: &str) -> Bytes {
    [&[TOKEN_VERSION], after.as_bytes()].concat().into()
}

pub(super) fn read_token(token: &Bytes) -> Result<String, Refusal> {
    let invalid = || Refusal::invalid("Invalid NextPageToken.");
    let Some((version, after)) = token.split_first() else { return Ok(String::new()) };
    let after = Some(after).filter(|_| *version == TOKEN_VERSION).ok_or_else(invalid)?;
    std::str::from_utf8(after).map(str::to_owned).map_err(|_| invalid())
}
