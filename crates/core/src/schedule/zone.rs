//! Time zones, as far as calendars need them; the engine answers with a library.

use alloc::boxed::Box;

/// A stretch of time with one offset from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Seconds to add to UTC for local time.
    pub offset: i64,
    /// The first second, since 1970, that is not of it any more; `i64::MAX` if it never ends.
    pub until: i64,
}

/// One time zone.
pub trait Zone: Send + Sync {
    /// The stretch that a second since 1970 is in.
    fn stretch(&self, at: i64) -> Stretch;
}

/// Where zones are found.
pub trait Zones {
    /// A zone of the IANA database. `None`: unknown.
    fn named(&self, name: &str) -> Option<Box<dyn Zone>>;

    /// A zone out of the bytes of a TZif file. `None`: it is not one.
    fn read(&self, data: &[u8]) -> Option<Box<dyn Zone>>;
}

/// UTC.
pub struct Utc;

impl Zone for Utc {
    fn stretch(&self, _: i64) -> Stretch {
        Stretch { offset: 0, until: i64::MAX }
    }
}
