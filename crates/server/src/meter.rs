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
        let mut named: &[u8] = &[];
        // The last is the one that counts. What cannot be read is the codec's to refuse.
        let read = scan::strings(message, &[self.field], &mut |name| named = name);
        match (read, std::str::from_utf8(named)) {
            (Ok(()), Ok(name)) if !name.is_empty() => self.engine.count_call(name, self.class).map_err(status::from_refusal),
            _ => Ok(()),
        }
    }
}
