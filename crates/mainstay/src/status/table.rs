//! Tables for a terminal: columns as wide as they must be, colour only where it can be seen.

use std::io::IsTerminal;

/// Whether colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// No.
    Plain,
    /// By ANSI sequences.
    Ansi,
}

impl Paint {
    /// Colours if standard output is a terminal and `NO_COLOR` is not set.
    pub fn for_stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        if wanted && std::io::stdout().is_terminal() { Self::Ansi } else { Self::Plain }
    }

    /// `text` in `tone`.
    pub fn apply(self, tone: Tone, text: &str) -> String {
        match (self, tone.code()) {
            (Self::Ansi, Some(code)) => format!("\x1b[{code}m{text}\x1b[0m"),
            (Self::Ansi, None) | (Self::Plain, _) => text.to_owned(),
        }
    }
}

/// What a text means, shown by its colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing in particular.
    #[default]
    Normal,
    /// A heading.
    Heading,
    /// All is well.
    Good,
    /// Look at it.
    Warning,
    /// Act on it.
    Bad,
    /// Of little interest.
    Faint,
}

impl Tone {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Normal => None,
            Self::Heading => Some("1"),
            Self::Good => Some("32"),
            Self::Warning => Some("33"),
            Self::Bad => Some("1;31"),
            Self::Faint => Some("2"),
        }
    }
}

/// A cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
    right: bool,
}

impl Cell {
    /// A text, aligned left.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: printable(&text.into()), tone: Tone::Normal, right: false }
    }

    /// A number, aligned right.
    pub fn number(text: impl Into<String>) -> Self {
        Self { right: true, ..Self::text(text) }
    }

    /// With a meaning.
    #[must_use]
    pub fn tone(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }
}

/// Replaces what could move the cursor or change colours: some texts come from the network.
pub fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// Renders rows below a heading. Cells of a row beyond the heading's are left out.
pub fn render(heading: &[&str], rows: &[Vec<Cell>], paint: Paint) -> String {
    let mut widths: Vec<usize> = heading.iter().map(|text| text.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.chars().count());
        }
    }
    // A heading stands where its numbers do.
    let right = |column: usize| rows.first().and_then(|row| row.get(column)).is_some_and(|cell| cell.right);
    let heading: Vec<Cell> = heading
        .iter()
        .enumerate()
        .map(|(column, text)| Cell { text: (*text).to_owned(), tone: Tone::Heading, right: right(column) })
        .collect();
    std::iter::once(&heading).chain(rows).map(|row| line(row, &widths, paint)).collect()
}

fn line(row: &[Cell], widths: &[usize], paint: Paint) -> String {
    let mut line = String::new();
    let mut gap = 0;
    for (cell, width) in row.iter().zip(widths) {
        let padding = width.saturating_sub(cell.text.chars().count());
        let (before, after) = if cell.right { (padding, 0) } else { (0, padding) };
        if !cell.text.is_empty() {
            // Spaces are written before what follows them, so that no line ends in spaces.
            line.push_str(&" ".repeat(gap + before));
            line.push_str(&paint.apply(cell.tone, &cell.text));
            gap = 0;
        } else {
            gap += before;
        }
        gap += after + 2;
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_do_not_end_in_spaces() {
        let rows = vec![
            vec![Cell::text("a"), Cell::number("1"), Cell::text("x").tone(Tone::Good)],
            vec![Cell::text("long"), Cell::number("100"), Cell::text("")],
            vec![Cell::text(""), Cell::number(""), Cell::text("y\x1b[31m")],
        ];
        let plain = render(&["NAME", "N", "STATE"], &rows, Paint::Plain);
        assert_eq!(plain, "NAME    N  STATE\na       1  x\nlong  100\n           y [31m\n");
        assert!(render(&["NAME", "N", "STATE"], &rows, Paint::Ansi).contains("\x1b[32mx\x1b[0m"));
    }
}
