#!/usr/bin/env bash
# Makes recording.wav: some 15 s of synthetic speech at 16 kHz, mono, 16 bits, with pauses, noise alone, a tone, and speech
# under noise. Needs espeak-ng and sox; the same versions of both give the same file.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { # NAME VOICE SPEED TEXT
    espeak-ng -v "$2" -s "$3" -w "$work/$1.22k.wav" "$4"
    sox -D "$work/$1.22k.wav" -r 16000 -c 1 -b 16 "$work/$1.wav" norm -9
}
silence() { sox -D -n -r 16000 -c 1 -b 16 "$work/$1.wav" trim 0 "$2"; } # NAME SECONDS

say one en-us 150 "A gate decides how much of a signal passes."
say two en-gb+f3 165 "Speech comes and goes, and so must the answer."
say three en-us+m3 140 "Under noise, it is harder."
silence lead 0.8
silence gap 1.3
silence tail 1.2
sox -D -R -n -r 16000 -c 1 -b 16 "$work/hiss.wav" synth 1.2 pinknoise vol 0.25 fade t 0.1 1.2 0.1
sox -D -R -n -r 16000 -c 1 -b 16 "$work/tone.wav" synth 0.7 sine 440 vol 0.2 fade t 0.05 0.7 0.05

sox -D "$work/lead.wav" "$work/one.wav" "$work/gap.wav" "$work/two.wav" "$work/lead.wav" "$work/hiss.wav" "$work/lead.wav" \
    "$work/tone.wav" "$work/gap.wav" "$work/three.wav" "$work/tail.wav" "$work/clean.wav"
seconds=$(soxi -D "$work/clean.wav")
# The noise of a room throughout, and more of it under the last sentence.
sox -D -R -n -r 16000 -c 1 -b 16 "$work/room.wav" synth "$seconds" brownnoise vol 0.02
sox -D -R -n -r 16000 -c 1 -b 16 "$work/loud.wav" synth 4 pinknoise vol 0.12 fade t 0.5 4 0.5
sox -D "$work/loud.wav" -b 16 "$work/late.wav" pad "$(echo "$seconds - 4" | bc -l)" 0
sox -D -m -v 1 "$work/clean.wav" -v 1 "$work/room.wav" -v 1 "$work/late.wav" -r 16000 -c 1 -b 16 recording.wav
soxi recording.wav
