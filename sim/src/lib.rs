//! A simulated world around the engine that ships.
//!
//! [`world::run`] makes a whole life from one seed: a server on a virtual clock, a seeded executor and a disk with faults, clients
//! and workers on a network with faults, and, at the end, every history held against every invariant. The same seed gives the same
//! bytes; nothing here looks at the real time or at real chance.

mod acts;
mod attempts;
pub mod chaos;
pub mod client;
pub mod disk;
pub mod ending;
pub mod executor;
pub mod handlers;
mod index;
pub mod invariants;
pub mod lists;
#[cfg(feature = "planted")]
pub mod mutants;
pub mod network;
mod nodes;
pub mod oracle;
pub mod plan;
pub mod random;
pub mod script;
pub mod shrink;
pub mod time;
pub mod trace;
pub mod worker;
pub mod world;

pub use plan::Plan;
pub use world::{Numbers, Outcome, run};
