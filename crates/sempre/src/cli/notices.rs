//! `sempre notices`: what happens to runs, behind a cursor.

use clap::Args;
use sempre_api::{
    sempre::v1::{ListNoticesRequest, Notice, NoticeKind},
    v1::enums::WorkflowExecutionStatus,
};

use super::{
    Failure,
    flags::{ClientFlags, CommonFlags},
    output::short_name,
    session::{self, Session},
};

/// Notices read at once.
const PAGE: i32 = 500;

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    client: ClientFlags,
    /// Only notices behind this one; 0 begins with the oldest that is kept. Without it: what happens from now on, or, without
    /// --follow, all that is kept
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i64).range(0..))]
    after: Option<i64>,
    /// Go on with what happens
    #[arg(short, long)]
    follow: bool,
    /// Stop after so many
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u64>,
}

pub(crate) fn run(common: CommonFlags, options: Options) -> Result<(), Failure> {
    session::run(common, &options.client, async |session| tell(session, &options).await)
}

async fn tell(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let mut left = options.limit.unwrap_or(u64::MAX);
    let mut request = ListNoticesRequest {
        namespace: session.namespace(),
        after: options.after.unwrap_or_default(),
        page_size: PAGE,
        from_now: options.follow && options.after.is_none(),
        wait: false,
    };
    session.out.begin_list()?;
    while left > 0 {
        let page = session.client().await?.alert.list_notices(request.clone()).await?.into_inner();
        for notice in page.notices.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
            session.out.message(notice)?;
            let line = line(session, notice);
            session.out.line(line)?;
            left -= 1;
        }
        session.out.flush()?;
        if !options.follow && !page.more {
            break;
        }
        request = ListNoticesRequest { after: page.next, from_now: false, wait: options.follow && !page.more, ..request };
    }
    session.out.end_list()
}

/// `17  2026-01-31T08:00:00Z  closed  Failed  Order  order-7  RUN_ID`.
fn line(session: &Session, notice: &Notice) -> String {
    let run = notice.run.clone().unwrap_or_default();
    let execution = run.execution.clone().unwrap_or_default();
    let kind = short_name(NoticeKind::try_from(notice.kind).unwrap_or_default().as_str_name(), "NOTICE_KIND_").to_lowercase();
    let status = match run.status() {
        WorkflowExecutionStatus::Unspecified => String::new(),
        status => short_name(status.as_str_name(), "WORKFLOW_EXECUTION_STATUS_"),
    };
    let name = run.r#type.unwrap_or_default().name;
    let time = session.out.time(notice.time.as_ref());
    format!("{}  {time}  {kind}  {status}  {name}  {}  {}", notice.number, execution.workflow_id, execution.run_id)
}
