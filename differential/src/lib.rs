//! The same scripts against any server of the API; what comes back, as text without ids, times and hosts.
//!
//! A scenario ([`scenarios`]) is a function that calls a [`Scene`] as clients and workers would. Its result is a
//! transcript (each call with its answer or error) and the histories of all its workflows. The results of the reference
//! server are kept in `golden/`, one file a scenario: facts, recorded by `sempre-diff --record`, never written by hand.
//! Where Sempre differs on purpose, `known/` holds what it answers instead, with the reason on the first line.

mod facts;
pub mod messages;
pub mod scenarios;
pub mod scene;
mod tree;
pub mod unified;

use std::{path::PathBuf, sync::Arc, time::Duration};

pub use scene::{Done, Scene, Stop};
use sempre_api::v1::{
    enums::IndexedValueType,
    operatorservice::{AddSearchAttributesRequest, operator_service_client::OperatorServiceClient},
};
use tokio::{sync::Semaphore, task::JoinSet};
use tonic::transport::{Channel, Endpoint};

/// Scenarios that run at the same time; most of each is waiting.
const AT_ONCE: usize = 24;

/// A scenario's name and what came back.
#[derive(Clone, Debug)]
pub struct Played {
    /// Name of the scenario.
    pub name: &'static str,
    /// Transcript and histories.
    pub text: String,
}

/// Plays all scenarios whose name contains `filter` against the server at `address` (host:port); sorted by name.
///
/// `nonce` makes names on the server unique. Errors when the server cannot be reached.
pub async fn play(address: &str, filter: &str, nonce: &str) -> Result<Vec<Played>, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| error.to_string())?;
    let endpoint = endpoint.tcp_nodelay(true).connect_timeout(Duration::from_secs(5));
    let channel = endpoint.connect().await.map_err(|error| format!("{address} cannot be reached: {error}"))?;
    search_attributes(channel.clone()).await?;
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut set = JoinSet::new();
    for (name, script) in scenarios::all().into_iter().filter(|(name, _)| name.contains(filter)) {
        let scene = Scene::new(channel.clone(), format!("{name}-{nonce}"));
        let permits = permits.clone();
        set.spawn(async move {
            let _permit = permits.acquire().await.expect("never closed");
            if let Err(stop) = script(scene.clone()).await {
                scene.stopped(&stop);
            }
            Played { name, text: scene.result().await }
        });
    }
    let mut played = Vec::new();
    while let Some(done) = set.join_next().await {
        played.push(done.map_err(|error| format!("a scenario panicked: {error}"))?);
    }
    played.sort_by_key(|played| played.name);
    Ok(played)
}

/// The search attributes that scenarios use. Adding them twice is refused by one server and accepted by another; both is fine.
async fn search_attributes(channel: Channel) -> Result<(), String> {
    let kinds = [("DiffKeyword", IndexedValueType::Keyword), ("DiffInt", IndexedValueType::Int)];
    let request = AddSearchAttributesRequest {
        namespace: scene::NAMESPACE.into(),
        search_attributes: kinds.map(|(name, kind)| (name.to_owned(), kind as i32)).into(),
    };
    match OperatorServiceClient::new(channel).add_search_attributes(request).await {
        Ok(_) => Ok(()),
        Err(status) if status.code() == tonic::Code::AlreadyExists => Ok(()),
        Err(status) => Err(format!("search attributes cannot be added: {}", status.message())),
    }
}

/// Where a scenario's recorded facts are, in the source tree.
#[must_use]
pub fn golden_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{name}.txt"))
}

/// Where a known difference is kept: `reason: …` on the first line, then Sempre's own result.
#[must_use]
pub fn known_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("known").join(format!("{name}.txt"))
}

/// How Sempre's result stands to the reference's.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Equal.
    Equal,
    /// Different, as `known/` says it is; the reason.
    Known(String),
    /// Different; the unified diff from the reference to Sempre.
    Different(String),
    /// Equal, but `known/` says it is not: the file has to go.
    NoLonger,
}

/// Compares a result of Sempre with the reference's.
#[must_use]
pub fn judge(name: &str, sempre: &str, reference: &str) -> Verdict {
    let known = std::fs::read_to_string(known_path(name)).ok();
    let known = known.as_deref().and_then(|text| text.split_once('\n'));
    match known {
        None if sempre == reference => Verdict::Equal,
        None => Verdict::Different(unified::diff(reference, sempre)),
        Some(_) if sempre == reference => Verdict::NoLonger,
        Some((reason, text)) if text == sempre => Verdict::Known(reason.trim_start_matches("reason: ").to_owned()),
        Some((_, text)) => Verdict::Different(unified::diff(text, sempre)),
    }
}
