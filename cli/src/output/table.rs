//! Tables of aligned columns, and names with aligned values. Control characters in cells are escaped, because cells come from
//! servers.

use std::{borrow::Cow, fmt};

const GAP: &str = "   ";

/// Mark of a column title that only a wide table shows.
const WIDE: char = '+';

/// A table: rows under a header.
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    is_wide: bool,
}

impl Table {
    /// Returns a table with these column titles and a row for each item. A narrow table, which should fit 80 columns, leaves out
    /// the columns whose titles begin with `+`.
    pub fn new<const N: usize, T>(
        header: [&'static str; N],
        items: &[T],
        mut row: impl FnMut(&T) -> [String; N],
    ) -> Self {
        Self { header: header.into(), rows: items.iter().map(|item| row(item).into()).collect(), is_wide: false }
    }

    /// Returns the same table with all its columns.
    pub fn wide(self) -> Self {
        Self { is_wide: true, ..self }
    }
}

impl Table {
    /// Returns the table's lines, without the header unless it is the first page of a list. `widths` holds the columns' widths
    /// from page to page: later pages widen them if they must.
    pub fn page(&self, widths: &mut Vec<usize>, is_first: bool) -> String {
        let shown = |column: &usize| self.is_wide || !self.header[*column].starts_with(WIDE);
        let columns: Vec<usize> = (0..self.header.len()).filter(shown).collect();
        let header: Vec<Cow<'_, str>> =
            columns.iter().map(|column| Cow::Borrowed(self.header[*column].trim_start_matches(WIDE))).collect();
        let cells = self.rows.iter().map(|row| columns.iter().map(|column| plain(&row[*column])).collect());
        let rows: Vec<Vec<Cow<'_, str>>> = is_first.then_some(header).into_iter().chain(cells).collect();
        widths.resize(columns.len(), 0);
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |row: &Vec<Cow<'_, str>>| {
            let cells: Vec<String> = row.iter().zip(&*widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            format!("{}\n", cells.join(GAP).trim_end())
        };
        rows.iter().map(line).collect()
    }
}

#[cfg(test)]
impl Table {
    /// True if no line of the table is longer than a usual terminal is wide.
    pub fn fits_80_columns(&self) -> bool {
        self.to_string().lines().all(|line| line.chars().count() <= 80)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.page(&mut Vec::new(), true))
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
