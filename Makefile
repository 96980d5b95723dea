# Everything sets itself up: `make demo`, `make test`. The environment is .venv, pinned by constraints.txt.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# The stamp is named by the content of what it depends on: a checkout that touches files reinstalls nothing.
STAMP := .venv/installed-$(shell cat pyproject.toml constraints.txt | sha256sum | cut -c1-16)

.PHONY: demo test lint lint-types lint-style lint-imports lint-security audit setup clean bench

# The demo that this machine makes in twenty minutes (pipelines/sizing/demo_preset.py); `pixsem run preset=...` takes another.
demo: $(STAMP) .venv/demo
	$(BIN)/pixsem run preset=$$(cat .venv/demo)

.venv/demo: | $(STAMP)
	$(BIN)/python -m pipelines.sizing.demo_preset > $@.part && mv $@.part $@

# It starts Ray Serve in the test's process. Where Serve has run before, gRPC's threads can hang the start of the next Ray.
OWN_PROCESS := tests/integration/serve/test_engine_served.py

# In two processes; those tests that share what takes long to make stay in one of them (tests/conftest.py).
test: $(STAMP) lint
	$(BIN)/python -m pytest -n 2 --dist loadscope --ignore $(OWN_PROCESS)
	$(BIN)/python -m pytest $(OWN_PROCESS)

# Two at once: mypy takes as long as the others together.
lint: $(STAMP)
	$(MAKE) --no-print-directory --jobs 2 lint-types lint-style lint-imports lint-security

lint-types:
	$(BIN)/mypy

lint-style:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lint-imports:
	$(BIN)/lint-imports

lint-security:
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml pipelines components

# Known vulnerabilities of exactly the pinned versions. Needs the network; in an environment of its own, so that it changes none of the pins.
audit:
	test -x .venv/audit/bin/pip-audit || { $(PYTHON) -m venv .venv/audit && .venv/audit/bin/python -m pip install --quiet 'pip-audit>=2.10'; }
	.venv/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict

bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks.curation
	$(BIN)/python -m tests.benchmarks.scaling
	$(BIN)/python -m tests.benchmarks.no_op
	$(BIN)/python -m tests.benchmarks.training_loop
	$(BIN)/python -m tests.benchmarks.encode_latents
	$(BIN)/python -m tests.benchmarks.latent_reader
	$(BIN)/python -m tests.benchmarks.picture_stream
	$(BIN)/python -m tests.benchmarks.mixing
	$(BIN)/python -m tests.benchmarks.paper_size --shards 1090 --rows 100
	$(BIN)/python -m tests.benchmarks.generator
	$(BIN)/python -m tests.benchmarks.step_kernels
	$(BIN)/python -m tests.benchmarks.set_measures

setup: $(STAMP)

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 13) else "pixsem needs Python 3.11 or 3.12; give it with: make PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	DS_BUILD_OPS=0 $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	rm -f .venv/installed-* && touch $@

clean:
	rm -rf .venv store *.egg-info
