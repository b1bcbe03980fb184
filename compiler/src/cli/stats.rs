//! `gatec run --stats`: where routers sent rows, and in which layer rows left, as tables with a histogram.

use std::fmt;

use gatec_runtime::{ExitCounts, RouterCounts};

use super::table::Table;

/// Bars of a histogram; neighbours share one where there are more experts.
const MOST_BARS: usize = 64;
/// From none to the most.
const BARS: [char; 9] = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Where the rows of an entry went.
pub struct Stats<'a> {
    pub entry: &'a str,
    pub routers: &'a [RouterCounts],
    pub exits: &'a [ExitCounts],
}

impl fmt::Display for Stats<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.routers.is_empty() && self.exits.is_empty() {
            let what =
                "routers whose rows are sorted by expert are counted (not those that compute all experts), and exits";
            return writeln!(f, "nothing to count in {}: {what}", self.entry);
        }
        if !self.routers.is_empty() {
            write!(f, "{}", self.routers())?;
        }
        if !self.exits.is_empty() {
            write!(f, "{}", self.exits())?;
        }
        Ok(())
    }
}

impl Stats<'_> {
    fn routers(&self) -> Table<9> {
        let header = ["router", "layer", "calls", "rows", "dropped", "least", "most", "entropy", "rows of each expert"];
        let mut table = Table::new(&header);
        for router in self.routers {
            for (number, layer) in router.layers.iter().enumerate() {
                table.row([
                    name(&router.expert, &router.lines),
                    number.to_string(),
                    layer.calls.to_string(),
                    layer.taken().to_string(),
                    layer.dropped.to_string(),
                    layer.rows.iter().min().copied().unwrap_or(0).to_string(),
                    layer.rows.iter().max().copied().unwrap_or(0).to_string(),
                    format!("{:.2} of {:.2}", layer.entropy(), (layer.rows.len().max(1) as f64).ln()),
                    bars(&layer.rows),
                ]);
            }
        }
        table
    }

    fn exits(&self) -> Table<5> {
        let mut table = Table::new(&["exits", "rows", "left", "stayed", "rows that left in each layer"]);
        for exits in self.exits {
            let left: u64 = exits.layers.iter().sum();
            let shown: Vec<String> = exits.layers.iter().map(u64::to_string).collect();
            table.row([
                name(&exits.axis, &exits.lines),
                (left + exits.stayed).to_string(),
                left.to_string(),
                exits.stayed.to_string(),
                format!("{}  {}", bars(&exits.layers), shown.join(" ")),
            ]);
        }
        table
    }
}

/// `e model.gate:7`
fn name(axis: &str, lines: &[(String, u32)]) -> String {
    match lines.first() {
        Some((file, line)) => format!("{axis} {file}:{line}"),
        None => axis.into(),
    }
}

/// A bar for each expert or layer. The lowest says that there is a row at all.
fn bars(counts: &[u64]) -> String {
    let share = counts.len().div_ceil(MOST_BARS).max(1);
    let sums: Vec<u64> = counts.chunks(share).map(|rows| rows.iter().sum()).collect();
    let most = sums.iter().max().copied().unwrap_or(0).max(1) as f64;
    let steps = (BARS.len() - 1) as f64;
    let bars = sums.iter().map(|rows| BARS[(*rows as f64 / most * steps).ceil() as usize]);
    let shared = if share > 1 { format!(" ({share} a bar)") } else { String::new() };
    bars.collect::<String>() + &shared
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_shows_every_expert_and_says_where_several_share_a_bar() {
        let of = |rows: Vec<u64>| bars(&rows);
        assert_eq!(of(vec![0, 1, 50, 100]), "·▁▄█");
        assert_eq!(of(vec![0, 0]), "··");
        assert_eq!(of(vec![]), "");
        let many = of((0..256).collect());
        assert!(many.chars().take(64).count() == 64 && many.ends_with("█ (4 a bar)"), "{many}");
    }
}
