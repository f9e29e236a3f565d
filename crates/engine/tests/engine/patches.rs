//! Patches of workflow code that runs still need (docs/deployments.md): from the index and from histories.

use sempre_api::{
    sempre::v1::{ListPatchesRequest, PatchAdvice, WorkflowTypePatches},
    v1::{
        command::{Command, RecordMarkerCommandAttributes, UpsertWorkflowSearchAttributesCommandAttributes, command::Attributes},
        common::{Payload, Payloads, SearchAttributes},
        enums::CommandType,
    },
};

use crate::support::*;

fn payload(json: &str) -> Payload {
    let metadata = [("encoding".to_owned(), "json/plain".into())].into();
    Payload { metadata, data: json.to_owned().into(), ..Payload::default() }
}

fn marker(name: &str, details: &[(&str, &str)]) -> Command {
    let details = details.iter().map(|(name, json)| ((*name).to_owned(), Payloads { payloads: vec![payload(json)] }));
    let attributes = RecordMarkerCommandAttributes { marker_name: name.into(), details: details.collect(), ..Default::default() };
    Command {
        command_type: CommandType::RecordMarker as i32,
        attributes: Some(Attributes::RecordMarkerCommandAttributes(attributes)),
        ..Default::default()
    }
}

/// What the SDKs on the common core record.
fn patched(id: &str, deprecated: bool) -> Command {
    marker("core_patch", &[("patch-data", &format!(r#"{{"id":"{id}","deprecated":{deprecated}}}"#))])
}

fn noted(ids: &str) -> Command {
    let indexed_fields = [("TemporalChangeVersion".to_owned(), payload(ids))].into();
    let attributes = UpsertWorkflowSearchAttributesCommandAttributes { search_attributes: Some(SearchAttributes { indexed_fields }) };
    Command {
        command_type: CommandType::UpsertWorkflowSearchAttributes as i32,
        attributes: Some(Attributes::UpsertWorkflowSearchAttributesCommandAttributes(attributes)),
        ..Default::default()
    }
}

impl World {
    async fn run_that(&self, id: &str, mut commands: Vec<Command>, closes: bool) {
        self.start(id).await;
        self.clock_tick();
        let task = self.poll().await;
        if closes {
            commands.extend(done());
        }
        self.complete(&task.task_token, commands).await;
    }

    async fn patches(&self, request: ListPatchesRequest) -> WorkflowTypePatches {
        let mut messages = self.engine.list_patches(ListPatchesRequest { namespace: NAMESPACE.into(), ..request }).unwrap();
        let mut types = Vec::new();
        while let Some(message) = soon(messages.recv()).await {
            types.extend(message.unwrap().r#type);
        }
        assert_eq!(types.len(), 1, "{types:?}");
        types.pop().unwrap()
    }
}

fn counts(told: &WorkflowTypePatches) -> Vec<(String, i64, i64, i64, i64, PatchAdvice)> {
    let of = |p: &sempre_api::sempre::v1::PatchUse| {
        let version = p.version.map(|version| format!(" {version}")).unwrap_or_default();
        (format!("{}{version}", p.patch_id), p.open_with, p.open_deprecated, p.open_without, p.closed_with, p.advice())
    };
    told.patches.iter().map(of).collect()
}

#[tokio::test]
async fn patches_are_counted_with_without_and_deprecated() {
    let w = world().await;
    w.run_that("old", vec![], false).await;
    w.run_that("a", vec![patched("fee", false), noted(r#"["fee"]"#)], false).await;
    w.run_that("b", vec![patched("fee", true), patched("tax", true), noted(r#"["fee","tax"]"#)], false).await;
    w.run_that("gone", vec![patched("tax", false), noted(r#"["tax"]"#)], true).await;
    let told = w.patches(ListPatchesRequest::default()).await;
    assert_eq!((told.open_runs, told.closed_runs, told.open_histories_read, told.closed_histories_read), (3, 1, 3, 1));
    assert_eq!(
        counts(&told),
        [("fee".to_owned(), 2, 1, 1, 0, PatchAdvice::Deprecate), ("tax".to_owned(), 1, 1, 2, 1, PatchAdvice::Remove),]
    );
    assert_eq!(told.patches[0].workflow_id, "a", "who needs it");
    let one = w.patches(ListPatchesRequest { patch_id: "tax".into(), ..Default::default() }).await;
    assert_eq!(one.patches.len(), 1);
}

#[tokio::test]
async fn without_histories_nothing_counts_as_deprecated() {
    let w = world().await;
    w.run_that("b", vec![patched("fee", true), noted(r#"["fee"]"#)], false).await;
    w.run_that("plain", vec![], false).await;
    let told = w.patches(ListPatchesRequest { histories_per_type: -1, ..Default::default() }).await;
    assert_eq!((told.open_histories_read, told.records_read), (0, 1));
    assert_eq!(counts(&told), [("fee".to_owned(), 1, 0, 1, 0, PatchAdvice::Keep)]);
    assert_eq!(told.patches[0].because, "1 open run has not met it: in the old branch, or not come to it yet");
}

#[tokio::test]
async fn markers_without_the_attribute_are_found_in_histories() {
    let w = world().await;
    w.run_that("go", vec![marker("Version", &[("change-id", r#""fee""#), ("version", "2")])], false).await;
    w.run_that("java", vec![marker("Version", &[("changeId", r#""fee""#), ("version", "1")])], true).await;
    let told = w.patches(ListPatchesRequest::default()).await;
    assert_eq!(counts(&told), [("fee 1".to_owned(), 0, 0, 0, 1, PatchAdvice::Remove), ("fee 2".to_owned(), 1, 0, 0, 0, PatchAdvice::Keep)]);
}

#[tokio::test]
async fn entries_of_the_index_mean_what_the_markers_of_the_type_say() {
    let w = world().await;
    w.run_that("one", vec![marker("Version", &[("change-id", r#""fee""#), ("version", "2")]), noted(r#"["fee-2"]"#)], false).await;
    w.run_that("two", vec![marker("Version", &[("change-id", r#""fee""#), ("version", "2")]), noted(r#"["fee-2"]"#)], false).await;
    let told = w.patches(ListPatchesRequest { histories_per_type: 1, ..Default::default() }).await;
    assert_eq!(counts(&told), [("fee 2".to_owned(), 2, 0, 0, 0, PatchAdvice::Keep)]);
}
