//! Metrics as Prometheus reads them: what is counted where it happens is read here.
//!
//! Names that begin with `sempre_` are ours; the others are those of Temporal's server, so that dashboards made for it show
//! something. Every label has an end: namespaces, types and task queues after the first so many are one, called other.

mod families;
mod process;
mod text;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sempre_engine::{Engine, OpenRuns};
use tokio::time::Instant;

use self::text::Text;
use crate::router::Router;

/// Counts of open runs are read of the index; they are kept so long.
const OPEN_RUNS_KEPT: Duration = Duration::from_secs(5);

/// All that metrics are read of; cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Inner>);

struct Inner {
    engine: Engine,
    router: Router,
    /// The folder of the data, if there is one.
    folder: Option<PathBuf>,
    open_runs: Mutex<Option<(Instant, Vec<OpenRuns>)>>,
}

impl Metrics {
    pub(crate) fn new(engine: Engine, router: Router, folder: Option<PathBuf>) -> Self {
        Self(Arc::new(Inner { engine, router, folder, open_runs: Mutex::new(None) }))
    }

    /// All of them, as text.
    pub(crate) async fn text(&self) -> String {
        let mut text = Text::default();
        let Inner { engine, router, folder, .. } = &*self.0;
        families::requests(&mut text, router.requests());
        families::workflows(&mut text, engine);
        families::open_runs(&mut text, &self.open_runs().await);
        families::activities(&mut text, engine);
        families::tasks(&mut text, engine);
        families::engine(&mut text, engine);
        families::store(&mut text, engine, folder.as_deref());
        process::families(&mut text);
        text.into_string()
    }

    #[expect(clippy::disallowed_methods, reason = "what is kept grows old by the wall clock")]
    async fn open_runs(&self) -> Vec<OpenRuns> {
        let kept = || self.0.open_runs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, runs)) = &*kept()
            && read.elapsed() < OPEN_RUNS_KEPT
        {
            return runs.clone();
        }
        // While the index is made anew, nobody knows.
        let Ok(runs) = self.0.engine.open_runs().await else { return Vec::new() };
        *kept() = Some((Instant::now(), runs.clone()));
        runs
    }
}
