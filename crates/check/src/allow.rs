//! `// sempre: allow(clock) the reason`: on the line itself, or on lines of its own above it.

use std::collections::BTreeMap;

use crate::Kind;

/// One comment.
#[derive(Clone, Debug)]
pub(crate) struct Allow {
    /// The line of the comment.
    pub(crate) line: usize,
    pub(crate) kinds: Vec<Kind>,
}

/// The allow comments of a file, by the line they speak of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allows {
    pub(crate) by_line: BTreeMap<usize, Vec<Allow>>,
    /// Lines of comments that cannot be understood, and why.
    pub(crate) wrong: Vec<(usize, String)>,
}

const MARK: &str = "sempre: allow";

impl Allows {
    pub(crate) fn read(text: &str) -> Self {
        let mut allows = Self::default();
        // Comments that stand alone wait for the line below.
        let mut waiting: Vec<Allow> = Vec::new();
        for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
            let trimmed = line.trim_start();
            // Within a text there are as many quotes before as open it.
            let begins = line.match_indices("//").find(|(at, _)| line[..*at].matches('"').count() % 2 == 0);
            let comment = begins.map(|(at, _)| &line[at + 2..]).filter(|comment| comment.trim_start().starts_with(MARK));
            let allow = comment.and_then(|comment| match parse(comment.trim_start()) {
                Ok(kinds) => Some(Allow { line: number, kinds }),
                Err(why) => {
                    allows.wrong.push((number, why));
                    None
                }
            });
            if trimmed.starts_with("//") || trimmed.starts_with("#[") || trimmed.is_empty() {
                waiting.extend(allow);
                continue;
            }
            let here: Vec<Allow> = waiting.drain(..).chain(allow).collect();
            if !here.is_empty() {
                allows.by_line.insert(number, here);
            }
        }
        // A comment at the end of a file speaks of nothing; it is told as unused.
        if !waiting.is_empty() {
            allows.by_line.insert(usize::MAX, waiting);
        }
        allows
    }
}

fn parse(comment: &str) -> Result<Vec<Kind>, String> {
    let rest = comment.strip_prefix(MARK).unwrap_or_default();
    let (kinds, reason) =
        rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).ok_or_else(|| "it names no kinds in parentheses".to_owned())?;
    let kinds = kinds.split(',').map(|name| {
        let name = name.trim();
        Kind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
            format!("there is no kind `{name}`; there are {}", known.join(", "))
        })
    });
    let kinds = kinds.collect::<Result<Vec<_>, _>>()?;
    if reason.trim_matches(|char: char| !char.is_alphanumeric()).is_empty() {
        return Err("it gives no reason".to_owned());
    }
    Ok(kinds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_speak_of_their_line_or_the_one_below() {
        let text = "a(); // sempre: allow(clock) shown to nobody\n// sempre: allow(random, unordered): because\n#[rustfmt::skip]\nb();\n";
        let allows = Allows::read(text);
        let lines: Vec<_> = allows.by_line.iter().map(|(line, allows)| (*line, allows[0].line, allows[0].kinds.clone())).collect();
        assert_eq!(lines, [(1, 1, vec![Kind::Clock]), (4, 2, vec![Kind::Random, Kind::Unordered])]);
        assert!(allows.wrong.is_empty());
    }

    #[test]
    fn a_comment_without_reason_or_with_an_unknown_kind_is_wrong() {
        let allows = Allows::read("// sempre: allow(clock)\n// sempre: allow(time) why\n// sempre: allow clock\na();\n");
        let wrong: Vec<_> = allows.wrong.iter().map(|(line, why)| (*line, why.split(';').next().unwrap_or_default())).collect();
        assert_eq!(wrong, [(1, "it gives no reason"), (2, "there is no kind `time`"), (3, "it names no kinds in parentheses")]);
        assert!(allows.by_line.is_empty());
    }
}
