# `make run` compares the two isolations on this machine; `make test` proves that they work.
.DEFAULT_GOAL := run
SHELL := /bin/sh
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV := .venv
BIN := $(VENV)/bin
# The wheel's build calls this file with its own interpreter, and without a virtual environment of ours.
PYTHON ?= $(firstword $(wildcard $(BIN)/python3) python3)
BUILD := build
PROCESSORS := $(shell nproc)

# The launcher is static, so that it can run as PID 1 of a guest and from a mount of its own. musl-gcc brings no
# kernel headers: the system's come last, where they cannot hide musl's.
MACHINE := $(shell uname -m)
CC := musl-gcc
COMPILE := $(CC) -idirafter /usr/include/$(MACHINE)-linux-gnu -idirafter /usr/include
WARNINGS := -Wall -Wextra -Werror -Wshadow -Wswitch-enum -Wformat=2 -Wmissing-prototypes -Wconversion
CFLAGS := -std=c11 -Os -ffunction-sections -fdata-sections $(WARNINGS)
LDFLAGS := -static -Wl,--gc-sections
SOURCES := $(sort $(filter-out %_test.c launcher/fuzz_%.c,$(wildcard launcher/*.c)))
# Committed, so that the C can be read on its own; `make check` compares them with the Python tables.
GENERATED := launcher/ops.h launcher/protocol.h
LAUNCHER := src/twinhull/bin/launcher
# What `compare` runs inside both isolations to try known ways out; no part of the launcher.
ESCAPES := src/twinhull/bin/escapes
# The same launcher with the points at which tests kill it (TWINHULL_FAULT).
TEST_LAUNCHER := $(BUILD)/launcher-test/launcher
# The first process of guests with another processor (`run --platform linux/arm64 --vm`), where a compiler for it and
# a static C library are installed.
ARM64_LAUNCHER := src/twinhull/bin/launcher-arm64
ARM64_PREFIX := aarch64-linux-gnu-
FOREIGN := $(if $(and $(shell command -v $(ARM64_PREFIX)gcc),$(wildcard /usr/aarch64-linux-gnu/lib/libc.a)),$(ARM64_LAUNCHER))

PYTEST := $(BIN)/python -m pytest
# What may run at the same time as other work: no root, no effect on the machine.
QUICK := tests/style tests/unit tests/golden

# What is made of a comparison, half of the quick tests' time.
REPORTS := $(wildcard tests/unit/test_outputs_*.py tests/unit/test_advi*.py) tests/unit/test_report.py tests/unit/test_parser.py

.PHONY: setup setup-dev extras launcher launcher-test run test check check-source check-tests check-outputs docs golden parity guest-kernel test-clients conformance bench repeats fuzz soak wheel clean

setup:
	@sh scripts/setup
	@$(MAKE) --silent --jobs $(PROCESSORS) launcher
	@$(if $(filter setup,$(MAKECMDGOALS)),echo "ready: $(CURDIR)/$(BIN)/twinhull (try: $(BIN)/twinhull run --rm busybox echo hi)")

setup-dev:
	@sh scripts/setup dev
	@$(MAKE) --silent --jobs $(PROCESSORS) launcher launcher-test

# What compose files take: a pinned wheel, in the environment that setup made.
extras: setup
	@sh scripts/setup extras

run: setup
	@$(BIN)/twinhull compare

# The long files first, a file at a time for each worker. Four for two processors: much of the time is waiting.
test: setup-dev
	$(PYTEST) --numprocesses 4 --dist loadfile --no-loadscope-reorder --durations 20 \
		tests/claims tests/kernel tests/oci tests/fuzz tests/security tests/golden tests/unit tests/style

# Under 30 seconds, without root, on a tree that was set up once: its parts side by side on two processors.
check:
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target check-source check-tests check-outputs

check-source:
	$(BIN)/python scripts/generate_headers.py --check
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy
	clang-format --dry-run --Werror $(filter-out $(GENERATED),$(wildcard launcher/*.[ch] probes/*.[ch]))

check-tests: launcher
	$(PYTEST) -q -m 'not slow' $(QUICK) $(REPORTS:%=--ignore=%)

check-outputs: launcher
	$(PYTEST) -q -m 'not slow' $(REPORTS)

docs: setup-dev
	$(BIN)/python scripts/document_cli.py

# What works in which isolation, by the tests that try it in both.
parity: setup-dev
	TWINHULL_PARITY_PAGE=docs/parity.md $(PYTEST) -q -m parity tests/kernel
	@git --no-pager diff --stat -- docs/parity.md

golden: setup-dev
	TWINHULL_GOLDEN=write $(PYTEST) -q tests/golden
	@git --no-pager diff --stat -- tests/golden

# The guest's kernel of our configuration, for the tests and the benchmark of it: ten minutes on two processors.
guest-kernel: setup-dev
	@sh scripts/setup kernel
	TWINHULL_ROOT=$(CURDIR)/$(BUILD)/guest-kernel $(BIN)/twinhull vm kernel build

test-clients: setup-dev
	@sh scripts/setup bench
	TWINHULL_PEERS=1 $(PYTEST) tests/clients tests/kernel/test_external_runtime.py tests/oci/test_runtime_life.py tests/oci/test_runtime_spec.py

# Other projects' tests of OCI runtimes: fetched, built, and run against runc, crun and twinhull-oci.
conformance: setup-dev
	@sh scripts/setup conformance
	@$(BIN)/python -m scripts.conformance $(if $(SUITE),--suite $(SUITE)) $(if $(ONLY),--only $(ONLY)) $(RUNTIMES)

bench: setup
	@PYTHONPATH=src $(BIN)/python -m bench $(if $(LONG),--long) $(ROUNDS)

repeats: setup
	@PYTHONPATH=src $(BIN)/python -m bench.repeats $(RUNS)

fuzz: setup-dev
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(PYTEST) tests/fuzz

soak: setup-dev
	TWINHULL_SOAK=1 $(PYTEST) tests/kernel/test_life_machine.py tests/kernel/test_cycles.py --timeout 7200

wheel:
	$(PYTHON) -m pip wheel --no-deps --wheel-dir dist .

clean:
	rm -rf $(BUILD) dist src/twinhull/bin src/twinhull.egg-info

# --- the launcher
launcher: $(LAUNCHER) $(ESCAPES) $(FOREIGN)
launcher-test: $(TEST_LAUNCHER)

$(GENERATED) &: src/twinhull/plan/ops.py src/twinhull/plan/codec.py src/twinhull/plan/frames.py scripts/generate_headers.py
	@PYTHONPATH=src $(PYTHON) scripts/generate_headers.py

# $(1) the program, $(2) where its objects lie, $(3) flags of its own, $(4) the compiler, $(5) strip
define build_launcher
$(1): $(patsubst launcher/%.c,$(BUILD)/$(2)/%.o,$(SOURCES))
	@mkdir -p $$(@D)
	$(4) $$(LDFLAGS) -o $$@.new $$^
	@$(5) $$@.new && mv $$@.new $$@ # by a rename: workloads may be running from the one that is there

$(BUILD)/$(2)/%.o: launcher/%.c Makefile | $(GENERATED)
	@mkdir -p $$(@D)
	$(4) $$(CFLAGS) $(3) -MMD -MP -c -o $$@ $$<
endef
$(eval $(call build_launcher,$(LAUNCHER),launcher,,$(COMPILE),strip))
$(eval $(call build_launcher,$(TEST_LAUNCHER),launcher-test,-DFAULT_POINTS,$(COMPILE),strip))
$(eval $(call build_launcher,$(ARM64_LAUNCHER),launcher-arm64,,$(ARM64_PREFIX)gcc,$(ARM64_PREFIX)strip))

$(ESCAPES): $(wildcard probes/*.c) probes/escape.h Makefile
	@mkdir -p $(@D)
	$(COMPILE) $(CFLAGS) $(LDFLAGS) -o $@.new $(filter %.c,$^)
	@strip $@.new && mv $@.new $@

-include $(wildcard $(BUILD)/launcher*/*.d)

# --- fuzzing: each launcher/fuzz_NAME.c against the parsers, under AddressSanitizer and UBSan
FUZZ_SECONDS ?= 30
FUZZ_CC := $(or $(shell for c in clang clang-19 clang-16 clang-14; do command -v $$c && break; done),clang)
FUZZ_FLAGS := -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Wno-gnu-variable-sized-type-not-at-end
FUZZERS := $(patsubst launcher/fuzz_%.c,$(BUILD)/fuzz/%,$(wildcard launcher/fuzz_*.c))
.PHONY: fuzz-launcher
fuzz-launcher: $(FUZZERS)
	@for fuzzer in $(FUZZERS); do \
		mkdir -p $$fuzzer.corpus && \
		$$fuzzer -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=$$fuzzer. $$fuzzer.corpus || exit 1; done

$(FUZZERS): $(BUILD)/fuzz/%: $(BUILD)/fuzz/objects/fuzz_%.o $(patsubst launcher/%.c,$(BUILD)/fuzz/objects/%.o,$(filter-out launcher/main.c,$(SOURCES)))
	$(FUZZ_CC) $(FUZZ_FLAGS) -o $@ $^

$(BUILD)/fuzz/objects/%.o: launcher/%.c Makefile | $(GENERATED)
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_FLAGS) -MMD -MP -c -o $@ $<

-include $(wildcard $(BUILD)/fuzz/objects/*.d)
