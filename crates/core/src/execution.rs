//! One run's state machine: inputs in, transitions out.
