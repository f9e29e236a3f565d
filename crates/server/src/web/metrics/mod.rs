//! Metrics as Prometheus reads them: what is counted where it happens is read here.
//!
//! Names that begin with `sempre_` are ours; the others are those of Temporal's server, so that dashboards made for it show
//! something. Every label has an end: namespaces, types and task queues after the first so many are one, called other.

mod families;
mod kept;
mod process;
mod text;

use std::{path::PathBuf, sync::Arc};

use sempre_engine::{Engine, OpenRuns};

use self::{kept::Kept, text::Text};
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

    /// All of them, as text.
    pub(crate) async fn text(&self) -> String {
        let mut text = Text::default();
        let Inner { engine, router, folder, open_runs } = &*self.0;
        families::requests(&mut text, router.requests());
        if let Some(access) = router.access() {
            families::access(&mut text, access);
        }
        families::workflows(&mut text, engine);
        families::room(&mut text, router.room());
        families::limits(&mut text, &engine.namespace_uses());
        families::open_runs(&mut text, &open_runs.get().await.unwrap_or_default());
        families::activities(&mut text, engine);
        families::tasks(&mut text, engine);
        families::engine(&mut text, engine);
        families::alerts(&mut text, engine);
        families::store(&mut text, engine, folder.as_deref());
        process::families(&mut text);
        text.into_string()
    }
}
