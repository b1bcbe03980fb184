# Every command of a developer. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test zoo bless docs lint bench predicted scale bench-more nightly fuzz gpu-test gpu-bundle

# The version of LLVM that .ci/llvm found; read when a recipe runs.
comma := ,
LLVM = $(shell cat target/llvm-version)
# Cargo's default is the newest; for another one these options take its place.
GATEC = $(if $(filter-out 22,$(LLVM)),--no-default-features --features llvm$(LLVM))
WORKSPACE = $(if $(filter-out 22,$(LLVM)),--no-default-features --features gatec/llvm$(LLVM)$(comma)gatec-tests/llvm$(LLVM))

VAD := examples/silero-vad
# Tests find the PTX assembler here, if there is one.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

help: ## This list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

target/llvm-version: .ci/llvm
	@.ci/llvm $@

demo: target/llvm-version ## Compile a network that hears speech, and run it on a recording
	@cargo build $(if $(wildcard target/release/vad-demo),--quiet) --release -p gatec --bin gatec $(GATEC)
	@cargo build --quiet --release -p vad-demo
	@target/release/gatec build $(VAD)/vad.gate -o target/vad.so
	@target/release/vad-demo target/vad.so $(VAD)/released.safetensors $(VAD)/recording.wav
	@echo
	@echo "What the compiler did (gatec explain $(VAD)/vad.gate has more):"
	@target/release/gatec explain --worth $(VAD)/vad.gate | sed -n '1,16p'

test: target/llvm-version ## Everything that CI checks
	@.ci/ptxas
	@.ci/weights
	cargo fmt --all --check
	cargo check --quiet -p gatec-runtime
	cargo clippy --quiet --workspace --all-targets $(WORKSPACE) -- -D warnings
	cargo clippy --quiet $(CUDA) --all-targets -- -D warnings
	command -v ptxas >/dev/null || export GATEC_NO_PTXAS=1; cargo test --workspace $(WORKSPACE)
	cargo test --quiet $(CUDA) --test gpu --test faults

# SYSTEMS: beginnings of their names.
SYSTEMS ?=
zoo: target/llvm-version ## The published systems of examples/zoo: errors, times, lines: make zoo [PYTHON=one with PyTorch] [SYSTEMS='03 30']
	@PYTHON=$(PYTHON) cargo run --quiet --release -p gatec-tests $(GATEC) --bin gatec-zoo -- $(SYSTEMS)

bless: target/llvm-version ## Rewrite every snapshot, and remove pending ones; review the diff like code
	@find . -name '*.snap.new' -not -path './target/*' -delete
	GATEC_NO_PTXAS=1 INSTA_UPDATE=always cargo test --workspace --no-fail-fast $(WORKSPACE)

docs: target/llvm-version ## The API's pages, in target/doc
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps $(WORKSPACE)

lint: target/llvm-version ## Format in place, then every lint
	cargo fmt --all
	cargo clippy --workspace --all-targets $(WORKSPACE) -- -D warnings

# PEERS: a checkout of the peer suite; PYTHON: the interpreter that has its packages. Without PEERS gatec is measured alone, and
# the comparison in BENCHMARKS.md stays as it is. BENCH: further options of tests/bench/measure.py.
PEERS ?=
PYTHON ?= python3
bench: target/llvm-version ## Measure, and renew BENCHMARKS.md: make bench [PEERS=SUITE PYTHON=ITS_PYTHON] [BENCH='--cases lstm']
	@cargo build --quiet --release -p gatec --bin gatec $(GATEC)
	@cargo build --quiet --release -p gatec-tests --bin gatec-peer $(GATEC)
	@cargo build --quiet --release -p vad-demo
	python3 tests/bench/measure.py --out target/bench $(if $(PEERS),--peers $(PEERS) --python $(PYTHON)) $(BENCH)
	python3 tests/bench/report.py target/bench
	@git --no-pager diff --stat -- BENCHMARKS.md docs

