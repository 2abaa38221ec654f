# Verbs for people and for CI. Each sets up what it needs, so any of them can be the first command after a clone.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup lint demo test test-device check replay replay-record bench results clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.stamp
# Two workers of one thread each: small tensors gain nothing from threads, and workers would fight over the cores. Who is
# done first takes over from the other: some tests take a minute.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal
NATIVE := $(shell find c -type f)

help:  ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s%s\n", $$1, $$2}' Makefile

setup: $(STAMP)  ## create .venv with everything: torch, the compiled engine, the development tools

# pip's log is long and its silence is longer: show one short line per step instead.
$(STAMP): pyproject.toml CMakeLists.txt $(NATIVE)
	@echo "setup: virtual environment in .venv ($(PYTHON))"
	@$(PYTHON) -m venv .venv || { echo "setup: python's venv module is needed (Debian: apt install python3-venv)" >&2; exit 1; }
	@echo "setup: packages and the compiled engine (the first time takes a few minutes)"
	@$(BIN)/python -m pip install --progress-bar off -e '.[server,dev]' 2>&1 | tee .venv/setup.log \
	    | sed -u -n -E -e 's/^ *(Collecting|Processing) ([^ ]*\/)?([^ ]*).*/  \1 \3/p' \
	        -e 's/^ *((Building|Installing) [^:(]*).*started$$/  \1/p' -e 's/^(Installing collected packages).*/  \1/p' \
	    || { tail -n 40 .venv/setup.log >&2; exit 1; }
	@touch $@
	@echo "setup: done"

demo: $(STAMP)  ## 4-bit digits under a drifting camera: table, demo/report.json, demo/accuracy.png
	@$(BIN)/calibrant demo --out demo

lint: $(STAMP)
	@echo "check: ruff, mypy, import contracts"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --num-workers 2
	@$(BIN)/lint-imports --no-cache
	@twice=$$(find tests -name '*.py' ! -name conftest.py ! -name scenario.py -printf '%f\n' | sort | uniq -d); [ -z "$$twice" ] \
	    || { echo "check: pytest imports test modules by name; used twice: $$twice" >&2; exit 1; }

# Unit tests that train or export networks; `make test` runs them.
SLOW := autodiff/test_reference.py autodiff/test_search.py bench coreset data/test_cifar10.py frontend/test_torch_export.py passes session/test_unsupervised.py zoo

check: lint  ## lint, types, import contracts and the fast unit tests; under 90 seconds
	@$(PYTEST) tests/unit $(addprefix --ignore tests/unit/,$(SLOW))

test: lint  ## everything: check's parts and the whole test suite; under 15 minutes
	@$(PYTEST)

test-device: $(STAMP)  ## firmware on emulated boards, long streams too; needs arm-none-eabi-gcc and qemu-system-arm
	@CALIBRANT_DEVICE_STREAMS=1 $(PYTEST) tests/device

# From the folder of the tests, which is how they find each other; by absolute path, for the environment is the tree's.
REPLAY := cd tests && $(CURDIR)/$(BIN)/python -m replay

replay: $(STAMP)  ## is everything as recorded? artifacts, streams, firmware, demo, protocols; BASE=<commit>: as then, on this machine
	@$(REPLAY) compare $(if $(BASE),--base $(BASE))

replay-record: $(STAMP)  ## make the records of `make replay` anew; the commit says which numbers changed and why
	@$(REPLAY) record

bench: $(STAMP)  ## time and memory against peers, and a quick calibration protocol
	@$(BIN)/python benchmarks/inference.py
	@$(BIN)/python benchmarks/window.py
	@if [ -n "$${CALIBRANT_DATA:-}" ]; then $(BIN)/calibrant bench qcore --bits 4 --out OUT/qcore; \
	else echo "bench: the calibration protocol needs data sets: set CALIBRANT_DATA to their folder"; fi

results: $(STAMP)  ## rerun every table of docs/results.md (needs CALIBRANT_DATA; hours, resumable) and write the page
	@bash benchmarks/results.sh OUT

clean:  ## remove the environment and what was built
	rm -rf .venv build demo OUT .pytest_cache .mypy_cache .ruff_cache .hypothesis
