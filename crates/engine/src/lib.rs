//! Drives the decisions of `sempre-core` over a store and a clock.

mod clock;
mod engine;
mod ids;
#[cfg(feature = "real")]
pub mod real;
mod settings;
mod stats;

pub use clock::{Clock, Spawner};
pub use engine::{Engine, HistoryReader, OpenError};
pub use settings::Settings;
pub use stats::{Counter, Stats};
