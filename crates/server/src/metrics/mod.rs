//! Metrics, as Prometheus reads them ([`text`]) and as they are pushed ([`crate::telemetry`]): what is counted where it
//! happens is read here.
//!
//! Names that begin with `sempre_` are ours; the others are those of Temporal's server, so that dashboards made for it show
//! something. Every label has an end: namespaces, types and task queues after the first so many are one, called other.

pub(crate) mod collected;
mod families;
mod kept;
mod process;
mod text;

use std::{path::PathBuf, sync::Arc};

use sempre_engine::{Engine, OpenRuns};

use self::{collected::Collected, kept::Kept};
use crate::router::Router;

/// All that metrics are read of; cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Inner>);

struct Inner {
    engine: Engine,
    router: Router,
    /// The folder of the data, if there is one.
    folder: Option<PathBuf>,
    /// Counts of the index, which may be slow. While it is made anew, nobody knows them.
    open_runs: Kept<Vec<OpenRuns>>,
}

impl Metrics {
    pub(crate) fn new(engine: Engine, router: Router, folder: Option<PathBuf>) -> Self {
        let asked = engine.clone();
        let open_runs = Kept::new(move || {
            let engine = asked.clone();
            Box::pin(async move { engine.open_runs().await.ok() })
        });
        Self(Arc::new(Inner { engine, router, folder, open_runs }))
    }

    /// All of them, as Prometheus reads them.
    pub(crate) async fn text(&self) -> String {
        text::text(&self.collect().await)
    }

    /// All of them.
    pub(crate) async fn collect(&self) -> Collected {
        let mut told = Collected::default();
        let Inner { engine, router, folder, open_runs } = &*self.0;
        families::requests(&mut told, router.requests());
        if let Some(access) = router.access() {
            families::access(&mut told, access);
        }
        families::workflows(&mut told, engine);
        families::room(&mut told, router.room());
        families::start_gate(&mut told, router.start_gate());
        if let Some(forward) = router.forward() {
            families::nodes(&mut told, &forward.counts, forward.reach().unreached() as u64);
        }
        families::limits(&mut told, &engine.namespace_uses());
        families::open_runs(&mut told, &open_runs.get().await.unwrap_or_default());
        families::activities(&mut told, engine);
        families::tasks(&mut told, engine);
        families::engine(&mut told, engine);
        families::node(&mut told, engine);
        families::alerts(&mut told, engine);
        families::store(&mut told, engine, folder.as_deref());
        process::families(&mut told);
        told
    }
}
