//! What is too large, too many, or may not be called.

use std::collections::BTreeMap;

use sempre_api::v1::common::{Callback, callback};

use super::{commands::*, scenarios};
use crate::scene::{Done, Scene};

scenarios!("limits":
    marker_too_large,
    callback_bad_url, callbacks_too_many,
);

fn large_marker() -> sempre_api::v1::command::Command {
    use sempre_api::v1::command::{Command, RecordMarkerCommandAttributes, command::Attributes};
    let details: BTreeMap<_, _> =
        crate::scene::payloads(&"x".repeat(1_500_000)).map(|payloads| ("d".to_string(), payloads)).into_iter().collect();
    let attributes = RecordMarkerCommandAttributes { marker_name: "large".into(), details, ..Default::default() };
    Command { attributes: Some(Attributes::RecordMarkerCommandAttributes(attributes)), ..marker("large") }
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
