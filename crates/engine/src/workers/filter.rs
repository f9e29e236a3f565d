//! The query of ListWorkers: conditions on what a worker says of itself, joined by AND, OR and parentheses.
//!
//! ```text
//! filter    = and { OR and }
//! and       = condition { AND condition }
//! condition = "(" filter ")" | field operator value | field [NOT] STARTS_WITH value
//!           | field [NOT] BETWEEN value AND value | field IS [NOT] NULL
//! ```
//!
//! Names of fields are exact, keywords are not. Values are texts in quotes; times are texts as in RFC 3339.

use jiff::Timestamp as Time;
use sempre_api::v1::{enums::WorkerStatus, worker::WorkerHeartbeat};
use sempre_core::Refusal;

/// Longest query.
const LENGTH_MAX: usize = 64 << 10;
/// Deepest nesting of parentheses.
const DEPTH_MAX: usize = 100;

/// A text that a worker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TextField {
    InstanceKey,
    Identity,
    HostName,
    TaskQueue,
    DeploymentName,
    BuildId,
    SdkName,
    SdkVersion,
    Status,
}

/// A time that a worker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimeField {
    Start,
    Heartbeat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Text(TextField),
    Time(TimeField),
}

impl Field {
    fn named(name: &str) -> Result<Self, Refusal> {
        Ok(match name {
            "WorkerInstanceKey" => Self::Text(TextField::InstanceKey),
            "WorkerIdentity" => Self::Text(TextField::Identity),
            "HostName" => Self::Text(TextField::HostName),
            "TaskQueue" => Self::Text(TextField::TaskQueue),
            "DeploymentName" => Self::Text(TextField::DeploymentName),
            "BuildId" => Self::Text(TextField::BuildId),
            "SdkName" => Self::Text(TextField::SdkName),
            "SdkVersion" => Self::Text(TextField::SdkVersion),
            "WorkerStatus" => Self::Text(TextField::Status),
            "StartTime" => Self::Time(TimeField::Start),
            "HeartbeatTime" => Self::Time(TimeField::Heartbeat),
            // A word that SQL keeps for itself is taken in any case.
            _ if name.eq_ignore_ascii_case("status") => Self::Text(TextField::Status),
            _ => return Err(Refusal::invalid(format!("unknown or unsupported worker heartbeat search field: {name}"))),
        })
    }
}

impl TextField {
    fn of(self, worker: &WorkerHeartbeat) -> &str {
        match self {
            Self::InstanceKey => &worker.worker_instance_key,
            Self::Identity => &worker.worker_identity,
            Self::HostName => worker.host_info.as_ref().map_or("", |host| &host.host_name),
            Self::TaskQueue => &worker.task_queue,
            Self::DeploymentName => worker.deployment_version.as_ref().map_or("", |version| &version.deployment_name),
            Self::BuildId => worker.deployment_version.as_ref().map_or("", |version| &version.build_id),
            Self::SdkName => &worker.sdk_name,
            Self::SdkVersion => &worker.sdk_version,
            Self::Status => match worker.status() {
                WorkerStatus::Unspecified => "Unspecified",
                WorkerStatus::Running => "Running",
                WorkerStatus::ShuttingDown => "ShuttingDown",
                WorkerStatus::Shutdown => "Shutdown",
            },
        }
    }
}