predicted: target/llvm-version ## Hold the cost model against this machine: every kernel predicted and measured, into BENCHMARKS.md
	@cargo build --quiet --release -p gatec --bin gatec $(GATEC)
	python3 tests/bench/predicted.py --out target/bench
	python3 tests/bench/report.py target/bench
	@git --no-pager diff --stat -- BENCHMARKS.md docs

scale: target/llvm-version ## Build examples and ever deeper decoders, into docs/scale.md: e-graphs, time, memory
	@cargo build --quiet --release -p gatec --bin gatec $(GATEC)
	python3 tests/bench/scale.py --out target/bench
	python3 tests/bench/report.py target/bench
	@git --no-pager diff --stat -- docs

# ONLY: some of experts, recurrences, work; the first two need PyTorch, onnx and ONNX Runtime in PYTHON.
ONLY ?= work
bench-more: target/llvm-version ## Odd experts, tiny recurrences, work by experts, many sessions: make bench-more [ONLY=.. PYTHON=..]
	@cargo build --quiet --release -p gatec --bin gatec $(GATEC)
	@cargo build --quiet --release -p gatec-tests --bin gatec-load $(GATEC)
	@mkdir -p target/bench
	target/release/gatec-load >target/bench/load.json
	$(PYTHON) tests/bench/more.py --out target/bench/more.json --only $(ONLY)
	python3 tests/bench/report.py target/bench
	@git --no-pager diff --stat -- BENCHMARKS.md docs

# SEED: the first program, so that each night can have others.
SEED ?= 0
nightly: target/llvm-version ## 10,000 random programs through every pass, with all rules and with half of them: make nightly [SEED=N]
	GATEC_SEEDS=10000 GATEC_SEED=$(SEED) cargo test --release -p gatec-tests $(GATEC) --test optimized every_pass
	GATEC_SEEDS=1000 GATEC_SEED=$(SEED) cargo test --release -p gatec-tests $(GATEC) --test compiled --test planned -- random every_machine

# TARGET: one of fuzz/fuzz_targets, run by cargo-fuzz until it is stopped; without it, property tests with many cases.
TARGET ?=
fuzz: target/llvm-version ## Damaged input for every reader: make fuzz [PROPTEST_CASES=100000] or make fuzz TARGET=artifact
	$(if $(TARGET),cd fuzz && cargo +nightly fuzz run $(TARGET) --fuzz-dir . --no-default-features --features libfuzzer$(comma)llvm$(LLVM),PROPTEST_CASES=$${PROPTEST_CASES:-20000} cargo test --release -p gatec-tests $(GATEC) --test fuzzed)
	$(if $(TARGET),,PROPTEST_CASES=$${PROPTEST_CASES:-20000} cargo test --release --workspace $(WORKSPACE) -- random garbage hostile edits)

# What has code for GPUs in it.
CUDA := -p gatec-runtime -p gatec-check --features gatec-runtime/cuda,gatec-check/cuda
BUNDLE := target/gpu-bundle
# `PROFILE=dev` builds faster and measures nothing.
PROFILE ?= release
PROFILE_DIR := target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))

gpu-bundle: target/llvm-version ## A folder for a GPU machine without compiler and network: target/gpu-bundle/run checks and times it
	cargo build --quiet --profile $(PROFILE) -p gatec-tests --bin gatec-bundle $(GATEC)
	cargo build --quiet --profile $(PROFILE) -p gatec-check --features cuda
	@rm -rf $(BUNDLE)
	$(PROFILE_DIR)/gatec-bundle $(BUNDLE)
	@cp $(PROFILE_DIR)/gatec-check $(BUNDLE)/
	@printf '#!/bin/sh\n# Checks every artifact here against its golden values on the GPU, and times it. `run --cpu` does the same on the processor.\ncd "$$(dirname "$$0")" && exec ./gatec-check "$$@" .\n' >$(BUNDLE)/run
	@chmod +x $(BUNDLE)/run
	@du -sm $(BUNDLE) | (read size _; [ $$size -lt 64 ] || { echo "$(BUNDLE) has $$size MB: too large to carry"; exit 1; })

gpu-test: gpu-bundle ## The tests that need a CUDA device
	cargo test $(CUDA)
	$(BUNDLE)/run
