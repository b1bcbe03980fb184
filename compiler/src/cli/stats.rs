//! `gatec run --stats`: where routers sent rows, as a table with a histogram.

use std::fmt;

use gatec_runtime::{LayerCounts, RouterCounts};

use super::table::Table;

/// Bars of a histogram; neighbours share one where there are more experts.
const MOST_BARS: usize = 64;
/// From none to the most.
const BARS: [char; 9] = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The routers of an entry.
pub struct Stats<'a> {
    pub entry: &'a str,
    pub routers: &'a [RouterCounts],
}

impl fmt::Display for Stats<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.routers.is_empty() {
            let why = "routers whose rows are sorted by expert are counted, not those that compute all experts";
            return writeln!(f, "nothing to count in {}: {why}", self.entry);
        }
        let header = ["router", "layer", "calls", "rows", "dropped", "least", "most", "entropy", "rows of each expert"];
        let mut table = Table::new(&header);
        for router in self.routers {
            for (number, layer) in router.layers.iter().enumerate() {
                table.row([
                    name(router),
                    number.to_string(),
                    layer.calls.to_string(),
                    layer.taken().to_string(),
                    layer.dropped.to_string(),
                    layer.rows.iter().min().copied().unwrap_or(0).to_string(),
                    layer.rows.iter().max().copied().unwrap_or(0).to_string(),
                    format!("{:.2} of {:.2}", layer.entropy(), (layer.rows.len().max(1) as f64).ln()),
                    bars(layer),
                ]);
            }
        }
        write!(f, "{table}")
    }
}

/// `e model.gate:7`
fn name(router: &RouterCounts) -> String {
    match router.lines.first() {
        Some((file, line)) => format!("{} {file}:{line}", router.expert),
        None => router.expert.clone(),
    }
}

/// A bar for each expert. The lowest says that there is a row at all.
fn bars(layer: &LayerCounts) -> String {
    let share = layer.rows.len().div_ceil(MOST_BARS).max(1);
    let sums: Vec<u64> = layer.rows.chunks(share).map(|rows| rows.iter().sum()).collect();
    let most = sums.iter().max().copied().unwrap_or(0).max(1) as f64;
    let steps = (BARS.len() - 1) as f64;
    let bars = sums.iter().map(|rows| BARS[(*rows as f64 / most * steps).ceil() as usize]);
    let shared = if share > 1 { format!(" ({share} experts a bar)") } else { String::new() };
    bars.collect::<String>() + &shared
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_shows_every_expert_and_says_where_several_share_a_bar() {
        let of = |rows: Vec<u64>| bars(&LayerCounts { calls: 1, rows, dropped: 0 });
        assert_eq!(of(vec![0, 1, 50, 100]), "·▁▄█");
        assert_eq!(of(vec![0, 0]), "··");
        assert_eq!(of(vec![]), "");
        let many = of((0..256).collect());
        assert!(many.chars().take(64).count() == 64 && many.ends_with("█ (4 experts a bar)"), "{many}");
    }
}
