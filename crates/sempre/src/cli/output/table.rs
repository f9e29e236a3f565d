//! Aligned columns and cards.

/// A piece of text, perhaps in a colour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    hue: Option<Hue>,
}

/// Colours that mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hue {
    /// Titles.
    Title,
    /// It went well.
    Good,
    /// It went wrong.
    Bad,
    /// It was stopped, or worth a look.
    Odd,
    /// It goes on.
    Running,
}

impl Hue {
    fn code(self) -> &'static str {
        match self {
            Hue::Title => "35",
            Hue::Good => "32",
            Hue::Bad => "31",
            Hue::Odd => "33",
            Hue::Running => "34",
        }
    }
}

impl Cell {
    pub(crate) fn in_hue(text: impl Into<String>, hue: Hue) -> Self {
        Self { text: text.into(), hue: Some(hue) }
    }

    /// The text without its colour.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Padded to `width`; escapes take no room.
    fn padded(&self, width: usize, coloured: bool) -> String {
        let room = " ".repeat(width.saturating_sub(self.width()));
        paint(&self.text, self.hue, coloured) + &room
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        // One line, whatever it holds.
        let text: String = text.into();
        let text = if text.contains(char::is_control) { text.escape_debug().to_string() } else { text };
        Self { text, hue: None }
    }
}

/// The text in its colour.
pub(crate) fn paint(text: &str, hue: Option<Hue>, coloured: bool) -> String {
    match hue {
        Some(hue) if coloured && !text.is_empty() => format!("\x1b[{}m{text}\x1b[0m", hue.code()),
        _ => text.to_owned(),
    }
}

/// Rows under a header. Later pages go on without the header, as wide as the first.
#[derive(Debug)]
pub(crate) struct Table {
    columns: &'static [&'static str],
    widths: Option<Vec<usize>>,
}

impl Table {
    pub(crate) fn new(columns: &'static [&'static str]) -> Self {
        Self { columns, widths: None }
    }

    /// The next page as text.
    pub(crate) fn page(&mut self, rows: &[Vec<Cell>], coloured: bool) -> String {
        let mut text = String::new();
        let columns = self.columns;
        let first = self.widths.is_none();
        let widths = self.widths.get_or_insert_with(|| {
            let widest = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(Cell::width).max().unwrap_or(0);
            columns.iter().enumerate().map(|(at, name)| name.len().max(widest(at))).collect()
        });
        let mut line = |cells: &[Cell]| {
            let padded: Vec<_> = cells.iter().zip(&*widths).map(|(cell, width)| cell.padded(*width, coloured)).collect();
            text += &format!("  {}\n", padded.join("  ").trim_end());
        };
        if first {
            let header: Vec<Cell> = columns.iter().map(|name| Cell::in_hue(*name, Hue::Title)).collect();
            line(&header);
        }
        rows.iter().for_each(|row| line(row));
        text
    }
}

/// Names and values below each other; empty values are left out.
pub(crate) fn card(entries: &[(String, Cell)], coloured: bool) -> String {
    let width = entries.iter().filter(|(_, value)| !value.text.is_empty()).map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in entries.iter().filter(|(_, value)| !value.text.is_empty()) {
        let name = Cell::from(name.as_str()).padded(width, false);
        text += &format!("  {name}  {}\n", value.padded(0, coloured));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: [&str; 2]) -> Vec<Cell> {
        cells.map(Cell::from).to_vec()
    }

    #[test]
    fn columns_are_aligned_and_the_header_comes_once() {
        let mut table = Table::new(&["Id", "Type"]);
        assert_eq!(table.page(&[row(["a", "Order"]), row(["longer", ""])], false), "  Id      Type\n  a       Order\n  longer\n");
        assert_eq!(table.page(&[row(["b", "Pay"])], false), "  b       Pay\n");
    }

    #[test]
    fn colours_take_no_room() {
        let mut table = Table::new(&["A", "B"]);
        let cells = vec![Cell::in_hue("ok", Hue::Good), Cell::from("x")];
        assert_eq!(table.page(&[cells], true), "  \x1b[35mA\x1b[0m   \x1b[35mB\x1b[0m\n  \x1b[32mok\x1b[0m  x\n");
        assert_eq!(paint("ok", Some(Hue::Good), false), "ok");
    }

    #[test]
    fn a_card_leaves_out_what_is_empty() {
        let entries = [("Id".to_owned(), Cell::from("a\nb")), ("Longest".to_owned(), Cell::from("")), ("Run".to_owned(), Cell::from("r"))];
        assert_eq!(card(&entries, false), "  Id   a\\nb\n  Run  r\n");
    }
}
