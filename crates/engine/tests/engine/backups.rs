use std::sync::atomic::Ordering;

use sempre_core::{Refusal, Span};
use sempre_engine::backup::PIECE_TAKEN_WITHIN;

use crate::support::*;

#[tokio::test]
async fn there_is_one_backup_at_a_time_and_a_reader_that_stops_loses_it() {
    let w = world().await;
    w.start("a").await;
    let first = w.engine.backup("test").await.unwrap();
    w.settle().await;
    let refused = w.engine.backup("test").await.unwrap_err();
    assert!(matches!(refused, Refusal::Overloaded("another backup is being taken, try again when it has ended")), "{refused:?}");
    w.advance(Span(PIECE_TAKEN_WITHIN.0 - Span::millis(1).0)).await;
    assert!(w.engine.backup("test").await.is_err(), "its reader still has time");
    w.advance(Span::millis(1)).await;
    let mut second = w.engine.backup("test").await.unwrap();
    let mut pieces = 0;
    while let Some(piece) = soon(second.recv()).await {
        piece.unwrap();
        pieces += 1;
    }
    assert!(pieces >= 3, "begin, rows, end: {pieces}");
    w.settle().await;
    drop(w.engine.backup("test").await.expect("the second has ended"));
    drop(first);
}

#[tokio::test]
async fn data_that_cannot_be_read_in_the_midst_ends_the_backup_with_the_reason() {
    let w = world().await;
    w.start("a").await;
    w.store.snapshot_breaks.store(true, Ordering::SeqCst);
    let mut pieces = w.engine.backup("test").await.unwrap();
    assert!(soon(pieces.recv()).await.unwrap().is_ok(), "its begin");
    assert!(soon(pieces.recv()).await.unwrap().is_ok(), "the first rows");
    let why = soon(pieces.recv()).await.unwrap().unwrap_err();
    assert!(why.contains("test"), "{why}");
    assert!(soon(pieces.recv()).await.is_none(), "nothing that looks like an end");
    w.store.snapshot_breaks.store(false, Ordering::SeqCst);
    w.settle().await;
    assert!(w.engine.backup("test").await.is_ok(), "another may begin");
}
