# The commands of this project. Each brings what it needs (tests/setup) and is quick when all is
# there; LOCKSIDE_BIN or CARGO_TARGET_DIR point the tests at another build.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test prove soak soak-sheets bench bench-ledger bench-sheets setup build test-rust test-clients test-sheets sheets-emulator

PYTHON := .venv/bin/python

help: ## What can be made
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

demo: ## Watch unchanged Redis clients keep their locks while Redis and Lockside are killed
	@tests/setup demo
	@$(MAKE) --no-print-directory build
	@cargo build --locked --quiet --example sheets-emulator
	@$(PYTHON) tests/demo/demo.py

test: test-rust test-clients test-sheets ## Everything against real redis-server processes

# Most of the time the tests wait for processes: twice as many as there are processors.
test-rust: setup build
	@if cargo nextest --version >/dev/null 2>&1; then \
		cargo nextest run --locked --workspace --all-targets --test-threads $$((2 * $$(nproc))); \
	else \
		cargo test --locked --workspace --all-targets; \
	fi
	cargo test --locked --doc --quiet

test-clients: setup build ## The client libraries alone; FILTER=part-of-a-name runs some
	@cargo build --locked --quiet --manifest-path tests/clients/rust/Cargo.toml \
		--target-dir $(or $(CARGO_TARGET_DIR),target)/clients
	$(PYTHON) tests/clients/run.py $(FILTER)

test-sheets: ## The emulator of Google Sheets under Google's own client and gspread; FILTER as above
	@tests/setup sheets
	@cargo build --locked --quiet --example sheets-emulator
	.venv/sheets/bin/python tests/sheets/google_clients.py \
		$(or $(CARGO_TARGET_DIR),target)/debug/examples/sheets-emulator $(FILTER)

sheets-emulator: ## Google Sheets on this machine, to try things out (Ctrl-C ends it)
	cargo run --locked --example sheets-emulator

prove: build ## What takes long: every order of events of an acquire and of the protocol, ten thousand simulated fleets
	cargo nextest run --locked --lib --run-ignored only
	cargo nextest run --locked --test simulation --run-ignored only

soak: build ## Five minutes of random clients under random faults, twice: with one Lockside and with two
	LOCKSIDE_HISTORY_SECONDS=300 cargo nextest run --locked --test suite --no-capture \
		history::nothing_that_was_told_is_lost history::two_sidecars_with_one_ledger

soak-sheets: build ## The same with a sheet as the ledger, which fails as well: two sidecars, then four with 50 clients each; finds what docs/sheets.md names
	LOCKSIDE_HISTORY_SECONDS=180 cargo nextest run --locked --test suite --no-capture --run-ignored only --no-fail-fast \
		history::two_sidecars_with_one_sheet history::a_fleet_with_one_sheet

bench: ## Measure beside plain Redis and HAProxy
	@tests/setup bench
	@$(MAKE) --no-print-directory build
	$(PYTHON) tests/bench/bench.py

bench-ledger: ## Measure the ledger, an outage and the recovery
	@tests/setup bench
	@$(MAKE) --no-print-directory build
	$(PYTHON) tests/bench/outage.py
	cargo bench --locked --bench ledger

bench-sheets: ## Measure a sheet as the ledger, on the emulator
	@tests/setup bench
	@$(MAKE) --no-print-directory build
	@cargo build --locked --quiet --example sheets-emulator
	$(PYTHON) tests/bench/sheets.py

setup: ## Install what the tests need
	@tests/setup test

build: ## The release binary
	@cargo build --release --locked --bin lockside
