//! Probabilities to segments of speech, as the package's `get_speech_timestamps` does it, without its padding.

use std::ops::Range;

/// Speech begins at this probability ...
const BEGIN: f32 = 0.5;
/// ... and ends below this one ...
const END: f32 = 0.35;
/// ... if it stays there for 100 ms, in steps of 32 ms.
const PAUSE: usize = 4;
/// What is shorter than 250 ms is no speech.
const SHORTEST: usize = 8;

/// Segments in steps, in order.
pub fn find(speech: &[f32]) -> Vec<Range<usize>> {
    let mut segments = Vec::new();
    let mut begin: Option<usize> = None;
    let mut pause: Option<usize> = None;
    for (step, p) in speech.iter().enumerate() {
        if *p >= BEGIN {
            begin.get_or_insert(step);
            pause = None;
        } else if *p < END
            && let Some(from) = begin
        {
            let end = *pause.get_or_insert(step);
            if step - end >= PAUSE {
                segments.push(from..end);
                (begin, pause) = (None, None);
            }
        }
    }
    segments.extend(begin.map(|from| from..pause.unwrap_or(speech.len())));
    segments.retain(|s| s.len() >= SHORTEST);
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_pauses_belong_to_speech_and_short_sounds_do_not_count() {
        let mut speech = vec![0.0; 40];
        speech[5..20].fill(0.9);
        speech[10..12].fill(0.1);
        speech[30..33].fill(0.9);
        assert_eq!(find(&speech), vec![Range { start: 5, end: 20 }]);
    }

    #[test]
    fn speech_may_last_to_the_end() {
        assert_eq!(find(&[0.9; 9]), vec![Range { start: 0, end: 9 }]);
        assert!(find(&[]).is_empty());
    }
}
