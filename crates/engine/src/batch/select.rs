//! The runs that a job's query selects.

use sempre_core::Refusal;

use super::{Place, check::Target};
use crate::Engine;

fn none<T>() -> Result<T, Refusal> {
    Err(Refusal::Unimplemented("batch operations by query are not built yet; list the executions".into()))
}

impl Engine {
    /// How many runs a query selects. `asked` is the query as the client wrote it: its faults are told, not those of what
    /// was added to it.
    pub(crate) async fn select_count(&self, _namespace: &str, _asked: &str, _selection: &str) -> Result<i64, Refusal> {
        none()
    }

    /// Some of them, and the place of the next ones.
    pub(crate) async fn select_page(
        &self,
        _namespace: &str,
        _selection: &str,
        _after: Option<Place>,
        _limit: usize,
    ) -> Result<(Vec<Target>, Option<Place>), Refusal> {
        none()
    }
}
