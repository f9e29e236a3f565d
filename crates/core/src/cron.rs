//! The one question core asks about cron expressions; the engine answers it with a library.

use crate::Timestamp;

/// Cron arithmetic (spec 01 §9).
pub trait CronTable {
    /// The first tick of `spec` strictly after `after`; `Ok(None)` when there is none any more,
    /// `Err` when the text does not parse (5 fields, `@every`, `@hourly` …, `CRON_TZ=`/`TZ=` prefix).
    fn next(&self, spec: &str, after: Timestamp) -> Result<Option<Timestamp>, InvalidCron>;
}

/// The expression does not parse.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidCron;
