//! Any bytes as the tokens that calls give out and get back (feature `fuzzing`).

use bytes::Bytes;
use sempre_core::{Refusal, RunId, ids::Uuid};

use super::{alone, flow, lists, schedules, workers};
use crate::{history::token::HistoryToken, matching::queries::QueryToken, nexus::calls::NexusToken};

/// What is taken reads the same when it is given out again; what is not is refused as the caller's fault.
pub(crate) fn tokens(bytes: &Bytes) {
    fn refused<T>(read: Result<T, Refusal>) -> Option<T> {
        read.map_err(|refusal| assert!(matches!(refusal, Refusal::InvalidArgument(_)), "{refusal:?}")).ok()
    }
    if let Some(Some(token)) = refused(HistoryToken::parse(bytes)) {
        let _ = token.run();
        assert_eq!(HistoryToken::parse(&token.to_bytes()), Ok(Some(token)));
    }
    if let Some(token) = QueryToken::parse(bytes) {
        let _ = token.namespace();
        assert_eq!(QueryToken::parse(&token.to_bytes()), Some(token));
    }
    if let Some(token) = NexusToken::parse(bytes) {
        let _ = token.namespace();
        assert_eq!(NexusToken::parse(&token.to_bytes()), Some(token));
    }
    if let Some(Some(position)) = refused(lists::position(bytes)) {
        assert_eq!(lists::position(&lists::token(&position)).ok().flatten(), Some(position));
    }
    let _ = refused(workers::parse_token(bytes));
    let _ = refused(schedules::read_token(bytes));
    let _ = flow::page_of(bytes);
    let run = bytes.get(2..18).and_then(|run| run.try_into().ok()).unwrap_or_default();
    let _ = refused(alone::LongPollToken::parse(bytes.clone(), RunId(Uuid(run))));
}
