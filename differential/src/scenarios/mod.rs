//! The scenarios, a file per area. What must not race is ordered by polls; waits are about a second.

#![allow(deprecated, reason = "what old clients send must be answered too")]

use std::pin::Pin;

use crate::scene::{Done, Scene};

mod activities;
mod aliases;
mod attributes;
mod chains;
mod children;
mod clients;
pub mod commands;
mod deployments;
mod external;
mod limits;
mod queries;
mod refusals;
mod resets;
mod standalone;
mod starts;
mod tasks;
mod timers;
mod updates;

/// A scenario's script.
pub type Script = fn(Scene) -> Pin<Box<dyn Future<Output = Done> + Send>>;

/// The scenarios of a file, by the names of their functions.
macro_rules! scenarios {
    ($area:literal: $($name:ident),* $(,)?) => {
        pub(super) fn all() -> Vec<(&'static str, super::Script)> {
            vec![$((concat!($area, ".", stringify!($name)), |scene| Box::pin($name(scene)))),*]
        }
    };
}
use scenarios;

/// Every scenario with its name.
#[must_use]
pub fn all() -> Vec<(&'static str, Script)> {
    [
        activities::all(),
        aliases::all(),
        attributes::all(),
        chains::all(),
        children::all(),
        clients::all(),
        deployments::all(),
        external::all(),
        limits::all(),
        queries::all(),
        refusals::all(),
        resets::all(),
        standalone::all(),
        starts::all(),
        tasks::all(),
        timers::all(),
        updates::all(),
    ]
    .concat()
}
