//! The runs that a job's query selects.

use std::sync::Arc;

use sempre_core::{
    Refusal, RunId,
    ids::Uuid,
    visibility::{Record, parse},
};

use super::{
    Place,
    check::{Acts, Target},
};
use crate::{
    Engine,
    visibility::{Position, index::run_of},
};

impl Engine {
    /// How many runs a query selects. `asked` is the query as the client wrote it: its faults are told, not those of what
    /// was added to it.
    pub(crate) async fn select_count(&self, namespace: &str, acts: Acts, asked: &str, selection: &str) -> Result<i64, Refusal> {
        let attributes = self.namespace(namespace)?;
        for query in [asked, selection] {
            parse(query, &*attributes, acts.options())
                .map_err(|error| Refusal::invalid(format!("invalid visibility query: {}", error.detail())))?;
        }
        Ok(i64::try_from(self.count_selected(namespace, selection, acts.options()).await?).unwrap_or(i64::MAX))
    }

    /// Some of them, and the place of the next ones.
    pub(crate) async fn select_page(
        &self,
        namespace: &str,
        acts: Acts,
        selection: &str,
        after: Option<Place>,
        limit: usize,
    ) -> Result<(Vec<Target>, Option<Place>), Refusal> {
        let runs = self.selected(namespace, selection, acts.options(), after.as_ref().map(position), limit).await?;
        let target = |record: &Arc<Record>| Target {
            workflow_id: record.workflow_id.clone(),
            run_id: run_of(record).to_string(),
            ..Target::default()
        };
        Ok((runs.records.iter().map(target).collect(), runs.next.as_ref().map(to_place)))
    }
}

fn position(place: &Place) -> Position {
    let mut run = [0; 16];
    run[..8].copy_from_slice(&place.run_high.to_be_bytes());
    run[8..].copy_from_slice(&place.run_low.to_be_bytes());
    Position { close: place.close, start: place.start, run: RunId(Uuid(run)) }
}

fn to_place(position: &Position) -> Place {
    let (high, low) = position.run.0.0.split_at(8);
    let number = |part: &[u8]| part.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    Place { index: 0, close: position.close, start: position.start, run_high: number(high), run_low: number(low) }
}
