//! What commands write: text for people, JSON for programs, from the same calls.

mod table;
mod time;

use std::io::{self, Write};

use prost::{Message, Name};
use sempre_api::{
    Timestamp,
    json::{self, Payloads},
};
use serde_json::{Map, Value};

pub(crate) use table::{Cell, Hue, Table, paint};

use super::{
    Failure,
    flags::{Color, CommonFlags, Format, TimeFormat},
};

/// Where a command's answer goes, and in which form.
pub(crate) struct Output {
    to: Box<dyn Write + Send>,
    format: Format,
    time_format: TimeFormat,
    coloured: bool,
    payloads: Payloads,
    now_millis: i64,
    /// A JSON list is open; whether it has an item.
    list: Option<bool>,
}

/// Named values of an answer that is no message: fields in JSON, a card in text.
pub(crate) type Record = Vec<(&'static str, Value)>;

impl Output {
    /// `terminal`: a person reads it; `no_color`: the environment asks for none.
    pub(crate) fn new(flags: &CommonFlags, terminal: bool, no_color: bool, now_millis: i64) -> Self {
        let format = flags.output.unwrap_or_default();
        let coloured = match flags.color.unwrap_or_default() {
            Color::Auto => terminal && !no_color,
            Color::Always => true,
            Color::Never => false,
        };
        Self {
            to: Box::new(io::stdout()),
            format,
            time_format: flags.time_format.unwrap_or_default(),
            coloured: coloured && format == Format::Text,
            payloads: if flags.no_json_shorthand_payloads { Payloads::Full } else { Payloads::Shorthand },
            now_millis,
            list: None,
        }
    }

    /// A program reads it.
    pub(crate) fn is_json(&self) -> bool {
        matches!(self.format, Format::Json | Format::Jsonl)
    }

    /// A person reads it.
    pub(crate) fn is_text(&self) -> bool {
        self.format == Format::Text
    }

    /// A line of text; nothing in JSON.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        if self.is_text() {
            writeln!(self.to, "{}", text.as_ref())?;
        }
        Ok(())
    }

    /// A line of text in a colour; nothing in JSON.
    pub(crate) fn line_in(&mut self, hue: Hue, text: impl AsRef<str>) -> Result<(), Failure> {
        let painted = table::paint(text.as_ref(), Some(hue), self.coloured);
        self.line(painted)
    }

    /// The title of what follows; nothing in JSON.
    pub(crate) fn title(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        self.line_in(Hue::Title, text)
    }

    /// Text as it is, without a line end; nothing in JSON.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        if self.is_text() {
            self.to.write_all(text.as_bytes())?;
            self.to.flush()?;
        }
        Ok(())
    }

    /// The next page of a table; nothing in JSON.
    pub(crate) fn table(&mut self, table: &mut Table, rows: &[Vec<Cell>]) -> Result<(), Failure> {
        let text = table.page(rows, self.coloured);
        self.text(&text)
    }

    /// A card; nothing in JSON.
    pub(crate) fn card(&mut self, entries: &[(&str, Cell)]) -> Result<(), Failure> {
        let entries: Vec<_> = entries.iter().map(|(name, cell)| ((*name).to_owned(), cell.clone())).collect();
        let text = table::card(&entries, self.coloured);
        self.text(&text)
    }

    /// An answer that is no message: an object in JSON, a card in text.
    pub(crate) fn record(&mut self, record: Record) -> Result<(), Failure> {
        if self.is_json() {
            return self.value(&record.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>().into());
        }
        let entries: Vec<_> = record.iter().map(|(name, value)| (capitalised(name), Cell::from(bare(value)))).collect();
        let text = table::card(&entries, self.coloured);
        self.text(&text)
    }

    /// A message as JSON; nothing in text.
    pub(crate) fn message<M: Message + Name>(&mut self, message: &M) -> Result<(), Failure> {
        if self.is_json() { self.value(&json::to_value(message, self.payloads)) } else { Ok(()) }
    }

    /// A message as JSON, whatever the format; for raw views.
    pub(crate) fn raw_message<M: Message + Name>(&mut self, message: &M) -> Result<(), Failure> {
        if self.format == Format::None {
            return Ok(());
        }
        let value = json::to_value(message, self.payloads);
        self.write_value(&value)
    }

    /// A message as JSON with payloads in full, whatever the flags say; for programs that know no shorthand.
    pub(crate) fn raw_message_full<M: Message + Name>(&mut self, message: &M) -> Result<(), Failure> {
        if self.format == Format::None { Ok(()) } else { self.write_value(&json::to_value(message, Payloads::Full)) }
    }

    /// JSON as it is, whatever the format.
    pub(crate) fn raw_value(&mut self, value: &Value) -> Result<(), Failure> {
        if self.format == Format::None { Ok(()) } else { self.write_value(value) }
    }

    /// JSON as it is; nothing in text.
    pub(crate) fn value(&mut self, value: &Value) -> Result<(), Failure> {
        if !self.is_json() {
            return Ok(());
        }
        match (self.format, self.list) {
            (Format::Json, Some(begun)) => {
                let text = serde_json::to_string_pretty(value).unwrap_or_default().replace('\n', "\n  ");
                write!(self.to, "{}  {text}", if begun { ",\n" } else { "\n" })?;
                self.list = Some(true);
                Ok(())
            }
            _ => self.write_value(value),
        }
    }

    fn write_value(&mut self, value: &Value) -> Result<(), Failure> {
        if self.format == Format::Jsonl {
            writeln!(self.to, "{value}")?;
        } else {
            writeln!(self.to, "{value:#}")?;
        }
        Ok(())
    }

    /// From here on values are items of a list, which JSON shows as one, JSON lines as lines.
    pub(crate) fn begin_list(&mut self) -> Result<(), Failure> {
        if self.format == Format::Json {
            write!(self.to, "[")?;
            self.list = Some(false);
        }
        Ok(())
    }

    /// The list is complete.
    pub(crate) fn end_list(&mut self) -> Result<(), Failure> {
        if let Some(begun) = self.list.take() {
            writeln!(self.to, "{}", if begun { "\n]" } else { "]" })?;
        }
        Ok(())
    }

    /// A time as the flags want it.
    pub(crate) fn time(&self, time: Option<&Timestamp>) -> String {
        time::text(time, self.time_format, self.now_millis)
    }

    /// JSON of a message with payloads as the flags want them.
    pub(crate) fn json_of<M: Message + Name>(&self, message: &M) -> Value {
        json::to_value(message, self.payloads)
    }

    /// Everything is out.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.to.flush()?)
    }

    #[cfg(test)]
    pub(crate) fn writing_to(mut self, to: Box<dyn Write + Send>) -> Self {
        self.to = to;
        self
    }
}

/// `WorkflowId` for `workflowId`.
fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// A value as text: strings without quotes, nothing for null.
pub(crate) fn bare(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The short name of an enum value: `Completed` for `WORKFLOW_EXECUTION_STATUS_COMPLETED`.
pub(crate) fn short_name(full: &str, prefix: &str) -> String {
    let rest = full.strip_prefix(prefix).unwrap_or(full);
    if rest == "UNSPECIFIED" {
        return String::new();
    }
    rest.split('_').map(|word| capitalised(&word.to_lowercase())).collect()
}

#[cfg(test)]
mod tests;
