//! Which pending activities an operator means.

use alloc::{string::String, vec::Vec};

use super::pending;
use crate::{Refusal, state::State};

/// None is pending under that id or type.
pub(super) const NOT_FOUND: &str = "Can't find pending activity with such ID. Invalid activityID or activity already completed";

/// Which pending activities a call means.
#[derive(Clone, Debug, PartialEq)]
pub enum ActivitySelector {
    /// The one with this id.
    Id(String),
    /// All of this type.
    Type(String),
    /// All.
    All,
}

/// Scheduled event ids of those meant, in order. NOT_FOUND if there is none.
pub(super) fn select(state: &State, which: &ActivitySelector) -> Result<Vec<i64>, Refusal> {
    let ids: Vec<i64> = match which {
        ActivitySelector::Id(id) => state.derived.activity_ids.get(id).copied().into_iter().collect(),
        ActivitySelector::Type(name) => {
            let of_type = |id: &i64| {
                let info = state.derived.activities.get(id);
                info.is_some_and(|info| info.scheduled().activity_type.as_ref().is_some_and(|t| t.name == *name))
            };
            state.derived.activities.keys().copied().filter(of_type).collect()
        }
        ActivitySelector::All => state.derived.activities.keys().copied().collect(),
    };
    let ids: Vec<i64> = ids.into_iter().filter(|id| pending(state, *id).is_some()).collect();
    if ids.is_empty() { Err(Refusal::not_found(NOT_FOUND)) } else { Ok(ids) }
}
