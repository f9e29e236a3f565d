//! Time zones of schedules, with the system's database or the bundled one.

use jiff::tz::TimeZone;
use sempre_core::schedule::{Stretch, Zone, Zones};

/// The engine's [`Zones`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Database;

impl Zones for Database {
    fn named(&self, name: &str) -> Option<Box<dyn Zone>> {
        Some(Box::new(Known(TimeZone::get(name).ok()?)))
    }

    fn read(&self, data: &[u8]) -> Option<Box<dyn Zone>> {
        Some(Box::new(Known(TimeZone::tzif("of the schedule", data).ok()?)))
    }
}

struct Known(TimeZone);

impl Zone for Known {
    fn stretch(&self, at: i64) -> Stretch {
        // Beyond what the library knows of there is UTC.
        let Ok(at) = jiff::Timestamp::from_second(at) else { return Stretch { offset: 0, until: i64::MAX } };
        let offset = i64::from(self.0.to_offset(at).seconds());
        let until = self.0.following(at).next().map_or(i64::MAX, |next| next.timestamp().as_second());
        Stretch { offset, until }
    }
}

#[cfg(test)]
mod tests;
