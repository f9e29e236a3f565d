//! `schedule toggle`, `trigger`, `backfill` and `delete`: what is done to a schedule as it is.

use clap::Args;
use sempre_api::{
    Timestamp,
    v1::{
        schedule::{BackfillRequest, SchedulePatch, TriggerImmediatelyRequest},
        workflowservice::{DeleteScheduleRequest, PatchScheduleRequest},
    },
};

use super::{Id, Overlap};
use crate::cli::{
    Failure,
    session::{Session, request_id},
    values,
};

#[derive(Args)]
pub(crate) struct Toggle {
    #[command(flatten)]
    id: Id,
    /// Pause it
    #[arg(long, required_unless_present = "unpause", conflicts_with = "unpause")]
    pause: bool,
    /// Let it go on
    #[arg(long)]
    unpause: bool,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "(no reason provided)", hide_default_value = true)]
    reason: String,
}

#[derive(Args)]
pub(crate) struct Trigger {
    #[command(flatten)]
    id: Id,
    #[command(flatten)]
    overlap: Overlap,
}

#[derive(Args)]
pub(crate) struct Backfill {
    #[command(flatten)]
    id: Id,
    #[command(flatten)]
    overlap: Overlap,
    /// From this time on
    #[arg(long, value_name = "TIME", value_parser = values::parse_time)]
    start_time: Timestamp,
    /// Up to this time
    #[arg(long, value_name = "TIME", value_parser = values::parse_time)]
    end_time: Timestamp,
}

async fn patch(session: &mut Session, id: &Id, patch: SchedulePatch) -> Result<(), Failure> {
    let request = PatchScheduleRequest {
        namespace: session.namespace(),
        schedule_id: id.schedule_id.clone(),
        patch: Some(patch),
        identity: session.identity(),
        request_id: request_id(),
    };
    session.client().await?.workflow.patch_schedule(request).await?;
    Ok(())
}

pub(super) async fn toggle(session: &mut Session, options: &Toggle) -> Result<(), Failure> {
    let reason = options.reason.clone();
    if options.pause {
        patch(session, &options.id, SchedulePatch { pause: reason, ..SchedulePatch::default() }).await?;
        session.out.line("Schedule paused")
    } else {
        patch(session, &options.id, SchedulePatch { unpause: reason, ..SchedulePatch::default() }).await?;
        session.out.line("Schedule unpaused")
    }
}

pub(super) async fn trigger(session: &mut Session, options: &Trigger) -> Result<(), Failure> {
    let trigger = TriggerImmediatelyRequest { overlap_policy: options.overlap.value(), ..TriggerImmediatelyRequest::default() };
    patch(session, &options.id, SchedulePatch { trigger_immediately: Some(trigger), ..SchedulePatch::default() }).await?;
    session.out.line("Trigger request sent")
}

pub(super) async fn backfill(session: &mut Session, options: &Backfill) -> Result<(), Failure> {
    let backfill =
        BackfillRequest { start_time: Some(options.start_time), end_time: Some(options.end_time), overlap_policy: options.overlap.value() };
    patch(session, &options.id, SchedulePatch { backfill_request: vec![backfill], ..SchedulePatch::default() }).await?;
    session.out.line("Backfill request sent")
}

pub(super) async fn delete(session: &mut Session, id: &Id) -> Result<(), Failure> {
    let request =
        DeleteScheduleRequest { namespace: session.namespace(), schedule_id: id.schedule_id.clone(), identity: session.identity() };
    session.client().await?.workflow.delete_schedule(request).await?;
    session.out.line("Schedule deleted")
}