impl TimeField {
    /// `None` when the worker did not say.
    fn of(self, worker: &WorkerHeartbeat) -> Option<Time> {
        let time = match self {
            Self::Start => worker.start_time.as_ref(),
            Self::Heartbeat => worker.heartbeat_time.as_ref(),
        };
        time.and_then(|time| Time::new(time.seconds, time.nanos).ok())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    fn text(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    fn holds<T: PartialOrd>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

/// A condition.
#[derive(Clone, Debug, PartialEq)]
enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Equals { field: TextField, value: String, wanted: bool },
    Starts { field: TextField, value: String, wanted: bool },
    Empty { field: Field, wanted: bool },
    Time { field: TimeField, order: Order, value: Time },
    Between { field: TimeField, from: Time, to: Time, wanted: bool },
}

impl Condition {
    fn accepts(&self, worker: &WorkerHeartbeat) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.accepts(worker)),
            Self::Any(parts) => parts.iter().any(|part| part.accepts(worker)),
            Self::Equals { field, value, wanted } => (field.of(worker) == value) == *wanted,
            Self::Starts { field, value, wanted } => field.of(worker).starts_with(value.as_str()) == *wanted,
            Self::Empty { field: Field::Text(field), wanted } => field.of(worker).is_empty() == *wanted,
            Self::Empty { field: Field::Time(field), wanted } => field.of(worker).is_none() == *wanted,
            // Who says no time counts as of 1970, except in a range.
            Self::Time { field, order, value } => order.holds(&field.of(worker).unwrap_or(Time::UNIX_EPOCH), value),
            Self::Between { field, from, to, wanted } => field.of(worker).is_some_and(|time| (*from <= time && time <= *to) == *wanted),
        }
    }
}

/// See the module. The default lets everything through.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Filter {
    condition: Option<Condition>,
}

impl Filter {
    /// The empty query lets everything through.
    pub(crate) fn parse(query: &str) -> Result<Self, Refusal> {
        if query.len() > LENGTH_MAX {
            return Err(Refusal::invalid(format!("malformed query: longer than {LENGTH_MAX} bytes")));
        }
        let tokens = tokens(query)?;
        if tokens.is_empty() {
            return Ok(Self::default());
        }
        let mut parser = Parser { tokens: &tokens, at: 0, end: query.chars().count() };
        let condition = parser.any(0)?;
        match parser.peek() {
            None => Ok(Self { condition: Some(condition) }),
            Some(Token::Word(word)) if is_clause(word) => Err(unsupported(&format!("'{}' clause", word.to_lowercase()))),
            Some(_) => Err(parser.wrong()),
        }
    }

    pub(crate) fn accepts(&self, worker: &WorkerHeartbeat) -> bool {
        self.condition.as_ref().is_none_or(|condition| condition.accepts(worker))
    }
}

fn is_clause(word: &str) -> bool {
    ["limit", "order", "group", "having"].iter().any(|clause| word.eq_ignore_ascii_case(clause))
}

fn unsupported(what: &str) -> Refusal {
    Refusal::invalid(format!("operation is not supported: {what}"))
}

fn malformed(position: usize) -> Refusal {
    Refusal::invalid(format!("malformed query: syntax error at position {position}"))
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// A name or a keyword.
    Word(String),
    /// A name in backticks: never a keyword.
    Name(String),
    Text(String),
    Number(String),
    Order(Order),
    Open,
    Close,
    Comma,
}

/// Tokens, each with the position after its end, counted in characters from 1.
fn tokens(query: &str) -> Result<Vec<(Token, usize)>, Refusal> {
    let chars: Vec<char> = query.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let next = chars.get(at + 1).copied();
        let (token, length) = match (c, next) {
            (c, _) if c.is_whitespace() => {
                at += 1;
                continue;
            }
            ('(', _) => (Token::Open, 1),
            (')', _) => (Token::Close, 1),
            (',', _) => (Token::Comma, 1),
            ('=', _) => (Token::Order(Order::Equal), 1),
            ('!', Some('=')) | ('<', Some('>')) => (Token::Order(Order::NotEqual), 2),
            ('<', Some('=')) => (Token::Order(Order::LessOrEqual), 2),
            ('>', Some('=')) => (Token::Order(Order::GreaterOrEqual), 2),
            ('<', _) => (Token::Order(Order::Less), 1),
            ('>', _) => (Token::Order(Order::Greater), 1),
            ('\'' | '"' | '`', _) => {
                let (text, length) = quoted(&chars[at..]).ok_or_else(|| malformed(chars.len() + 1))?;
                (if c == '`' { Token::Name(text) } else { Token::Text(text) }, length)
            }
            (c, _) if c.is_ascii_digit() || c == '-' || c == '.' => {
                let length = chars[at..].iter().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.')).count();
                (Token::Number(chars[at..at + length].iter().collect()), length)
            }
            (c, _) if c.is_alphabetic() || c == '_' => {
                let length = chars[at..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').count();
                (Token::Word(chars[at..at + length].iter().collect()), length)
            }
            _ => return Err(malformed(at + 1)),
        };
        at += length;
        tokens.push((token, at));
    }
    Ok(tokens)
}

