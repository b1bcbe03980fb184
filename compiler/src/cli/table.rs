//! Columns for people: the first and the last to the left, numbers between them to the right.

use std::fmt;

/// Rows of as many cells as there are columns.
pub struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub fn new(header: &[&str; N]) -> Self {
        Self { rows: vec![header.map(str::to_string)] }
    }

    /// Without a header.
    pub fn bare() -> Self {
        Self { rows: Vec::new() }
    }

    pub fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; N] = std::array::from_fn(width);
        for row in &self.rows {
            let mut line = String::from(" ");
            for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
                line += &match column {
                    0 => format!(" {cell:<width$}"),
                    last if last + 1 == N => format!("  {cell}"),
                    _ => format!("  {cell:>width$}"),
                };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let mut table = Table::new(&["kernel", "calls", "source"]);
        table.row(["contract".into(), "12".into(), "a.gate:1".into()]);
        table.row(["nest".into(), "1".into(), String::new()]);
        assert_eq!(table.to_string(), "  kernel    calls  source\n  contract     12  a.gate:1\n  nest          1\n");
    }
}
