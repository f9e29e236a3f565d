//! Tokens to [`Query`], by descent. Only parentheses and `NOT` descend, and their depth is bounded; chains of `AND`
//! and `OR` become one list.
//!
//! Fields are looked up and values converted as they are read, so the first error in the text is the one reported.

use alloc::{boxed::Box, format, string::String, vec, vec::Vec};

use super::{
    Attributes, ParseOptions, QueryError, groups_by,
    lexer::{Lexer, Token},
    values::{Literal, convert},
};
use crate::{
    limits::{QUERY_CONDITIONS_MAX, QUERY_DEPTH_MAX, QUERY_VALUES_MAX},
    nexus::alone,
    visibility::{
        AttributeType, Comparison, Field, Filter, Query, SystemField, Value,
        names::{NAMESPACE_DIVISION, RESERVED_PREFIX, predefined},
    },
};

/// A query, and whether it mentions the namespace division.
pub(super) fn parse(text: &str, attributes: &dyn Attributes, options: ParseOptions) -> Result<(Query, bool), QueryError> {
    let mut parser = Parser::new(text, attributes, options)?;
    let filter = match parser.is_at_tail() {
        true => None,
        false => Some(parser.any(0)?),
    };
    let group_by = parser.tail()?;
    Ok((Query { filter, group_by }, parser.mentions_division))
}

/// Words that are no names unless they stand in backquotes.
pub(in crate::visibility) const KEYWORDS: [&str; 21] = [
    "AND",
    "OR",
    "NOT",
    "IN",
    "BETWEEN",
    "IS",
    "NULL",
    "TRUE",
    "FALSE",
    "STARTS_WITH",
    "LIKE",
    "REGEXP",
    "RLIKE",
    "GROUP",
    "ORDER",
    "BY",
    "HAVING",
    "LIMIT",
    "SELECT",
    "CASE",
    "EXISTS",
];

struct Parser<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    at: usize,
    token: Token<'a>,
    attributes: &'a dyn Attributes,
    options: ParseOptions,
    conditions: usize,
    values: usize,
    mentions_division: bool,
}

/// What can stand on either side of an operator.
enum Operand {
    Column(String),
    Value(Literal),
    Null,
    Function(String),
    /// Something that no query can use, by what it is.
    Other(&'static str),
}

impl Operand {
    fn what(&self) -> &'static str {
        match self {
            Self::Column(_) => "column name",
            Self::Value(_) => "literal value",
            Self::Null => "NULL",
            Self::Function(_) => "function expression",
            Self::Other(what) => what,
        }
    }
}

/// What is done with a field.
#[derive(Clone, Copy, PartialEq)]
enum Operator {
    Compare(Comparison),
    In,
    Between,
    StartsWith,
    /// Known to SQL, and to no type of attribute.
    Unsupported(&'static str),
}

impl Operator {
    fn name(self, negated: bool) -> &'static str {
        match (self, negated) {
            (Self::Compare(comparison), _) => comparison.sign(),
            (Self::In, false) => "IN",
            (Self::In, true) => "NOT IN",
            (Self::Between, false) => "BETWEEN",
            (Self::Between, true) => "NOT BETWEEN",
            (Self::StartsWith, false) => "STARTS_WITH",
            (Self::StartsWith, true) => "NOT STARTS_WITH",
            (Self::Unsupported("LIKE"), true) => "NOT LIKE",
            (Self::Unsupported("REGEXP"), true) => "NOT REGEXP",
            (Self::Unsupported(name), _) => name,
        }
    }

