//! Text to tokens.

use alloc::string::String;

use super::QueryError;

/// A piece of a query.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Token<'a> {
    /// A name or keyword without quotes.
    Word(&'a str),
    /// A name in backquotes.
    Quoted(String),
    /// Text in single or double quotes.
    Text(String),
    /// Digits with fraction and exponent, without sign.
    Number(&'a str),
    /// `=`, `<`, `+`, `(`, …
    Mark(&'a str),
    /// Nothing is left.
    End,
}

/// Marks of two and three characters, before their beginnings.
const MARKS: [&str; 9] = ["<=>", "<=", ">=", "<>", "!=", "&&", "||", "<<", ">>"];
const SINGLE: &str = "=<>(),+-*/%&|^~!;.?:";

/// Reads tokens from the front of a text.
#[derive(Clone)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

fn begins_word(c: char) -> bool {
    c.is_alphabetic() || c == '_' || c == '@' || c == '$'
}

fn is_in_word(c: char) -> bool {
    begins_word(c) || c.is_alphanumeric()
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let taken = &self.text[self.at..self.at + bytes];
        self.at += bytes;
        taken
    }

    fn bytes_while(&self, from: usize, is: impl Fn(char) -> bool) -> usize {
        let rest = &self.rest()[from..];
        rest.find(|c| !is(c)).unwrap_or(rest.len())
    }

    /// The next token, with the place where it begins.
    pub(super) fn next(&mut self) -> Result<(usize, Token<'a>), QueryError> {
        self.at += self.bytes_while(0, char::is_whitespace);
        let at = self.at;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok((at, Token::End)) };
        let digit_follows = |from: usize| rest[from..].starts_with(|c: char| c.is_ascii_digit());
        let token = match first {
            '\'' | '"' => Token::Text(self.quoted(first)?),
            '`' => Token::Quoted(self.quoted(first)?),
            c if c.is_ascii_digit() || (c == '.' && digit_follows(1)) => self.number(),
            c if begins_word(c) => self.word(),
            _ => {
                let mark = MARKS.iter().find(|mark| rest.starts_with(**mark)).map(|mark| mark.len());
                let mark = mark.or_else(|| SINGLE.contains(first).then_some(1)).ok_or_else(|| QueryError::syntax(at, rest))?;
                Token::Mark(self.take(mark))
            }
        };
        Ok((at, token))
    }

    /// Parts may be joined by dots, as in `a.b`.
    fn word(&mut self) -> Token<'a> {
        let mut bytes = self.bytes_while(0, is_in_word);
        while self.rest()[bytes..].strip_prefix('.').is_some_and(|part| part.starts_with(begins_word)) {
            bytes += 1 + self.bytes_while(bytes + 1, is_in_word);
        }
        Token::Word(self.take(bytes))
    }

    fn number(&mut self) -> Token<'a> {
        let digits = |from| self.bytes_while(from, |c| c.is_ascii_digit());
        let mut bytes = digits(0);
        if self.rest()[bytes..].starts_with('.') {
            bytes += 1 + digits(bytes + 1);
        }
        if self.rest()[bytes..].starts_with(['e', 'E']) {
            let sign = usize::from(self.rest()[bytes + 1..].starts_with(['+', '-']));
            let exponent = digits(bytes + 1 + sign);
            if exponent > 0 {
                bytes += 1 + sign + exponent;
            }
        }
        // `1abc` is neither a number nor a name.
        bytes += self.bytes_while(bytes, is_in_word);
        Token::Number(self.take(bytes))
    }

    /// Text up to the closing quote. A doubled quote means itself; so does what follows a backslash, but for a few
    /// letters that stand for control characters. Names in backquotes know no backslash.
    fn quoted(&mut self, quote: char) -> Result<String, QueryError> {
        let open = self.at;
        let mut text = String::new();
        let mut chars = self.rest().char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                if chars.next_if(|(_, next)| *next == quote).is_some() {
                    text.push(quote);
                    continue;
                }
                self.at = open + at + 1;
                return Ok(text);
            }
            if c == '\\' && quote != '`' {
                let Some((_, escaped)) = chars.next() else { break };
                text.push(match escaped {
                    '0' => '\0',
                    'b' => '\u{8}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'Z' => '\u{1a}',
                    other => other,
                });
                continue;
            }
            text.push(c);
        }
        Err(QueryError::syntax(open, &self.text[open..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn tokens(text: &str) -> Vec<Token<'_>> {
        let mut lexer = Lexer::new(text);
        let mut all = Vec::new();
        loop {
            match lexer.next().unwrap().1 {
                Token::End => return all,
                token => all.push(token),
            }
        }
    }

    #[test]
    fn names_and_keywords() {
        use Token::{Quoted, Word};
        assert_eq!(
            tokens("a_1 a.b.c `x-y` `it``s` ümlaut"),
            [Word("a_1"), Word("a.b.c"), Quoted("x-y".into()), Quoted("it`s".into()), Word("ümlaut"),]
        );
    }

    #[test]
    fn texts() {
        let text = |s: &str| Token::Text(s.into());
        assert_eq!(
            tokens(r#"'a' "b" '' 'it''s' 'it\'s' "say ""x""" 'a"b' '\\ \n\t\q'"#),
            [text("a"), text("b"), text(""), text("it's"), text("it's"), text("say \"x\""), text("a\"b"), text("\\ \n\tq"),]
        );
    }

    #[test]
    fn numbers_and_marks() {
        use Token::{Mark, Number};
        assert_eq!(
            tokens("1 2.5 .5 1e3 1E-3 7. -1"),
            [Number("1"), Number("2.5"), Number(".5"), Number("1e3"), Number("1E-3"), Number("7."), Mark("-"), Number("1")]
        );
        assert_eq!(tokens("<=<>!=>= = <=>("), ["<=", "<>", "!=", ">=", "=", "<=>", "("].map(Mark));
        assert_eq!(tokens("12ab"), [Number("12ab")]);
    }

    #[test]
    fn what_does_not_end() {
        for text in ["'abc", "\"", "`a", "'a\\", "'a''"] {
            assert!(Lexer::new(text).next().is_err(), "{text}");
        }
        assert!(Lexer::new("#").next().is_err());
    }
}
