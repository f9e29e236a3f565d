//! Batch operations: what was done to many runs, and how far it is.

use maud::{Markup, html};
use sempre_api::v1::{
    enums::{BatchOperationState, BatchOperationType},
    workflowservice::{DescribeBatchOperationRequest, ListBatchOperationsRequest, StopBatchOperationRequest},
};

use crate::{
    answer::redirect,
    layout::{Live, Page, Section, crumbs, heading, page_token, pager},
    route::Answer,
    show::{self, badge, facts, words},
    visit::{IDENTITY, Visit},
};

const PAGE: i32 = 100;
const LOOK_SECONDS: u32 = 2;

fn kind(kind: i32) -> String {
    words(BatchOperationType::try_from(kind).unwrap_or_default().as_str_name(), "BATCH_OPERATION_TYPE_")
}

fn state(state: i32) -> Markup {
    let state = BatchOperationState::try_from(state).unwrap_or_default();
    let tone = match state {
        BatchOperationState::Running => "blue",
        BatchOperationState::Completed => "green",
        BatchOperationState::Failed => "red",
        _ => "gray",
    };
    badge(tone, &words(state.as_str_name(), "BATCH_OPERATION_STATE_"))
}

/// All of them.
pub(crate) async fn list(visit: &Visit<'_>, namespace: &str) -> Answer {
    let request = ListBatchOperationsRequest { namespace: namespace.to_owned(), page_size: PAGE, next_page_token: page_token(visit) };
    let answer = visit.ask(request).await?;
    let body = html! {
        (heading(html! { "Batch operations" }, html! {}))
        div.table-wrap { table {
            thead { tr { th { "Operation" } th { "State" } th { "What" } th { "Started" } th { "Ended" } } }
            tbody #rows data-live {
                @for operation in &answer.operation_info {
                    tr data-key=(operation.job_id) {
                        th scope="row" { a.id.mono href=(visit.link(&["namespaces", namespace, "batch-operations", &operation.job_id])) title=(operation.job_id) { (operation.job_id) } }
                        td data-label="State" { (state(operation.state)) } td data-label="What" { (kind(operation.operation_type)) }
                        td data-label="Started" { (visit.times.show(operation.start_time.as_ref())) } td data-label="Ended" { (visit.times.show(operation.close_time.as_ref())) }
                    }
                }
                @if answer.operation_info.is_empty() { tr data-key="none" { td colspan="5" { (show::empty("No batch operations", html! { p { "What is done to many workflows at once is here. Begin in the " a href=(visit.link(&["namespaces", namespace, "workflows"])) { "list of workflows" } "." } })) } } }
            }
        } }
        (pager(visit, &["namespaces", namespace, "batch-operations"], &[], &answer.next_page_token))
    };
    Ok(Page::new(namespace, Section::Batches, format!("Batch operations · {namespace}"), body)
        .live(Live::Every(LOOK_SECONDS))
        .answer(visit))
}

/// One of them.
pub(crate) async fn one(visit: &Visit<'_>, namespace: &str, id: &str) -> Answer {
    let answer = visit.ask(DescribeBatchOperationRequest { namespace: namespace.to_owned(), job_id: id.to_owned() }).await?;
    let running = answer.state == i32::from(BatchOperationState::Running);
    let done = answer.complete_operation_count + answer.failure_operation_count;
    let about = facts(&[
        ("Reason", html! { (answer.reason) }),
        ("By", html! { (answer.identity) }),
        ("Runs", html! { @if answer.query.is_empty() { "chosen one by one" } @else { code { (answer.query) } } }),
        ("Started", visit.times.full(answer.start_time.as_ref())),
        ("Ended", visit.times.full(answer.close_time.as_ref())),
    ]);
    let body = html! {
        (crumbs(&[("Batch operations", visit.link(&["namespaces", namespace, "batch-operations"]))]))
        (heading(html! { (kind(answer.operation_type)) }, html! {}))
        section.panel #progress data-live {
            p.big { (state(answer.state)) " " b { (show::count(done)) } " of " (show::count(answer.total_operation_count)) @if answer.failure_operation_count > 0 { ", " span.bad { (show::count(answer.failure_operation_count)) " failed" } } }
            progress aria-label="Progress" max=(answer.total_operation_count.max(1)) value=(done) {}
            @if running { form.inline method="post" action=(visit.link(&["namespaces", namespace, "batch-operations", id, "stop"])) { (visit.token_field()) button type="submit" data-tone="red" { "Stop it" } } }
        }
        section.panel #facts data-live { (about) p { (show::copyable(id)) } }
    };
    let live = if running { Live::Every(1) } else { Live::Still };
    Ok(Page::new(namespace, Section::Batches, format!("Batch operation · {namespace}"), body).live(live).answer(visit))
}

/// Stops one.
pub(crate) async fn stop(visit: &Visit<'_>, namespace: &str, id: &str) -> Answer {
    let request = StopBatchOperationRequest {
        namespace: namespace.to_owned(),
        job_id: id.to_owned(),
        reason: "stopped in the UI".to_owned(),
        identity: IDENTITY.to_owned(),
    };
    visit.ask(request).await?;
    Ok(redirect(&visit.link_with(&["namespaces", namespace, "batch-operations", id], &[("done", "batch-stop")])))
}
