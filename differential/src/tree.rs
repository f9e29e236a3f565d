//! Reads the text that `{:?}` gives of a message, so that every field a message has or will have takes part in the
//! comparison without a list of them here.

/// A value as `{:?}` shows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    /// `Name { field: value, … }`.
    Struct(String, Vec<(String, Node)>),
    /// `Name(value, …)`.
    Tuple(String, Vec<Node>),
    /// `[value, …]`.
    List(Vec<Node>),
    /// `{key: value, …}`.
    Map(Vec<(Node, Node)>),
    /// Text with its escapes, without quotes.
    Text(String),
    /// A number, or a name alone.
    Word(String),
}

/// Parses a whole debug text. Panics on text that is not one: it comes from this program.
pub(crate) fn parse(text: &str) -> Node {
    let mut parser = Parser { rest: text };
    let node = parser.value();
    assert!(parser.rest.is_empty(), "left over: {}", parser.rest);
    node
}

struct Parser<'t> {
    rest: &'t str,
}

impl Parser<'_> {
    fn skip(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        let found = self.rest.strip_prefix(token);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn value(&mut self) -> Node {
        self.rest = self.rest.trim_start();
        if self.skip("[") {
            return Node::List(self.until("]", Self::value));
        }
        if self.skip("{") {
            return Node::Map(self.until("}", |p| {
                let key = p.value();
                assert!(p.skip(":"), "a map entry: {}", p.rest);
                (key, p.value())
            }));
        }
        if self.rest.starts_with('"') || self.rest.starts_with("b\"") {
            self.skip("b");
            return Node::Text(self.text());
        }
        let end = self.rest.find([' ', ',', '(', ')', '{', '}', '[', ']', ':']).unwrap_or(self.rest.len());
        let name = self.rest[..end].to_owned();
        self.rest = &self.rest[end..];
        if self.skip("(") {
            return Node::Tuple(name, self.until(")", Self::value));
        }
        if self.skip("{") {
            return Node::Struct(
                name,
                self.until("}", |p| {
                    p.rest = p.rest.trim_start();
                    let (field, rest) = p.rest.split_once(':').expect("a field");
                    let field = field.to_owned();
                    p.rest = rest;
                    (field, p.value())
                }),
            );
        }
        Node::Word(name)
    }

    fn until<T>(&mut self, end: &str, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let mut items = Vec::new();
        while !self.skip(end) {
            items.push(item(self));
            self.skip(",");
        }
        items
    }

    fn text(&mut self) -> String {
        let body = &self.rest[1..];
        let mut escaped = false;
        for (at, c) in body.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => {
                    let text = body[..at].replace("\\\"", "\"").replace("\\\\", "\\");
                    self.rest = &body[at + 1..];
                    return text;
                }
                _ => {}
            }
        }
        panic!("text without an end: {}", self.rest)
    }
}
