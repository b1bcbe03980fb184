//! A curve over time for a terminal.

use std::fmt::Write;

/// Columns of the picture.
const WIDTH: usize = 88;
/// Rows of the curve; eight levels in each.
const ROWS: usize = 4;
const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The probability of speech above the loudness of the sound; `step` is the time of a probability, in seconds.
pub fn draw(speech: &[f32], sound: &[f32], step: f64) -> String {
    let columns = WIDTH.min(speech.len()).max(1);
    let curve = peaks(speech, columns);
    let loudness = peaks(sound, columns);
    let loudest = loudness.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let mut text = String::new();
    for row in (0..ROWS).rev() {
        let label = match row {
            r if r + 1 == ROWS => "speech 1",
            0 => "0",
            _ => "",
        };
        let bar = curve.iter().map(|p| level(p * ROWS as f32 - row as f32));
        let _ = writeln!(text, "{label:>9} |{}", bar.collect::<String>().trim_end());
    }
    let bar = loudness.iter().map(|s| level((s / loudest).sqrt()));
    let _ = writeln!(text, "{:>9} |{}", "sound", bar.collect::<String>().trim_end());
    let _ = writeln!(text, "{:>9}  {}", "seconds", axis(columns, speech.len() as f64 * step));
    text
}

/// The largest magnitude of each column's share.
fn peaks(values: &[f32], columns: usize) -> Vec<f32> {
    let share = |column: usize| &values[column * values.len() / columns..(column + 1) * values.len() / columns];
    (0..columns).map(|c| share(c).iter().fold(0.0f32, |m, v| m.max(v.abs()))).collect()
}

fn level(height: f32) -> char {
    LEVELS[(height.clamp(0.0, 1.0) * 8.0).round() as usize]
}

/// Every second second, where it belongs.
fn axis(columns: usize, seconds: f64) -> String {
    let mut line = String::new();
    for second in (0..).step_by(2).take_while(|s| f64::from(*s) < seconds) {
        let at = (f64::from(second) / seconds * columns as f64) as usize;
        let _ = write!(line, "{:at$}", "", at = at.saturating_sub(line.len()));
        let _ = write!(line, "{second}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loud_speech_fills_its_columns() {
        let text = draw(&[0.0, 1.0], &[0.0, 0.0, 0.5, -0.5], 0.032);
        let first = text.lines().next().unwrap_or_default();
        assert_eq!(first, " speech 1 | █");
        assert!(text.contains("    sound | █"));
    }

    #[test]
    fn no_sound_is_an_empty_picture() {
        assert_eq!(draw(&[], &[], 0.032).lines().count(), ROWS + 2);
    }
}
