# Everything a new clone needs: `make demo` to look at it, `make test` to check it.

PYTHON ?= python3
VENV := .venv
LOCK := requirements/develop.txt
BIN := $(VENV)/bin
DEMO_ARGS ?=
PYTEST_ARGS ?=
SOAK_S ?= 3600
SOAK_ARGS ?=
SUITE ?= trixie
FUZZ_S ?= 600
FUZZ_ARGS ?=
FLIPS_ARGS ?=
MUTANTS ?=
BENCH_ARGS ?=

# Programs of Debian's that some tests need besides the real Slurm, which its own fixture installs; prometheus
# for promtool.
TOOLS := procps strace systemd chromium nats-server groff-base zsh prometheus

# Without byte code each start of Python compiles everything again.
unexport PYTHONDONTWRITEBYTECODE
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Stamps: what was installed, and from which directory (an editable install does not survive a move).
HERE := $(VENV)/.made-in
RUN := $(VENV)/.installed-to-run
DEV := $(VENV)/.installed-to-develop
ifneq ($(shell cat $(HERE) 2>/dev/null),$(CURDIR))
.PHONY: $(HERE)
endif

# Everything is installed from a lock, our own build tool too, so that nothing is fetched that no hash names.
INSTALL := $(BIN)/pip install --quiet
OURSELVES := $(INSTALL) --no-deps --no-build-isolation --editable .
COMPILE := $(BIN)/uv pip compile pyproject.toml --quiet --upgrade --universal --python-version 3.10 \
	--generate-hashes --no-annotate --custom-compile-command 'make lock'

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-lowest test-newest test-pythons test-fresh test-versions test-matrix soak fuzz flips mutants bench lint lock clean

help: ## Say what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 15

venv: $(DEV) ## Make .venv with all that developing needs

demo: $(RUN) ## Show it at work, without Slurm; DEMO_ARGS='--duration 30'
	@$(BIN)/slurmsyncd demo $(DEMO_ARGS)

test: $(DEV) ## Run all checks and tests; as root on Debian with a real Slurm; PYTEST_ARGS='-k store'
	@$(BIN)/python tests/tools/lab/packages.py $(TOOLS) || echo 'some tests will not run'
	@$(BIN)/pytest --cov --cov-report=term:skip-covered $(PYTEST_ARGS)

test-lowest: ## Run the tests without a real Slurm with the lowest versions that pyproject.toml allows
	@$(MAKE) --no-print-directory test-versions VENV=.venv-lowest LOCK=requirements/lowest.txt

test-newest: $(DEV) ## The same with the newest versions, locked or not
	@$(COMPILE) --all-extras --group dev --output-file .venv-newest.txt
	@$(MAKE) --no-print-directory test-versions VENV=.venv-newest LOCK=.venv-newest.txt

test-pythons: $(addprefix test-python-,3.10 3.11 3.12 3.13 3.14) ## The same with the locked versions on each Python there is

test-python-%:
	@for python in python$* $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$*.*/bin/python; do \
		$$python -c '' 2>/dev/null || continue; \
		exec $(MAKE) --no-print-directory test-versions VENV=.venv-$* PYTHON=$$python; \
	done; echo 'Python $*: not on this machine, not tested'

test-fresh: $(DEV) ## Run demo and the tests without a real Slurm in a fresh clone on a fresh Debian 13; SUITE=forky
	@$(BIN)/python -m tests.tools.lab.fresh $(SUITE)

test-versions: $(DEV)
	@$(BIN)/python tests/tools/lab/packages.py $(TOOLS) || echo 'some tests will not run'
	@$(BIN)/pytest --no-cov -m 'not real_slurm' --ignore tests/tools/test_checks.py $(PYTEST_ARGS)

test-matrix: $(DEV) ## Run all tests, those on a real Slurm with 22.05, 24.11 and 26.05
	@$(BIN)/pytest --slurm-releases=22.05,24.11,26.05 --whole-matrix $(PYTEST_ARGS)

soak: $(DEV) ## Let everything fail for an hour and settle the account; SOAK_S=600 SOAK_ARGS='--seed 7'
	@$(BIN)/python -m tests.tools.oracle --seconds $(SOAK_S) $(SOAK_ARGS)

fuzz: $(DEV) ## Feed the readers ever new damage for ten minutes; FUZZ_S=60 FUZZ_ARGS='--target gres'
	@$(BIN)/python -m tests.tools.fuzz --seconds $(FUZZ_S) $(FUZZ_ARGS)

flips: $(DEV) ## Flip bits of stores and settle the accounts, 4,000 in some 20 minutes; FLIPS_ARGS='--count 500 --seed 7'
	@$(BIN)/python -m tests.tools.flips $(FLIPS_ARGS)

mutants: $(DEV) ## Break one invariant at a time, and see that the tests notice; MUTANTS='no_stop_hold'
	@$(BIN)/python -m tests.tools.mutants $(MUTANTS)

bench: $(DEV) ## Measure what it costs, and write docs/performance.md; BENCH_ARGS='--only hook --quick'
	@$(BIN)/python -m tests.tools.bench $(BENCH_ARGS)

lint: $(DEV) ## Run the checks alone: ruff, mypy, import-linter
	@$(BIN)/pytest -q tests/tools/test_checks.py

lock: $(DEV) ## Lock the newest versions that pyproject.toml allows, with their hashes
	@$(COMPILE) --all-extras --group dev --output-file $(LOCK)
	@$(COMPILE) --extra backend --group build --constraint $(LOCK) --output-file requirements/run.txt
	@$(COMPILE) --all-extras --group dev --resolution lowest-direct --output-file requirements/lowest.txt

clean: ## Remove what was made here
	rm -rf .venv* .coverage .*_cache .hypothesis build dist
	find slurmsyncd tests -name __pycache__ -prune -exec rm -rf {} +

$(HERE):
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("Python 3.10 or newer is needed: make PYTHON=...")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(PYTHON) tests/tools/lab/packages.py python3-venv
	@echo 'setting up $(VENV)'
	@$(PYTHON) -m venv --clear $(VENV)
	@echo '$(CURDIR)' >$@

$(RUN): $(HERE) pyproject.toml requirements/run.txt
	@$(INSTALL) --require-hashes --requirement requirements/run.txt
	@$(OURSELVES)
	@touch $@

$(DEV): $(HERE) pyproject.toml $(LOCK)
	@$(INSTALL) --require-hashes --requirement $(LOCK)
	@$(OURSELVES)
	@touch $(RUN) $@
