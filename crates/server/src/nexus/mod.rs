//! What is Nexus' own on the wire: failures in its form, and in the form of workers of yesterday.

pub(crate) mod answers;
pub(crate) mod failure;
