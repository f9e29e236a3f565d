//! Names of things: namespaces, runs, slots. Ids are made outside and handed in.

use alloc::{format, string::String};
use core::fmt;

/// Number of fixed slices of the key space (DESIGN: slots and shards). Never changes: it is in every key.
pub const SLOT_COUNT: u16 = 1024;

/// A UUID as 16 bytes, printed in the usual form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// Parses the 36-character form. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 36 {
            return None;
        }
        let mut bytes = [0u8; 16];
        let mut digits = 0;
        for (at, &c) in text.iter().enumerate() {
            if matches!(at, 8 | 13 | 18 | 23) {
                if c != b'-' {
                    return None;
                }
                continue;
            }
            let value = (c as char).to_digit(16)? as u8;
            bytes[digits / 2] = bytes[digits / 2] << 4 | value;
            digits += 1;
        }
        Some(Self(bytes))
    }

    /// A UUIDv7 from a time in milliseconds and 10 random bytes.
    pub fn v7(unix_ms: u64, random: [u8; 10]) -> Self {
        let mut b = [0u8; 16];
        b[..6].copy_from_slice(&unix_ms.to_be_bytes()[2..]);
        b[6..].copy_from_slice(&random);
        b[6] = b[6] & 0x0f | 0x70;
        b[8] = b[8] & 0x3f | 0x80;
        Self(b)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A namespace's id, made when it is registered; its name may be reused after deletion, the id never.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct NamespaceId(pub Uuid);

/// A run's id, made by the server (UUIDv7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct RunId(pub Uuid);

impl fmt::Display for NamespaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl RunId {
    /// Parses the textual form used in the API.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::parse(text).map(Self)
    }

    /// When it was made, by the clock of who made it, in milliseconds since 1970.
    pub fn unix_ms(self) -> u64 {
        let mut ms = [0; 8];
        ms[2..].copy_from_slice(&self.0.0[..6]);
        u64::from_be_bytes(ms)
    }
}

/// One of [`SLOT_COUNT`] slices of runs: what keys begin with and what shards own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SlotId(pub u16);

impl SlotId {
    /// The slot that holds every run of a workflow.
    pub fn of(namespace: NamespaceId, workflow_id: &str) -> Self {
        let mut hash = Fnv::default();
        hash.write(&namespace.0.0);
        hash.write(workflow_id.as_bytes());
        Self::of_hash(hash.finish())
    }

    pub(crate) fn of_hash(hash: u64) -> Self {
        Self((hash % u64::from(SLOT_COUNT)) as u16)
    }
}

/// What the user calls a workflow: its namespace and workflow id. All its runs live in one slot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct WorkflowKey {
    /// The namespace.
    pub namespace: NamespaceId,
    /// The id the user chose.
    pub workflow_id: String,
}

impl WorkflowKey {
    /// The slot that holds every run of this workflow.
    pub fn slot(&self) -> SlotId {
        SlotId::of(self.namespace, &self.workflow_id)
    }
}

/// One run.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct RunKey {
    /// The workflow it belongs to.
    pub workflow: WorkflowKey,
    /// The run.
    pub run: RunId,
}

impl RunKey {
    /// As the API writes it.
    pub fn to_api(&self) -> sempre_api::v1::common::WorkflowExecution {
        sempre_api::v1::common::WorkflowExecution { workflow_id: self.workflow.workflow_id.clone(), run_id: format!("{}", self.run) }
    }
}

/// Where new ids come from: seeded by the engine, so that a simulation repeats.
pub trait IdSource {
    /// 16 fresh random bytes.
    fn random(&mut self) -> [u8; 16];

    /// A fresh run id, ordered by time.
    fn run_id(&mut self, now: crate::Timestamp) -> RunId {
        let mut tail = [0u8; 10];
        tail.copy_from_slice(&self.random()[..10]);
        RunId(Uuid::v7(now.millis().max(0) as u64, tail))
    }

    /// A fresh UUIDv4 in text form, for request ids.
    fn uuid(&mut self) -> String {
        let mut bytes = self.random();
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        format!("{}", Uuid(bytes))
    }
}

/// FNV-1a with a final mix: small, fixed for ever (slots and queue keys are on disk).
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        // A separator, so that ("ab", "c") and ("a", "bc") differ.
        self.0 = (self.0 ^ 0xff).wrapping_mul(0x0000_0100_0000_01b3);
    }

    pub(crate) fn finish(&self) -> u64 {
        let mut x = self.0;
        x = (x ^ x >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        x = (x ^ x >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        x ^ x >> 33
    }
}
