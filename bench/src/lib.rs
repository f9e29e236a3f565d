//! What the load generator and the crash test share: a server process, and the API by hand.

pub mod api;
pub mod meter;
pub mod process;
pub mod recording;
