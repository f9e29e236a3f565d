//! `sempre schedule skipped`: the actions that were not taken, and why.

use clap::Args;
use sempre_api::sempre::v1::{ListSkippedActionsRequest, SkippedActions};
use serde_json::json;

use super::Id;
use crate::cli::{
    Failure,
    output::{Table, short_name},
    session::Session,
};

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    id: Id,
}

const COLUMNS: &[&str] = &["Reason", "Count", "FirstScheduleTime", "LastScheduleTime", "DecidedTime"];

pub(super) async fn run(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let request = ListSkippedActionsRequest { namespace: session.namespace(), schedule_id: options.id.schedule_id.clone() };
    let answer = session.client().await?.inspect.list_skipped_actions(request).await?.into_inner();
    if session.out.is_json() {
        let all: Vec<_> = answer.skipped.iter().map(as_json).collect();
        return session.out.raw_value(&json!({ "skipped": all }));
    }
    let time = |time: Option<&_>| session.out.time(time);
    let row = |skipped: &SkippedActions| {
        vec![
            reason(skipped).into(),
            skipped.count.to_string().into(),
            time(skipped.first_schedule_time.as_ref()).into(),
            time(skipped.last_schedule_time.as_ref()).into(),
            time(skipped.decided_time.as_ref()).into(),
        ]
    };
    let rows: Vec<_> = answer.skipped.iter().map(row).collect();
    session.out.table(&mut Table::new(COLUMNS), &rows)
}

fn reason(skipped: &SkippedActions) -> String {
    short_name(skipped.reason().as_str_name(), "SKIP_REASON_")
}

fn as_json(skipped: &SkippedActions) -> serde_json::Value {
    let time = |time: &Option<sempre_api::Timestamp>| time.as_ref().map(ToString::to_string);
    json!({
        "reason": reason(skipped),
        "count": skipped.count,
        "firstScheduleTime": time(&skipped.first_schedule_time),
        "lastScheduleTime": time(&skipped.last_schedule_time),
        "decidedTime": time(&skipped.decided_time),
    })
}
