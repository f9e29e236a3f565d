//! Who waits before the gate: a line for each namespace, and the lines take turns.
//!
//! | | |
//! |---|---|
//! | a start waits | at the end of the line of its namespace |
//! | there is a turn | for the first of the line that comes, by the order of the namespaces' ids, after the one that had the last turn; after the last line the first |
//! | more bytes wait than may | the newest of the line that holds most leave, until it is so no more |
//!
//! So a namespace that sends very many starts makes its own line long: the others wait for one of its starts between two of theirs, and
//! what is too much leaves the line that is too long. Knows no time and no turns.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
};

use sempre_core::NamespaceId;

/// Whose line it is; `None`: the starts that name no namespace there is.
pub(crate) type Whose = Option<NamespaceId>;

/// All lines, of whatever stands for a start.
#[derive(Debug)]
pub(super) struct Lines<T> {
    /// None of them is empty.
    lines: BTreeMap<Whose, Line<T>>,
    /// Whose the last turn was.
    last: Option<Whose>,
    /// What the starts of all lines hold.
    bytes: u64,
    waiting: usize,
    /// Number of the start that comes next.
    next: u64,
}

#[derive(Debug)]
struct Line<T> {
    /// By number, so in the order in which they came; with the bytes that each holds.
    starts: BTreeMap<u64, (T, u64)>,
    bytes: u64,
}

impl<T> Default for Lines<T> {
    fn default() -> Self {
        Self { lines: BTreeMap::new(), last: None, bytes: 0, waiting: 0, next: 0 }
    }
}

impl<T> Lines<T> {
    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// A start that holds so many bytes goes to the end of its line. Returns its number there.
    pub(super) fn join(&mut self, whose: Whose, start: T, bytes: u64) -> u64 {
        let number = self.next;
        self.next += 1;
        let line = self.lines.entry(whose).or_insert_with(|| Line { starts: BTreeMap::new(), bytes: 0 });
        line.starts.insert(number, (start, bytes));
        line.bytes += bytes;
        self.bytes += bytes;
        self.waiting += 1;
        number
    }

    /// The start whose turn it is leaves its line.
    pub(super) fn next(&mut self) -> Option<T> {
        let after = self.last.and_then(|last| self.lines.range((Excluded(last), Unbounded)).next());
        let (whose, line) = after.or_else(|| self.lines.first_key_value())?;
        let (whose, number) = (*whose, *line.starts.first_key_value()?.0);
        self.last = Some(whose);
        self.leave(whose, number)
    }

    /// A start leaves, if it is still there.
    pub(super) fn leave(&mut self, whose: Whose, number: u64) -> Option<T> {
        let line = self.lines.get_mut(&whose)?;
        let (start, bytes) = line.starts.remove(&number)?;
        line.bytes -= bytes;
        if line.starts.is_empty() {
            self.lines.remove(&whose);
        }
        self.bytes -= bytes;
        self.waiting -= 1;
        Some(start)
    }

    /// Those leave that are too many for so many bytes.
    pub(super) fn shed(&mut self, bytes_max: u64) -> Vec<T> {
        let mut gone = Vec::new();
        while self.bytes > bytes_max {
            let longest = self.lines.iter().max_by_key(|(_, line)| line.bytes);
            let newest = longest.and_then(|(whose, line)| Some((*whose, *line.starts.last_key_value()?.0)));
            let Some(start) = newest.and_then(|(whose, number)| self.leave(whose, number)) else { break };
            gone.push(start);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use sempre_core::ids::Uuid;

    use super::*;

    fn namespace(n: u8) -> Whose {
        Some(NamespaceId(Uuid([n; 16])))
    }

    /// Starts in their order: the namespace, and which of its starts.
    fn turns(lines: &mut Lines<(u8, u32)>, count: usize) -> Vec<(u8, u32)> {
        (0..count).map_while(|_| lines.next()).collect()
    }

    #[test]
    fn lines_take_turns_however_long_they_are() {
        let mut lines = Lines::default();
        for n in 0..1000 {
            lines.join(namespace(2), (2, n), 1);
        }
        assert_eq!(turns(&mut lines, 2), [(2, 0), (2, 1)]);
        // Who comes now is the next but one at the latest, whatever waits there.
        for other in [1, 3] {
            for n in 0..2 {
                lines.join(namespace(other), (other, n), 1);
            }
        }
        lines.join(None, (0, 0), 1);
        assert_eq!(turns(&mut lines, 9), [(3, 0), (0, 0), (1, 0), (2, 2), (3, 1), (1, 1), (2, 3), (2, 4), (2, 5)]);
        assert_eq!((lines.waiting(), lines.bytes), (994, 994));
    }

    #[test]
    fn who_leaves_is_counted_no_more_and_has_no_turn() {
        let mut lines = Lines::default();
        let first = lines.join(namespace(1), (1, 0), 5);
        lines.join(namespace(1), (1, 1), 7);
        let alone = lines.join(namespace(2), (2, 0), 11);
        assert_eq!(lines.leave(namespace(1), first), Some((1, 0)));
        assert_eq!(lines.leave(namespace(1), first), None);
        assert_eq!(lines.leave(namespace(2), alone), Some((2, 0)));
        assert_eq!(lines.leave(namespace(2), alone), None);
        assert_eq!((lines.waiting(), lines.bytes, lines.lines.len()), (1, 7, 1));
        assert_eq!(turns(&mut lines, 3), [(1, 1)]);
        assert_eq!((lines.waiting(), lines.bytes, lines.lines.len()), (0, 0, 0));
    }

    #[test]
    fn what_is_too_much_leaves_the_line_that_holds_most() {
        let mut lines = Lines::default();
        for n in 0..10 {
            lines.join(namespace(1), (1, n), 10);
        }
        lines.join(namespace(2), (2, 0), 30);
        assert_eq!(lines.shed(130), []);
        // Not the one that came last, but the newest of whom there is too much.
        lines.join(namespace(2), (2, 1), 30);
        assert_eq!(lines.shed(130), [(1, 9), (1, 8), (1, 7)]);
        // One that is larger than all that may wait goes itself.
        lines.join(namespace(3), (3, 0), 500);
        assert_eq!(lines.shed(130), [(3, 0)]);
        assert_eq!((lines.waiting(), lines.bytes), (9, 130));
        assert_eq!(lines.shed(0).len(), 9);
        assert_eq!((lines.waiting(), lines.lines.len()), (0, 0));
    }
}
