//! What happened, as a hash, and as text when somebody wants to read it.

use std::{
    fmt::{self, Write as _},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// See the module.
#[derive(Debug)]
pub struct Trace {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    hash: u64,
    lines: u64,
    print: bool,
    text: String,
}

impl Trace {
    /// A trace that prints each line to standard output, or none.
    #[must_use]
    pub fn new(print: bool) -> Self {
        Self { state: Mutex::new(State { hash: 0xcbf2_9ce4_8422_2325, lines: 0, print, text: String::new() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers that are not worth a line.
    pub fn numbers(&self, numbers: &[u64]) {
        let mut state = self.state();
        for number in numbers {
            state.hash = (state.hash ^ number).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// A line.
    pub fn line(&self, now: i64, line: fmt::Arguments<'_>) {
        let mut state = self.state();
        let mut text = std::mem::take(&mut state.text);
        text.clear();
        // Writing to a string cannot fail.
        let _ = write!(text, "{:>12}.{:06} {line}", now / 1_000_000_000, now / 1000 % 1_000_000);
        for byte in text.bytes() {
            state.hash = (state.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        state.lines += 1;
        if state.print {
            println!("{text}");
        }
        state.text = text;
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.state().hash
    }

    /// Lines so far.
    pub fn lines(&self) -> u64 {
        self.state().lines
    }
}