/// What is between quotes, and how long it is with them. A quote is doubled or escaped by a backslash.
fn quoted(chars: &[char]) -> Option<(String, usize)> {
    let quote = *chars.first()?;
    let mut text = String::new();
    let mut at = 1;
    loop {
        match (*chars.get(at)?, chars.get(at + 1)) {
            ('\\', Some(&escaped)) if quote != '`' => {
                text.push(escaped);
                at += 2;
            }
            (c, Some(&again)) if c == quote && again == quote => {
                text.push(quote);
                at += 2;
            }
            (c, _) if c == quote => return Some((text, at + 1)),
            (c, _) => {
                text.push(c);
                at += 1;
            }
        }
    }
}

struct Parser<'a> {
    tokens: &'a [(Token, usize)],
    at: usize,
    end: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn take(&mut self) -> Result<&'a Token, Refusal> {
        let token = self.peek().ok_or_else(|| self.wrong())?;
        self.at += 1;
        Ok(token)
    }

    fn wrong(&self) -> Refusal {
        malformed(self.tokens.get(self.at).map_or(self.end + 1, |(_, end)| *end))
    }

    /// Takes a keyword, if it comes next.
    fn word(&mut self, keyword: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(keyword));
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, keyword: &str) -> Result<(), Refusal> {
        if self.word(keyword) { Ok(()) } else { Err(self.wrong()) }
    }

    fn any(&mut self, depth: usize) -> Result<Condition, Refusal> {
        let mut parts = vec![self.all(depth)?];
        while self.word("or") {
            parts.push(self.all(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::Any(parts) })
    }

    fn all(&mut self, depth: usize) -> Result<Condition, Refusal> {
        let mut parts = vec![self.condition(depth)?];
        while self.word("and") {
            parts.push(self.condition(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::All(parts) })
    }

    fn condition(&mut self, depth: usize) -> Result<Condition, Refusal> {
        if self.peek() == Some(&Token::Open) {
            if depth == DEPTH_MAX {
                return Err(unsupported(&format!("more than {DEPTH_MAX} parentheses in each other")));
            }
            self.at += 1;
            let inner = self.any(depth + 1)?;
            return if self.peek() == Some(&Token::Close) {
                self.at += 1;
                Ok(inner)
            } else {
                Err(self.wrong())
            };
        }
        if self.word("not") {
            return Err(unsupported("'not' expression"));
        }
        let start = self.at;
        let name = match self.take()? {
            Token::Word(name) | Token::Name(name) => name,
            _ => {
                self.at = start;
                return Err(self.wrong());
            }
        };
        if self.peek() == Some(&Token::Open) {
            return Err(unsupported("function expression"));
        }
        if self.peek().is_none() {
            return Err(Refusal::invalid("incomplete expression"));
        }
        let field = Field::named(name)?;
        if self.word("is") {
            let wanted = !self.word("not");
            self.expect("null")?;
            return Ok(Condition::Empty { field, wanted });
        }
        if let Some(Token::Order(order)) = self.peek() {
            self.at += 1;
            return self.comparison(name, field, *order);
        }
        let wanted = !self.word("not");
        if self.word("starts_with") {
            let Field::Text(field) = field else { return Err(unsupported(&format!("starts_with for {name} column"))) };
            return Ok(Condition::Starts { field, value: self.text(name)?, wanted });
        }
        if self.word("between") {
            let Field::Time(field) = field else {
                return Err(Refusal::invalid(format!("unknown or unsupported column name: {name}")));
            };
            let from = self.time(name)?;
            self.expect("and")?;
            return Ok(Condition::Between { field, from, to: self.time(name)?, wanted });
        }
        match self.peek() {
            Some(Token::Word(word)) if ["in", "like", "regexp"].iter().any(|w| word.eq_ignore_ascii_case(w)) => {
                Err(unsupported(&format!("operation {} for {name} column", word.to_lowercase())))
            }
            _ => Err(self.wrong()),
        }
    }

    fn comparison(&mut self, name: &str, field: Field, order: Order) -> Result<Condition, Refusal> {
        match (field, order) {
            (Field::Time(field), order) => Ok(Condition::Time { field, order, value: self.time(name)? }),
            (Field::Text(field), Order::Equal | Order::NotEqual) => {
                Ok(Condition::Equals { field, value: self.text(name)?, wanted: order == Order::Equal })
            }
            (Field::Text(_), order) => {
                Err(Refusal::invalid(format!("invalid expression: operation {} is not supported for {name} column", order.text())))
            }
        }
    }

    /// A text in quotes that is not empty.
    fn text(&mut self, name: &str) -> Result<String, Refusal> {
        match self.take()? {
            Token::Text(text) if text.is_empty() => Err(Refusal::invalid(format!("{name} cannot be empty"))),
            Token::Text(text) => Ok(text.clone()),
            Token::Word(word) | Token::Name(word) | Token::Number(word) => {
                Err(Refusal::invalid(format!("invalid value for {name}: {word} is not a text in quotes")))
            }
            _ => {
                self.at -= 1;
                Err(self.wrong())
            }
        }
    }

    fn time(&mut self, name: &str) -> Result<Time, Refusal> {
        let text = self.text(name)?;
        text.parse().map_err(|_| Refusal::invalid(format!("invalid value for {name}: {text} is not a time as in RFC 3339")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sempre_api::v1::{deployment::WorkerDeploymentVersion, worker::WorkerHostInfo};

    fn worker() -> WorkerHeartbeat {
        WorkerHeartbeat {
            worker_instance_key: "k1".into(),
            worker_identity: "it's me".into(),
            host_info: Some(WorkerHostInfo { host_name: "host".into(), ..WorkerHostInfo::default() }),
            task_queue: "queue".into(),
            deployment_version: Some(WorkerDeploymentVersion { deployment_name: "shop".into(), build_id: "1.0".into() }),
            sdk_name: "temporal-rust".into(),
            status: WorkerStatus::ShuttingDown as i32,
            heartbeat_time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            ..WorkerHeartbeat::default()
        }
    }

    #[test]
    fn what_is_let_through() {
        let cases = [
            ("", true),
            ("  ", true),
            ("TaskQueue = 'queue'", true),
            ("TaskQueue=\"queue\"", true),
            ("`TaskQueue` = 'queue'", true),
            ("TaskQueue != 'queue'", false),
            ("TaskQueue <> 'other'", true),
            ("WorkerInstanceKey = 'k1' AND HostName = 'host'", true),
            ("WorkerInstanceKey = 'k1' and HostName = 'x'", false),
            ("WorkerInstanceKey = 'x' OR HostName = 'x' AND TaskQueue = 'queue'", false),
            ("(WorkerInstanceKey = 'k1' OR HostName = 'x') AND TaskQueue = 'queue'", true),
            ("WorkerIdentity = 'it''s me' AND WorkerIdentity = 'it\\'s me'", true),
            ("DeploymentName = 'shop' AND BuildId = '1.0' AND SdkName STARTS_WITH 'temporal-'", true),
            ("SdkName NOT STARTS_WITH 'temporal-'", false),
            ("WorkerStatus = 'ShuttingDown' AND status = 'ShuttingDown' AND Status != 'Running'", true),
            ("SdkVersion IS NULL AND SdkName IS NOT NULL", true),
            ("StartTime IS NULL AND HeartbeatTime IS NOT NULL", true),
            ("HeartbeatTime = '2023-11-14T22:13:20Z'", true),
            ("HeartbeatTime > '2023-11-14T22:13:19.5Z' AND HeartbeatTime <= '2023-11-15T00:13:20+02:00'", true),
            ("HeartbeatTime < '2023-11-14T22:13:20Z'", false),
            ("StartTime < '2023-11-14T22:13:20Z'", true),
            ("HeartbeatTime BETWEEN '2023-11-14T00:00:00Z' AND '2023-11-15T00:00:00Z'", true),
            ("HeartbeatTime NOT BETWEEN '2023-11-14T00:00:00Z' AND '2023-11-15T00:00:00Z'", false),
            ("StartTime NOT BETWEEN '2023-11-14T00:00:00Z' AND '2023-11-15T00:00:00Z'", false),
        ];
        for (query, accepted) in cases {
            assert_eq!(Filter::parse(query).map(|filter| filter.accepts(&worker())), Ok(accepted), "{query}");
        }
    }

    #[test]
    fn what_is_refused() {
        let cases = [
            ("TaskQueue =", "malformed query: syntax error at position 12"),
            ("TaskQueue = 'q", "malformed query: syntax error at position 15"),
            ("(TaskQueue = 'q'", "malformed query: syntax error at position 17"),
            ("TaskQueue = 'q')", "malformed query: syntax error at position 16"),
            ("= 'q'", "malformed query: syntax error at position 1"),
            ("TaskQueue ; 'q'", "malformed query: syntax error at position 11"),
            ("TaskQueue", "incomplete expression"),
            ("Foo = 'x'", "unknown or unsupported worker heartbeat search field: Foo"),
            ("taskqueue = 'x'", "unknown or unsupported worker heartbeat search field: taskqueue"),
            ("where TaskQueue = 'x'", "unknown or unsupported worker heartbeat search field: where"),
            ("NOT TaskQueue = 'x'", "operation is not supported: 'not' expression"),
            ("lower(TaskQueue) = 'x'", "operation is not supported: function expression"),
            ("TaskQueue = 'x' LIMIT 3", "operation is not supported: 'limit' clause"),
            ("TaskQueue = 'x' order by TaskQueue", "operation is not supported: 'order' clause"),
            ("TaskQueue IN ('x')", "operation is not supported: operation in for TaskQueue column"),
            ("TaskQueue > 'x'", "invalid expression: operation > is not supported for TaskQueue column"),
            ("TaskQueue = ''", "TaskQueue cannot be empty"),
            ("TaskQueue = x", "invalid value for TaskQueue: x is not a text in quotes"),
            ("TaskQueue = 1", "invalid value for TaskQueue: 1 is not a text in quotes"),
            ("TaskQueue BETWEEN 'a' AND 'b'", "unknown or unsupported column name: TaskQueue"),
            ("StartTime STARTS_WITH 'x'", "operation is not supported: starts_with for StartTime column"),
            ("StartTime > 'x'", "invalid value for StartTime: x is not a time as in RFC 3339"),
        ];
        for (query, text) in cases {
            assert_eq!(Filter::parse(query), Err(Refusal::invalid(text)), "{query}");
        }
        let deep = format!("{}TaskQueue = 'q'{}", "(".repeat(200), ")".repeat(200));
        assert!(Filter::parse(&deep).is_err());
        let long = format!("TaskQueue = '{}'", "x".repeat(LENGTH_MAX));
        assert!(Filter::parse(&long).is_err());
    }
}
