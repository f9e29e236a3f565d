//! Counts a call against the rates of the namespace that its message names, before anything decodes it.

use sempre_engine::{CallClass, Engine};
use tonic::Status;

use crate::{access::scan, status};

/// See the module.
pub(crate) struct Meter {
    engine: Engine,
    class: CallClass,
    /// Number of the field that names the namespace.
    field: u32,
    counted: bool,
}

impl Meter {
    pub(crate) fn new(engine: Engine, class: CallClass, field: u32) -> Self {
        Self { engine, class, field, counted: false }
    }

    /// Refuses a message (without the prefix of its frame) that is one too many.
    pub(crate) fn message(&mut self, message: &[u8]) -> Result<(), Status> {
        // A call is one, whatever it sends.
        if std::mem::replace(&mut self.counted, true) {
            return Ok(());
        }
        // What cannot be read is the codec's to refuse.
        match scan::last(message, &[self.field]).map(std::str::from_utf8) {
            Ok(Ok(name)) if !name.is_empty() => self.engine.count_call(name, self.class).map_err(status::from_refusal),
            _ => Ok(()),
        }
    }
}
