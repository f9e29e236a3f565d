//! Continue-as-new as it is suggested, and what grows too large; callbacks as describe shows them.

use std::collections::BTreeMap;

use sempre_api::v1::{
    common::{Callback, callback},
    enums::WorkflowIdConflictPolicy,
    workflow::OnConflictOptions,
};

use super::{commands::*, scenarios};
use crate::scene::{Done, Scene};

scenarios!("limits":
    many_events_suggest_continue_as_new, large_history_suggests_continue_as_new, suggestion_gone_after_continue_as_new, marker_too_large,
    callback_described, callback_attached, callback_bad_url, callbacks_too_many,
);

/// As many markers as one completion may bring; event ids pass 4,096.
async fn many_events_suggest_continue_as_new(s: Scene) -> Done {
    s.start("a").await?;
    s.work((0..4100).map(|_| marker("m"))).await?;
    s.signal("a", "go").await?;
    s.work([done()]).await?;
    Ok(())
}

fn large_marker() -> sempre_api::v1::command::Command {
    use sempre_api::v1::command::{Command, RecordMarkerCommandAttributes, command::Attributes};
    let details: BTreeMap<_, _> =
        crate::scene::payloads(&"x".repeat(1_500_000)).map(|payloads| ("d".to_string(), payloads)).into_iter().collect();
    let attributes = RecordMarkerCommandAttributes { marker_name: "large".into(), details, ..Default::default() };
    Command { attributes: Some(Attributes::RecordMarkerCommandAttributes(attributes)), ..marker("large") }
}

async fn large_history_suggests_continue_as_new(s: Scene) -> Done {
    s.start("a").await?;
    for _ in 0..3 {
        s.work([large_marker()]).await?;
        s.signal("a", "go").await?;
    }
    s.work([done()]).await?;
    Ok(())
}

async fn suggestion_gone_after_continue_as_new(s: Scene) -> Done {
    s.start("a").await?;
    s.work((0..4100).map(|_| marker("m"))).await?;
    s.signal("a", "go").await?;
    let task = s.task().await?;
    // A run that continues within its first second is held back for the rest of it: on a busy machine it is older.
    s.sleep(1100).await;
    s.complete(&task, [continue_as_new().command()]).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn marker_too_large(s: Scene) -> Done {
    use sempre_api::v1::command::command::Attributes;
    s.start("a").await?;
    let mut command = large_marker();
    if let Some(Attributes::RecordMarkerCommandAttributes(a)) = &mut command.attributes {
        let more = crate::scene::payloads(&"y".repeat(1_000_000)).unwrap_or_default();
        a.details.insert("e".into(), more);
    }
    s.work([command]).await.ok();
    s.closed("a").await.ok();
    Ok(())
}

fn callback(url: &str) -> Callback {
    let nexus = callback::Nexus { url: url.into(), header: [("Token".to_string(), "t".to_string())].into() };
    Callback { variant: Some(callback::Variant::Nexus(nexus)), links: Vec::new() }
}

async fn callback_described(s: Scene) -> Done {
    s.start_with("a", |r| r.completion_callbacks = vec![callback("http://localhost:1/back")]).await?;
    s.describe("a").await?;
    s.work([done()]).await?;
    Ok(())
}

async fn callback_attached(s: Scene) -> Done {
    s.start_with("a", |r| r.completion_callbacks = vec![callback("http://localhost:1/back")]).await?;
    s.start_with("a", |r| {
        r.request_id += "-2";
        r.completion_callbacks = vec![callback("http://localhost:1/other")];
        r.set_workflow_id_conflict_policy(WorkflowIdConflictPolicy::UseExisting);
        r.on_conflict_options = Some(OnConflictOptions { attach_request_id: true, attach_completion_callbacks: true, attach_links: false });
    })
    .await?;
    s.describe("a").await?;
    s.terminate("a").await?;
    Ok(())
}

async fn callback_bad_url(s: Scene) -> Done {
    for url in ["", "nowhere", "ftp://localhost/x", "http://"] {
        s.start_with("a", |r| r.completion_callbacks = vec![callback(url)]).await.ok();
    }
    Ok(())
}

async fn callbacks_too_many(s: Scene) -> Done {
    s.start_with("a", |r| r.completion_callbacks = vec![callback("http://localhost:1/back"); 33]).await.ok();
    Ok(())
}
