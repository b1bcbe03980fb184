//! Hears speech in a recording: `vad-demo ARTIFACT WEIGHTS RECORDING.wav`.
//!
//! A program like this links the runtime and no compiler. The session keeps what the network remembers between calls.
#![allow(clippy::print_stdout, reason = "a program for people")]

mod picture;
mod segments;

use std::error::Error;
use std::time::{Duration, Instant};

use gatec_runtime::{LoadOptions, Model};

/// Samples of a step: 32 ms at 16 kHz.
const STEP: usize = 512;
const RATE: u32 = 16_000;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [artifact, weights, recording] = args.as_slice() else {
        return Err("usage: vad-demo ARTIFACT WEIGHTS RECORDING.wav".into());
    };
    let sound = read(recording)?;

    let start = Instant::now();
    let model = Model::load(artifact, weights.as_str(), &LoadOptions::default().threads(1))?;
    let mut session = model.session("chunk")?;
    let mut speech = Vec::new();
    let mut times = Vec::new();
    let mut first = None;
    // The first pass warms up; the times are those of the second.
    for _ in 0..2 {
        session.reset();
        speech.clear();
        times.clear();
        for step in sound.chunks_exact(STEP) {
            let began = Instant::now();
            let outputs = session.run(&[("sound", step.into())])?;
            speech.push(outputs.slice::<f32>("speech")?[0]);
            times.push(began.elapsed());
            first.get_or_insert_with(|| start.elapsed());
        }
    }
    times.sort();

    let seconds = |samples: usize| samples as f64 / f64::from(RATE);
    println!("{recording}: {:.1} s of sound; {}", seconds(sound.len()), model.isa());
    println!();
    print!("{}", picture::draw(&speech, &sound, seconds(STEP)));
    println!();
    for segment in segments::find(&speech) {
        println!("  speech from {:>5.2} s to {:>5.2} s", seconds(segment.start * STEP), seconds(segment.end * STEP));
    }
    println!();
    let at_once = at_once(&model, &sound)?;
    if let (Some(median), Some(first)) = (times.get(times.len() / 2), first) {
        let times_as_fast = seconds(STEP) / median.as_secs_f64();
        println!(
            "{:.1} us for 32 ms of sound on one thread: {times_as_fast:.0} times as fast as it is spoken",
            micros(*median)
        );
        println!("{:.1} us if the recording is heard at once", micros(at_once) / times.len() as f64);
        println!("{:.1} ms from opening the artifact to the first answer", micros(first) / 1e3);
    }
    Ok(())
}

/// The time of the whole recording in one call: the fastest of a few.
fn at_once(model: &Model, sound: &[f32]) -> Result<Duration, Box<dyn Error>> {
    let sound = &sound[..sound.len() / STEP * STEP];
    let mut session = model.session("whole")?;
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let began = Instant::now();
        session.run(&[("sound", sound.into())])?;
        fastest = fastest.min(began.elapsed());
    }
    Ok(fastest)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Samples between -1 and 1.
fn read(path: &str) -> Result<Vec<f32>, Box<dyn Error>> {
    let mut wav = hound::WavReader::open(path)?;
    let spec = wav.spec();
    if (spec.sample_rate, spec.channels, spec.bits_per_sample) != (RATE, 1, 16) {
        return Err(format!("{path}: need 16 kHz, one channel, 16 bits; found {spec:?}").into());
    }
    let samples: Result<Vec<f32>, _> = wav.samples::<i16>().map(|s| s.map(|s| f32::from(s) / 32768.0)).collect();
    Ok(samples?)
}
