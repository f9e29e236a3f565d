//! The difference of two texts, line by line, in the usual notation.

use std::fmt::Write;

/// Lines of context around a change.
const CONTEXT: usize = 3;

/// What must be taken away (`-`) from `old` and added (`+`) to give `new`; empty if nothing.
#[must_use]
pub fn diff(old: &str, new: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    // Longest common subsequences of all suffixes; scenarios have some hundred lines.
    let mut common = vec![vec![0u32; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] = if a[i] == b[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            lines.push((' ', a[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < a.len() && (j == b.len() || common[i + 1][j] >= common[i][j + 1]) {
            lines.push(('-', a[i]));
            i += 1;
        } else {
            lines.push(('+', b[j]));
            j += 1;
        }
    }
    let near = |at: usize| lines[at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(lines.len())].iter().any(|(sign, _)| *sign != ' ');
    let mut text = String::new();
    let mut gap = false;
    for (at, (sign, line)) in lines.iter().enumerate() {
        if near(at) {
            if std::mem::take(&mut gap) && !text.is_empty() {
                text.push_str("...\n");
            }
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{sign}{line}");
        } else {
            gap = true;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::diff;

    #[test]
    fn changes_with_their_context() {
        assert_eq!(diff("a\nb\n", "a\nb\n"), "");
        assert_eq!(diff("1\n2\n3\n4\n5\nx\n6\n", "1\n2\n3\n4\n5\ny\n6\n"), " 3\n 4\n 5\n-x\n+y\n 6\n");
        assert_eq!(diff("", "a\n"), "+a\n");
    }
}
