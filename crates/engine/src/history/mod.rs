//! History as it is read: slices of stored frames, page tokens, long polls.

pub(crate) mod read;
pub(crate) mod slice;
pub(crate) mod tail;
pub(crate) mod token;