    /// The table of spec 06 §3.1.
    fn fits(self, field: &Field) -> bool {
        use AttributeType::{Bool, Datetime, Double, Int, Keyword, KeywordList, Text};
        match (self, field.kind()) {
            (Self::Compare(Comparison::Equal | Comparison::NotEqual), _) => true,
            (Self::Compare(_) | Self::Between, Keyword | Int | Double | Datetime) => true,
            (Self::Compare(_) | Self::Between, Bool | Text | KeywordList) => false,
            (Self::In, Keyword | Int | Double | Datetime | KeywordList) => true,
            (Self::In, Bool | Text) => false,
            (Self::StartsWith, Keyword) => *field != Field::System(SystemField::ExecutionStatus),
            (Self::StartsWith, _) | (Self::Unsupported(_), _) => false,
        }
    }
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, attributes: &'a dyn Attributes, options: ParseOptions) -> Result<Self, QueryError> {
        let mut lexer = Lexer::new(text);
        let (at, token) = lexer.next()?;
        Ok(Self { text, lexer, at, token, attributes, options, conditions: 0, values: 0, mentions_division: false })
    }

    fn advance(&mut self) -> Result<Token<'a>, QueryError> {
        let (at, next) = self.lexer.next()?;
        self.at = at;
        Ok(core::mem::replace(&mut self.token, next))
    }

    fn syntax<T>(&self) -> Result<T, QueryError> {
        Err(QueryError::syntax(self.at, &self.text[self.at..]))
    }

    fn is_word(&self, keyword: &str) -> bool {
        matches!(self.token, Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    fn takes_word(&mut self, keyword: &str) -> Result<bool, QueryError> {
        let is = self.is_word(keyword);
        if is {
            self.advance()?;
        }
        Ok(is)
    }

    fn takes_mark(&mut self, mark: &str) -> Result<bool, QueryError> {
        let is = self.token == Token::Mark(mark);
        if is {
            self.advance()?;
        }
        Ok(is)
    }

    fn needs_word(&mut self, keyword: &str) -> Result<(), QueryError> {
        if self.takes_word(keyword)? { Ok(()) } else { self.syntax() }
    }

    fn needs_mark(&mut self, mark: &str) -> Result<(), QueryError> {
        if self.takes_mark(mark)? { Ok(()) } else { self.syntax() }
    }

    fn is_at_tail(&self) -> bool {
        self.token == Token::End || ["GROUP", "HAVING", "ORDER", "LIMIT"].into_iter().any(|word| self.is_word(word))
    }

    fn any(&mut self, depth: usize) -> Result<Filter, QueryError> {
        let first = self.all(depth)?;
        if !self.is_word("OR") {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.takes_word("OR")? {
            all.push(self.all(depth)?);
        }
        Ok(Filter::Or(all))
    }

    fn all(&mut self, depth: usize) -> Result<Filter, QueryError> {
        let first = self.condition(depth)?;
        if !self.is_word("AND") {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.takes_word("AND")? {
            all.push(self.condition(depth)?);
        }
        Ok(Filter::And(all))
    }

    fn condition(&mut self, depth: usize) -> Result<Filter, QueryError> {
        if depth > QUERY_DEPTH_MAX {
            return Err(QueryError::NotSupported(format!("conditions nested deeper than {QUERY_DEPTH_MAX}")));
        }
        if self.takes_word("NOT")? {
            return Ok(Filter::Not(Box::new(self.condition(depth + 1)?)));
        }
        if self.token == Token::Mark("(") && !self.is_subselect()? {
            self.advance()?;
            let inner = self.any(depth + 1)?;
            self.needs_mark(")")?;
            if self.operator_follows() {
                return Err(not_a_column("expression in parentheses"));
            }
            return Ok(inner);
        }
        self.predicate()
    }

    /// At an opening parenthesis: a `SELECT` follows.
    fn is_subselect(&self) -> Result<bool, QueryError> {
        let next = self.lexer.clone().next()?.1;
        Ok(matches!(next, Token::Word(word) if word.eq_ignore_ascii_case("SELECT")))
    }

    fn operator_follows(&self) -> bool {
        match self.token {
            Token::Mark(mark) => ["=", "!=", "<>", "<", "<=", ">", ">=", "<=>"].contains(&mark) || is_arithmetic(mark),
            Token::Word(word) => {
                ["IN", "NOT", "BETWEEN", "IS", "STARTS_WITH", "LIKE", "REGEXP", "RLIKE"].iter().any(|k| word.eq_ignore_ascii_case(k))
            }
            _ => false,
        }
    }

    fn predicate(&mut self) -> Result<Filter, QueryError> {
        self.conditions += 1;
        if self.conditions > QUERY_CONDITIONS_MAX {
            return Err(QueryError::NotSupported(format!("more than {QUERY_CONDITIONS_MAX} conditions")));
        }
        let left = self.operand()?;
        let alone = !self.operator_follows();
        let name = match left {
            Operand::Column(_) if alone => return Err(QueryError::Invalid("incomplete expression".into())),
            Operand::Column(name) => name,
            Operand::Function(_) if alone => return Err(QueryError::NotSupported("function expression".into())),
            other if alone => return Err(QueryError::NotSupported(format!("expression of type {}", other.what()))),
            other => return Err(not_a_column(other.what())),
        };
        let field = self.field(&name)?;
        if self.takes_word("IS")? {
            return self.is_null(field);
        }
        let negated = self.takes_word("NOT")?;
        let operator = self.operator(negated)?;
        if !operator.fits(&field) {
            return Err(unfit(operator, negated, &field));
        }
        match operator {
            Operator::Compare(comparison) => Ok(Filter::Compare(field.clone(), comparison, self.value(&field)?)),
            Operator::In => self.list(field, negated),
            Operator::Between => {
                let low = self.value(&field)?;
                self.needs_word("AND")?;
                let high = self.value(&field)?;
                Ok(Filter::Between { field, low, high, negated })
            }
            Operator::StartsWith | Operator::Unsupported(_) => match self.operand()? {
                Operand::Value(Literal::Text(prefix)) => Ok(Filter::StartsWith { field, prefix, negated }),
                _ => Err(QueryError::Invalid("right-hand side of 'starts_with' must be a literal string".into())),
            },
        }
    }

    fn is_null(&mut self, field: Field) -> Result<Filter, QueryError> {
        let negated = self.takes_word("NOT")?;
        if self.takes_word("NULL")? {
            return Ok(Filter::IsNull { field, negated });
        }
        if self.is_word("TRUE") || self.is_word("FALSE") {
            return Err(QueryError::Invalid("'IS' operator can only be used as 'IS NULL' or 'IS NOT NULL'".into()));
        }
        self.syntax()
    }

    /// The operator that [`Self::operator_follows`] has seen.
    fn operator(&mut self, negated: bool) -> Result<Operator, QueryError> {
        let operator = match &self.token {
            Token::Word(word) => {
                let words = [
                    ("IN", Operator::In),
                    ("BETWEEN", Operator::Between),
                    ("STARTS_WITH", Operator::StartsWith),
                    ("LIKE", Operator::Unsupported("LIKE")),
                    ("REGEXP", Operator::Unsupported("REGEXP")),
                    ("RLIKE", Operator::Unsupported("REGEXP")),
                ];
                words.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, operator)| operator)
            }
            Token::Mark(_) if negated => None,
            Token::Mark(mark) => match *mark {
                "<=>" => Some(Operator::Unsupported("<=>")),
                mark if is_arithmetic(mark) => return Err(not_a_column("arithmetic expression")),
                mark => Comparison::from_sign(mark).map(Operator::Compare),
            },
            _ => None,
        };
        match operator {
            Some(operator) => {
                self.advance()?;
                Ok(operator)
            }
            None => self.syntax(),
        }
    }

    fn list(&mut self, field: Field, negated: bool) -> Result<Filter, QueryError> {
        if self.token == Token::Mark("(") && self.is_subselect()? {
            return Err(QueryError::NotSupported("expression of type sub-select".into()));
        }
        self.needs_mark("(")?;
        let mut values = vec![self.value(&field)?];
        while self.takes_mark(",")? {
            values.push(self.value(&field)?);
        }
        self.needs_mark(")")?;
        Ok(Filter::In { field, values, negated })
    }

    /// A value on the right side.
    fn value(&mut self, field: &Field) -> Result<Value, QueryError> {
        self.values += 1;
        if self.values > QUERY_VALUES_MAX {
            return Err(QueryError::NotSupported(format!("more than {QUERY_VALUES_MAX} values")));
        }
        let operand = self.operand()?;
        if matches!(self.token, Token::Mark(mark) if is_arithmetic(mark)) {
            return Err(QueryError::NotSupported("expression of type arithmetic expression".into()));
        }
        match operand {
            Operand::Value(literal) => convert(field, literal),
            Operand::Column(name) => Err(QueryError::NotSupported(format!(
                "column name on the right side of comparison expression (did you forget to quote \"{name}\"?)"
            ))),
            Operand::Function(name) if name.eq_ignore_ascii_case("group_concat") => Err(QueryError::NotSupported("'group_concat'".into())),
            Operand::Function(_) => Err(QueryError::NotSupported("nested func".into())),
            Operand::Null => Err(QueryError::Invalid("unexpected value type NULL".into())),
            Operand::Other(what) => Err(QueryError::NotSupported(format!("expression of type {what}"))),
        }
    }

    fn operand(&mut self) -> Result<Operand, QueryError> {
        match &self.token {
            Token::Word(word) => {
                let word = *word;
                match KEYWORDS.iter().find(|keyword| word.eq_ignore_ascii_case(keyword)) {
                    None => {}
                    Some(&"TRUE") => return self.advance().map(|_| Operand::Value(Literal::Bool(true))),
                    Some(&"FALSE") => return self.advance().map(|_| Operand::Value(Literal::Bool(false))),
                    Some(&"NULL") => return self.advance().map(|_| Operand::Null),
                    Some(&"CASE") => return Ok(Operand::Other("CASE expression")),
                    Some(&"EXISTS") => return Ok(Operand::Other("EXISTS expression")),
                    Some(_) => return self.syntax(),
                }
                self.advance()?;
                self.name_or_function(word.into())
            }
            Token::Quoted(_) | Token::Text(_) => match self.advance()? {
                Token::Quoted(name) => self.name_or_function(name),
                Token::Text(text) => Ok(Operand::Value(Literal::Text(text))),
                _ => self.syntax(),
            },
            Token::Number(_) => self.number(self.at),
            Token::Mark("-" | "+") => {
                let from = self.at;
                self.advance()?;
                if matches!(self.token, Token::Number(_)) {
                    return self.number(from);
                }
                Ok(Operand::Other("unary expression"))
            }
            Token::Mark("(") => {
                let what = if self.is_subselect()? { "sub-select" } else { "expression in parentheses" };
                self.skip_parentheses()?;
                Ok(Operand::Other(what))
            }
            Token::Mark(_) | Token::End => self.syntax(),
        }
    }

    fn name_or_function(&mut self, name: String) -> Result<Operand, QueryError> {
        if self.token != Token::Mark("(") {
            return Ok(Operand::Column(name));
        }
        self.skip_parentheses()?;
        Ok(Operand::Function(name))
    }

    /// A number whose sign, if any, stands at `from`.
    fn number(&mut self, from: usize) -> Result<Operand, QueryError> {
        let place = self.at;
        let Token::Number(digits) = self.advance()? else { return self.syntax() };
        if digits.ends_with(|c: char| !c.is_ascii_digit() && c != '.') {
            return Err(QueryError::syntax(place, &self.text[place..]));
        }
        let sign = if self.text[from..].starts_with('-') { "-" } else { "" };
        Literal::number(&format!("{sign}{digits}")).map(Operand::Value)
    }

    /// From an opening parenthesis to after the one that closes it.
    fn skip_parentheses(&mut self) -> Result<(), QueryError> {
        let mut open = 0usize;
        loop {
            match self.advance()? {
                Token::Mark("(") => open += 1,
                Token::Mark(")") => open -= 1,
                Token::End => return self.syntax(),
                _ => {}
            }
            if open == 0 {
                return Ok(());
            }
        }
    }

    /// The field of a name. A name without the prefix `Temporal` stands for the one with it, and the other way
    /// round, where only one of the two is defined.
    fn field(&mut self, name: &str) -> Result<Field, QueryError> {
        // These are every operation's own, whatever a namespace calls by the same name.
        if let Some(field) = operation_field(name).filter(|_| self.options.operations) {
            return Ok(field);
        }
        let field = self.lookup(name).or_else(|| match name.strip_prefix(RESERVED_PREFIX) {
            Some(short) => self.lookup(short),
            None => self.lookup(&format!("{RESERVED_PREFIX}{name}")),
        });
        let alias = match name {
            "ScheduleId" if self.options.schedules => Some(SystemField::WorkflowId),
            "ActivityId" if self.options.activities => Some(SystemField::WorkflowId),
            "ActivityType" if self.options.activities => Some(SystemField::WorkflowType),
            _ => None,
        };
        let field = field.or_else(|| alias.map(Field::System));
        let field = field.ok_or_else(|| QueryError::Invalid(format!("column name '{name}' is not a valid search attribute")))?;
        self.mentions_division |= field.name() == NAMESPACE_DIVISION;
        Ok(field)
    }

    fn lookup(&self, name: &str) -> Option<Field> {
        let attribute = |kind| Field::Attribute { name: name.into(), kind };
        let system = SystemField::from_name(name).map(Field::System);
        let custom = || {
            let kind = self.attributes.attribute(name)?;
            Some(Field::Attribute { name: self.attributes.stored(name).into(), kind })
        };
        system.or_else(|| predefined(name).map(|(kind, _)| attribute(kind))).or_else(custom)
    }

    /// What may follow the condition.
    fn tail(&mut self) -> Result<Option<Field>, QueryError> {
        let mut group = Vec::new();
        if self.takes_word("GROUP")? {
            self.needs_word("BY")?;
            group.push(self.operand()?);
            while self.takes_mark(",")? {
                group.push(self.operand()?);
            }
        }
        let order = self.takes_word("ORDER")?;
        if order {
            self.needs_word("BY")?;
            loop {
                self.operand()?;
                let _ = self.takes_word("ASC")? || self.takes_word("DESC")?;
                if !self.takes_mark(",")? {
                    break;
                }
            }
        }
        let limit = self.takes_word("LIMIT")?;
        if limit {
            self.operand()?;
            if self.takes_mark(",")? || self.takes_word("OFFSET")? {
                self.operand()?;
            }
        }
        if self.token != Token::End {
            return self.syntax();
        }
        let refused = |clause: &str| Err(QueryError::NotSupported(clause.into()));
        if limit {
            return refused("'LIMIT' clause");
        }
        if order {
            return refused("'ORDER BY' clause");
        }
        self.group_by(group)
    }

    fn group_by(&mut self, group: Vec<Operand>) -> Result<Option<Field>, QueryError> {
        let refused = |clause: &str| Err(QueryError::NotSupported(clause.into()));
        let several = group.len() > 1;
        let Some(first) = group.into_iter().next() else { return Ok(None) };
        if !self.options.groups {
            return refused("'GROUP BY' clause");
        }
        if several {
            return refused("'GROUP BY' clause supports only a single field");
        }
        let Operand::Column(name) = first else { return Err(not_a_column(first.what())) };
        let field = self.field(&name)?;
        if !groups_by(&field) {
            return Err(QueryError::NotSupported(format!("'GROUP BY' clause is not supported for search attribute {name}")));
        }
        Ok(Some(field))
    }
}

/// A field by its name in lists of Nexus operations: the one that users know, or the one that queries print.
fn operation_field(name: &str) -> Option<Field> {
    let attribute = |name: &str| Some(Field::Attribute { name: name.into(), kind: AttributeType::Keyword });
    match name {
        "OperationId" => Some(Field::System(SystemField::WorkflowId)),
        "Operation" => Some(Field::System(SystemField::WorkflowType)),
        "Endpoint" | alone::ENDPOINT => attribute(alone::ENDPOINT),
        "Service" | alone::SERVICE => attribute(alone::SERVICE),
        "RequestId" | alone::REQUEST_ID => attribute(alone::REQUEST_ID),
        _ => None,
    }
}

fn is_arithmetic(mark: &str) -> bool {
    ["+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>"].contains(&mark)
}

fn not_a_column(what: &str) -> QueryError {
    QueryError::Invalid(format!("must be a column name but was {what}"))
}

fn unfit(operator: Operator, negated: bool, field: &Field) -> QueryError {
    let (name, kind) = (field.name(), field.kind().name());
    if operator == Operator::Between {
        return QueryError::Invalid(format!("cannot do range condition on search attribute '{name}' of type {kind}"));
    }
    let operator = operator.name(negated);
    QueryError::NotSupported(format!("operator '{operator}' not supported for {kind} type search attribute '{name}'"))
}
