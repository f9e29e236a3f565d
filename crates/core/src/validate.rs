//! Checks of requests that need no state (spec 01 §3.1, 03 §2, 09).
