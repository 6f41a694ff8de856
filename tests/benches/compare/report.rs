//! The table: medians of what was measured, and ratios to the peers.

use std::{collections::HashMap, fmt};

use crate::targets::Kind;

/// Something that is measured: a row of the table.
#[derive(Debug)]
pub struct Row {
    /// The measured quantity, with its unit.
    pub name: &'static str,
    /// Digits after the point.
    pub digits: usize,
    /// The goal for Roadstead.
    pub goal: &'static str,
}

/// All that was measured.
pub struct Report {
    targets: Vec<Kind>,
    rows: Vec<&'static Row>,
    samples: HashMap<(&'static str, Kind), Vec<f64>>,
    notes: Vec<String>,
}

impl Report {
    /// An empty table with a column for each of these.
    pub fn new(targets: Vec<Kind>) -> Self {
        Self { targets, rows: Vec::new(), samples: HashMap::new(), notes: Vec::new() }
    }

    /// Adds a value of one round. Rows appear in the order in which they are first added.
    pub fn add(&mut self, row: &'static Row, target: Kind, value: f64) {
        if !self.rows.iter().any(|known| known.name == row.name) {
            self.rows.push(row);
        }
        println!("{target:>16}  {:<60} {value:.*}", row.name, row.digits);
        self.samples.entry((row.name, target)).or_default().push(value);
    }

    /// Adds a sentence below the table.
    pub fn note(&mut self, note: String) {
        println!("{note}");
        self.notes.push(note);
    }

    fn median(&self, row: &Row, target: Kind) -> Option<f64> {
        let mut values = self.samples.get(&(row.name, target))?.clone();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        if values.len() % 2 == 1 {
            return values.get(middle).copied();
        }
        Some((values.get(middle.checked_sub(1)?)? + values.get(middle)?) / 2.0)
    }

    /// The least and the most of several rounds, unless they are the same.
    fn range(&self, row: &Row, target: Kind) -> Option<(f64, f64)> {
        let values = self.samples.get(&(row.name, target))?;
        let (least, most) = (values.iter().copied().reduce(f64::min)?, values.iter().copied().reduce(f64::max)?);
        (least < most).then_some((least, most))
    }

    fn ratio(&self, row: &Row, peer: Kind) -> Option<f64> {
        let (ours, theirs) = (self.median(row, Kind::Roadstead)?, self.median(row, peer)?);
        (theirs != 0.0).then_some(ours / theirs)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peers = || self.targets.iter().copied().filter(|target| *target != Kind::Roadstead);
        write!(f, "|")?;
        self.targets.iter().try_for_each(|target| write!(f, " | {target}"))?;
        peers().try_for_each(|peer| write!(f, " | ÷ {peer}"))?;
        writeln!(f, " | goal |")?;
        writeln!(f, "| ---{} | --- |", " | ---:".repeat(self.targets.len() + peers().count()))?;
        for row in &self.rows {
            let cell = |value: Option<f64>, digits| value.map_or("–".to_owned(), |value| format!("{value:.digits$}"));
            let spread = |target| match self.range(row, target) {
                Some((least, most)) => format!(" ({least:.0$} to {most:.0$})", row.digits),
                None => String::new(),
            };
            write!(f, "| {}", row.name)?;
            for target in &self.targets {
                write!(f, " | {}{}", cell(self.median(row, *target), row.digits), spread(*target))?;
            }
            for peer in peers() {
                match self.ratio(row, peer) {
                    Some(ratio) if ratio < 0.01 => write!(f, " | < 0.01")?,
                    ratio => write!(f, " | {}", cell(ratio, 2))?,
                }
            }
            writeln!(f, " | {} |", row.goal)?;
        }
        self.notes.iter().try_for_each(|note| write!(f, "\n- {note}"))
    }
}
