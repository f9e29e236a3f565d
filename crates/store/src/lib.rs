//! Ordered bytes, committed atomically and durably under a fencing token.
