//! The token by which a finished operation finds its caller: header `temporal-callback-token` of its callback.
//!
//! Opaque to all but this server. It proves nothing by itself: what it names must be pending, with that request id.

use alloc::string::String;
use core::fmt::Write;

use bytes::Bytes;
use prost::Message;

use crate::{NamespaceId, RunId, RunKey, WorkflowKey, ids::Uuid};

/// Header of a callback that carries it, in lower case.
pub const CALLBACK_TOKEN_HEADER: &str = "temporal-callback-token";

/// Tells it from junk.
const MAGIC: u32 = 0x5e41_7403;

/// See the module.
#[derive(Clone, PartialEq, Message)]
pub struct CompletionToken {
    #[prost(fixed32, tag = "1")]
    magic: u32,
    #[prost(bytes = "bytes", tag = "2")]
    namespace_id: Bytes,
    /// Workflow id of the caller.
    #[prost(string, tag = "3")]
    pub workflow_id: String,
    #[prost(bytes = "bytes", tag = "4")]
    run_id: Bytes,
    /// The operation's Scheduled event.
    #[prost(int64, tag = "5")]
    pub scheduled_event_id: i64,
    /// Request id of that event.
    #[prost(string, tag = "6")]
    pub request_id: String,
}

impl CompletionToken {
    /// For an operation of this run.
    pub fn new(run: &RunKey, scheduled_event_id: i64, request_id: String) -> Self {
        Self {
            magic: MAGIC,
            namespace_id: Bytes::copy_from_slice(&run.workflow.namespace.0.0),
            workflow_id: run.workflow.workflow_id.clone(),
            run_id: Bytes::copy_from_slice(&run.run.0.0),
            scheduled_event_id,
            request_id,
        }
    }

    /// From its text; `None` when it is none of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let pair = |pair: &[u8]| Some((digit(*pair.first()?)? * 16 + digit(*pair.get(1)?)?) as u8);
        let decoded: Option<alloc::vec::Vec<u8>> = bytes.chunks(2).map(pair).collect();
        let token = Self::decode(Bytes::from(decoded?)).ok()?;
        (token.magic == MAGIC && token.namespace_id.len() == 16 && token.run_id.len() == 16).then_some(token)
    }

    /// The run that waits.
    pub fn run(&self) -> RunKey {
        let uuid = |bytes: &Bytes| Uuid(bytes.as_ref().try_into().unwrap_or_default());
        let workflow = WorkflowKey { namespace: NamespaceId(uuid(&self.namespace_id)), workflow_id: self.workflow_id.clone() };
        RunKey { workflow, run: RunId(uuid(&self.run_id)) }
    }
}

/// As text: hexadecimal.
impl core::fmt::Display for CompletionToken {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut text = String::new();
        for byte in self.encode_to_vec() {
            write!(text, "{byte:02x}")?;
        }
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_token_reads_back_and_junk_does_not() {
        let workflow = WorkflowKey { namespace: NamespaceId(Uuid([1; 16])), workflow_id: "wörk/1".into() };
        let run = RunKey { workflow, run: RunId(Uuid([2; 16])) };
        let token = CompletionToken::new(&run, 5, "request".into());
        let read = CompletionToken::parse(&token.to_string()).expect("its own text");
        assert_eq!((read.run(), read.scheduled_event_id, read.request_id.as_str()), (run, 5, "request"));
        for junk in ["", "0", "zz", "00", "{\"v\":1}", "ü"] {
            assert_eq!(CompletionToken::parse(junk), None, "{junk}");
        }
    }
}
