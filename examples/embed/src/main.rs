//! Finds speech in a recording with an artifact of `examples/silero-vad`, 32 ms at a time, as a program with a microphone would.
//!
//!     gatec build examples/silero-vad/vad.gate -o vad.so
//!     cargo run -p embed -- vad.so examples/silero-vad/silero_vad_16k.safetensors examples/silero-vad/recording.wav

use gatec_runtime::{LoadOptions, Model};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [artifact, weights, recording] = arguments.as_slice() else { return Err("embed ARTIFACT WEIGHTS WAV".into()) };
    let model = Model::load(artifact, weights.as_str(), &LoadOptions::default().threads(1))?;
    let mut session = model.session("chunk")?;
    let output = session.entry().outputs[0].name.clone();
    // 16 kHz, mono, 16 bits, behind a header of 44 bytes.
    let samples = std::fs::read(recording)?.split_off(44);
    let sound: Vec<f32> =
        samples.chunks_exact(2).map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32768.0).collect();
    for (number, chunk) in sound.chunks_exact(512).enumerate() {
        let speech = session.run(&[("sound", chunk.into())])?.slice::<f32>(&output)?[0];
        println!("{:6.2} s  {}", number as f32 * 0.032, "#".repeat((speech * 60.0) as usize));
    }
    Ok(())
}
