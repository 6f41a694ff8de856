//! Tables of aligned columns, and names with aligned values. Control characters in cells are escaped, because cells come from
//! servers.

use std::{borrow::Cow, fmt};

const GAP: &str = "   ";

/// A table: rows under a header.
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Returns a table with these column titles and a row for each item.
    pub fn new<const N: usize, T>(
        header: [&'static str; N],
        items: &[T],
        mut row: impl FnMut(&T) -> [String; N],
    ) -> Self {
        Self { header: header.into(), rows: items.iter().map(|item| row(item).into()).collect() }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<Vec<Cow<'_, str>>> =
            std::iter::once(self.header.iter().map(|title| Cow::Borrowed(*title)).collect())
                .chain(self.rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()))
                .collect();
        let widths: Vec<usize> = (0..self.header.len())
            .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max())
            .map(Option::unwrap_or_default)
            .collect();
        for row in rows {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            writeln!(f, "{}", cells.join(GAP).trim_end())?;
        }
        Ok(())
    }
}

/// Names with values, one per line.
#[derive(Default)]
pub struct Details(Vec<(&'static str, String)>);

impl Details {
    /// Adds a line.
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.0.push((name, value.to_string()));
        self
    }
}

impl fmt::Display for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|(name, _)| name.len() + 1).max().unwrap_or_default();
        for (name, value) in &self.0 {
            let line = format!("{:<width$}{GAP}{}", format!("{name}:"), plain(value));
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Escapes control characters, so that no answer moves a terminal's cursor or starts a new line.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

#[cfg(test)]
mod tests;
