//! `schedule list` and `schedule list-matching-times`.

use clap::Args;
use sempre_api::{
    Timestamp,
    json::{self, Payloads},
    v1::{
        schedule::ScheduleListEntry,
        workflowservice::{ListScheduleMatchingTimesRequest, ListSchedulesRequest},
    },
};

use super::{Id, spec};
use crate::cli::{
    Failure,
    output::{Cell, Table},
    session::Session,
    values,
};

#[derive(Args)]
pub(crate) struct Options {
    /// Show specification and notes
    #[arg(short, long)]
    long: bool,
    /// Show all there is
    #[arg(long)]
    really_long: bool,
    /// List filter
    #[arg(short, long, value_name = "QUERY", default_value = "", hide_default_value = true)]
    query: String,
}

#[derive(Args)]
pub(crate) struct MatchingTimes {
    #[command(flatten)]
    id: Id,
    /// From this time on
    #[arg(long, value_name = "TIME", value_parser = values::parse_time)]
    start_time: Timestamp,
    /// Up to this time
    #[arg(long, value_name = "TIME", value_parser = values::parse_time)]
    end_time: Timestamp,
}

const SHORT: &[&str] = &["ScheduleId", "Workflow", "Paused", "NextRunTime", "LastRunTime"];
const LONG: &[&str] = &["ScheduleId", "Workflow", "Paused", "NextRunTime", "LastRunTime", "Spec", "Notes"];
const ALL: &[&str] =
    &["ScheduleId", "Workflow", "Paused", "NextRunTime", "LastRunTime", "Spec", "Notes", "TimeZoneName", "SearchAttributes", "Memo"];

pub(super) async fn run(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let columns = match (options.long, options.really_long) {
        (_, true) => ALL,
        (true, _) => LONG,
        _ => SHORT,
    };
    let (mut table, mut token) = (Table::new(columns), bytes::Bytes::new());
    session.out.begin_list()?;
    loop {
        let request = ListSchedulesRequest {
            namespace: session.namespace(),
            next_page_token: token,
            query: options.query.clone(),
            ..Default::default()
        };
        let page = session.client().await?.workflow.list_schedules(request).await?.into_inner();
        for entry in &page.schedules {
            session.out.value(&json::to_value(entry, Payloads::Full))?;
        }
        let rows: Vec<_> = page.schedules.iter().map(|entry| row(session, entry, columns.len())).collect();
        if !rows.is_empty() {
            session.out.table(&mut table, &rows)?;
        }
        token = page.next_page_token;
        if token.is_empty() {
            return session.out.end_list();
        }
    }
}

fn row(session: &Session, entry: &ScheduleListEntry, columns: usize) -> Vec<Cell> {
    let info = entry.info.clone().unwrap_or_default();
    let spec = info.spec.unwrap_or_default();
    let last = info.recent_actions.last().and_then(|action| action.schedule_time.as_ref());
    let attributes = entry.search_attributes.as_ref().map(|of| session.out.json_of(of)["indexedFields"].to_string());
    let memo = entry.memo.as_ref().map(|memo| session.out.json_of(memo)["fields"].to_string());
    let mut row: Vec<Cell> = vec![
        entry.schedule_id.as_str().into(),
        info.workflow_type.unwrap_or_default().name.into(),
        info.paused.to_string().into(),
        session.out.time(info.future_action_times.first()).into(),
        session.out.time(last).into(),
        spec::words(&spec).join("; ").into(),
        info.notes.into(),
        spec.timezone_name.into(),
        attributes.unwrap_or_default().into(),
        memo.unwrap_or_default().into(),
    ];
    row.truncate(columns);
    row
}

pub(super) async fn matching_times(session: &mut Session, options: &MatchingTimes) -> Result<(), Failure> {
    let request = ListScheduleMatchingTimesRequest {
        namespace: session.namespace(),
        schedule_id: options.id.schedule_id.clone(),
        start_time: Some(options.start_time),
        end_time: Some(options.end_time),
    };
    let answer = session.client().await?.workflow.list_schedule_matching_times(request).await?.into_inner();
    session.out.message(&answer)?;
    let rows: Vec<_> = answer.start_time.iter().map(|time| vec![time.to_string().into()]).collect();
    session.out.table(&mut Table::new(&["Time"]), &rows)
}
