# Every command of a developer. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test bless docs lint bench fuzz gpu-test gpu-bundle

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
	cargo clippy --quiet $(CUDA) --all-targets -- -D warnings
	command -v ptxas >/dev/null || export GATEC_NO_PTXAS=1; cargo test --workspace $(WORKSPACE)
	cargo test --quiet $(CUDA) --test gpu --test faults

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
