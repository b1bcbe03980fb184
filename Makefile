# Every command of a developer. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test bless docs lint bench fuzz gpu-test

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
	@target/release/gatec explain $(VAD)/vad.gate | sed -n '1,14p'

test: target/llvm-version ## Everything that CI checks
	@.ci/ptxas
	cargo fmt --all --check
	cargo check --quiet -p gatec-runtime
	cargo clippy --quiet --workspace --all-targets $(WORKSPACE) -- -D warnings
	command -v ptxas >/dev/null || export GATEC_NO_PTXAS=1; cargo test --workspace $(WORKSPACE)

bless: target/llvm-version ## Rewrite every snapshot, and remove pending ones; review the diff like code
	@find . -name '*.snap.new' -not -path './target/*' -delete
	GATEC_NO_PTXAS=1 INSTA_UPDATE=always cargo test --workspace --no-fail-fast $(WORKSPACE)

docs: target/llvm-version ## The API's pages, in target/doc
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps $(WORKSPACE)

lint: target/llvm-version ## Format in place, then every lint
	cargo fmt --all
	cargo clippy --workspace --all-targets $(WORKSPACE) -- -D warnings

bench: target/llvm-version ## Measure the examples against the roofline of this machine
	@cargo build --quiet --release -p gatec --bin gatec $(GATEC)
	@cargo build --quiet --release -p gatec-tests --bin gatec-peer $(GATEC)
	target/release/gatec bench $(VAD)/vad.gate --entry chunk --weights $(VAD)/released.safetensors --threads 1
	target/release/gatec bench $(VAD)/vad.gate --entry whole --weights $(VAD)/released.safetensors --size step=512 --threads 1
	@echo "target/release/gatec-peer runs gatec beside other programs: see BENCHMARKS.md"

fuzz: target/llvm-version ## Random input for the readers and random programs, for as long as PROPTEST_CASES says
	PROPTEST_CASES=$${PROPTEST_CASES:-20000} cargo test --release --workspace $(WORKSPACE) -- random garbage hostile

gpu-test: target/llvm-version ## The tests that need a CUDA device
	cargo test -p gatec-runtime --features cuda
	cargo test -p gatec-tests $(GATEC) gpu
