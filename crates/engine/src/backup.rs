//! The whole data as a stream of bytes, while the engine goes on.
//!
//! A snapshot keeps the store from tidying up: who stops reading loses it, and there is one at a time.

use bytes::Bytes;
use futures::{FutureExt, select_biased};
use sempre_core::{Refusal, Span};
use sempre_store::backup::{Head, Writer};
use tokio::sync::mpsc;

use crate::Engine;

/// How long the reader may take for one piece.
pub const PIECE_TAKEN_WITHIN: Span = Span::seconds(60);
/// Pieces made ahead of the reader.
const PIECES_AHEAD: usize = 2;

/// Pieces of a backup in order; it is whole when its last frame has come (see [`sempre_store::backup`]). An `Err` says in
/// plain words why no more comes.
pub type Pieces = mpsc::Receiver<Result<Bytes, String>>;

impl Engine {
    /// Begins a backup of everything that was acknowledged before this call. `program` is named in it.
    pub async fn backup(&self, program: &str) -> Result<Pieces, Refusal> {
        let Ok(turn) = self.shared.backup.clone().try_acquire_owned() else {
            return Err(Refusal::Overloaded("another backup is being taken, try again when it has ended"));
        };
        let snapshot = self.shared.store.snapshot().await.map_err(|error| {
            tracing::warn!(%error, "a backup could not begin");
            Refusal::Unavailable("a snapshot of the data could not be taken".into())
        })?;
        let clock = self.shared.wall.clone();
        let head = Head { taken_ms: clock.now().millis(), program: program.to_owned() };
        let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
        let produce = async move {
            let _turn = turn;
            let mut writer = Writer::new(snapshot, head);
            loop {
                let deadline = clock.now() + PIECE_TAKEN_WITHIN;
                let slot = select_biased! {
                    slot = sender.reserve().fuse() => slot,
                    () = clock.sleep_until(deadline).fuse() => {
                        tracing::warn!("a backup was given up: nobody took its next piece");
                        return;
                    }
                };
                // The reader has gone away.
                let Ok(slot) = slot else { return };
                match writer.next_piece() {
                    Ok(Some(piece)) => slot.send(Ok(piece)),
                    Ok(None) => {
                        let totals = writer.totals();
                        tracing::info!(rows = totals.rows, bytes = totals.bytes, "a backup was taken");
                        return;
                    }
                    Err(error) => {
                        tracing::error!(%error, "a backup could not be read to its end");
                        return slot.send(Err(error.to_string()));
                    }
                }
            }
        };
        self.shared.spawner.spawn("sempre backup", produce.boxed());
        Ok(pieces)
    }
}
