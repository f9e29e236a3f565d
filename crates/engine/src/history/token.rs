//! Page tokens of history reads: opaque to clients, checked on the way back.

use bytes::Bytes;
use prost::Message;
use sempre_core::{Refusal, RunId, ids::Uuid};

/// Tells our token from other bytes that happen to decode.
const MAGIC: u32 = 0x5e41_7401;

/// Where a history read goes on.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HistoryToken {
    #[prost(fixed32, tag = "1")]
    magic: u32,
    #[prost(bytes = "bytes", tag = "2")]
    run_id: Bytes,
    /// The next event to give (reverse reads: the highest id not given yet).
    #[prost(int64, tag = "3")]
    pub(crate) next: i64,
    /// Set for tokens of task polls: the events end here, and `virtual_frames` follow.
    #[prost(int64, tag = "4")]
    pub(crate) task_end: i64,
    /// Frames of a transient task's events.
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) virtual_frames: Bytes,
}

impl HistoryToken {
    pub(crate) fn new(run: RunId, next: i64) -> Self {
        Self { magic: MAGIC, run_id: Bytes::copy_from_slice(&run.0.0), next, task_end: 0, virtual_frames: Bytes::new() }
    }

    pub(crate) fn of_task(run: RunId, next: i64, end: i64, virtual_frames: Bytes) -> Self {
        Self { task_end: end, virtual_frames, ..Self::new(run, next) }
    }

    /// The same read, further on.
    pub(crate) fn at(&self, next: i64) -> Self {
        Self { next, ..self.clone() }
    }

    pub(crate) fn run(&self) -> RunId {
        RunId(Uuid(self.run_id.as_ref().try_into().unwrap_or_default()))
    }

    pub(crate) fn to_bytes(&self) -> Bytes {
        self.encode_to_vec().into()
    }

    /// `None` for an empty token.
    pub(crate) fn parse(bytes: &Bytes) -> Result<Option<Self>, Refusal> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let token = Self::decode(bytes.clone()).ok().filter(|t| t.magic == MAGIC && t.run_id.len() == 16 && t.next >= 1);
        token.map(Some).ok_or_else(|| Refusal::invalid("Invalid NextPageToken."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ours_parse() {
        let token = HistoryToken::of_task(RunId(Uuid([7; 16])), 3, 9, Bytes::from_static(b"x"));
        assert_eq!(HistoryToken::parse(&token.to_bytes()), Ok(Some(token)));
        assert_eq!(HistoryToken::parse(&Bytes::new()), Ok(None));
        assert_eq!(HistoryToken::parse(&Bytes::from_static(b"junk")), Err(Refusal::invalid("Invalid NextPageToken.")));
        assert!(HistoryToken::parse(&Bytes::from_static(b"\x18\x03")).is_err());
        for next in [i64::MIN, -1, 0] {
            assert!(HistoryToken::parse(&HistoryToken::new(RunId(Uuid([7; 16])), next).to_bytes()).is_err());
        }
    }
}
