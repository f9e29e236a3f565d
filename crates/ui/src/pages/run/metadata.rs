//! Memo, search attributes and settings of a run.

use maud::{Markup, html};
use sempre_api::{
    json::{self, Payloads},
    v1::workflowservice::DescribeWorkflowExecutionResponse,
};

use crate::{
    show::{self, tree},
    visit::Visit,
};

pub(super) fn part(visit: &Visit, description: &DescribeWorkflowExecutionResponse) -> Markup {
    let info = description.workflow_execution_info.clone().unwrap_or_default();
    let attributes = info.search_attributes.unwrap_or_default().indexed_fields;
    let memo = info.memo.unwrap_or_default().fields;
    let points = info.auto_reset_points.unwrap_or_default().points;
    let whole = json::to_value(description, Payloads::Full);
    html! {
        section.panel #attributes data-live { h2 { "Search attributes" }
            @if attributes.is_empty() { p.muted { "None" } }
            dl.facts { @for (name, value) in &attributes { div { dt { (name) } dd { (show::search_attribute(value)) } } } }
        }
        section.panel #memo data-live { h2 { "Memo" }
            @if memo.is_empty() { p.muted { "None" } }
            dl.facts { @for (name, value) in &memo { div { dt { (name) } dd { (show::one(value)) } } } }
        }
        @if !points.is_empty() {
            section.panel { h2 { "Reset points" }
                div.table-wrap { table {
                    thead { tr { th { "Build" } th { "First task" } th { "Made" } th { "Can be used" } } }
                    tbody { @for point in &points { tr { td { (show::id(&point.build_id)) } td { (point.first_workflow_task_completed_id) } td { (visit.times.show(point.create_time.as_ref())) } td { (if point.resettable { "yes" } else { "no" }) } } } }
                } }
            }
        }
        section.panel { h2 { "Settings" } @if let Some(config) = whole.get("executionConfig") { (tree(config)) } }
        @if let Some(extended) = whole.get("workflowExtendedInfo") { section.panel { h2 { "More" } (tree(extended)) } }
        @if let Some(versioning) = whole.pointer("/workflowExecutionInfo/versioningInfo") { section.panel { h2 { "Versioning" } (tree(versioning)) } }
    }
}
