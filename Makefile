# `make run`: the embedded example, from a SQL database to fine-tuned models.
# `make test`: all that CI runs, about half an hour on two cores. `make test-slow`: tests that take minutes each.
# `make test-servers`: imports from real PostgreSQL and MariaDB servers; a missing server fails it.
# `make bench`: the quick benchmark. `make bench-peers`: the same beside torch-sparse, which is compiled once (about 10 minutes).
# `make chaos`: a run of 300 steps, killed ten times, against the same run left alone (about ten minutes).
# `make netns-test`: runs on several hosts (network namespaces: Linux, root) whose links are cut and processes killed (about fifteen minutes).
# `make docs`: the documentation as a site, in site/; a dead link or a page outside of the navigation fails it, and `make check` builds it, too.
# `make lines`: source lines per package, as JSON.
# All make .venv themselves from constraints.txt; the second call starts at once.
PYTHON ?= python3
DATA ?= ../shared/data
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt

.PHONY: run test test-slow test-servers check docs lines bench bench-peers chaos netns-test clean
.DELETE_ON_ERROR:

run: .venv/run-installed
	$(BIN)/python -m examples

# The fast tests first, on two cores; those that need a Ray session after.
test: check
	$(BIN)/python -m pytest -m "not ray and not slow and not servers" -n 2 --dist loadfile
	$(BIN)/python -m pytest -m "ray and not slow"

# Elastic workers on a cluster that loses a node; sweeps that are killed; trials with workers of their own.
test-slow: .venv/test-installed
	$(BIN)/python -m pytest -m slow

test-servers: .venv/test-installed
	$(BIN)/python -m pytest -m servers

check: .venv/test-installed docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy

# The variable silences an advertisement of the theme.
docs: .venv/test-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lines: .venv/test-installed
	@PATH=$(BIN):$$PATH $(BIN)/python benchmarks/lines.py

bench: .venv/run-installed
	$(BIN)/python benchmarks/samplers/sampling.py --quick --json --data $(DATA)

bench-peers: .venv/peers-installed bench

chaos: .venv/run-installed
	$(BIN)/python -m tests.faults.chaos --data $(DATA)/rel-f1

netns-test: .venv/test-installed
	$(BIN)/python -m tests.faults.netns --data $(DATA)/rel-f1

# torch first and alone: a looser first install would bring gigabytes of CUDA where only a CPU is.
.venv/python-installed:
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; try make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(INSTALL) torch
	touch $@

.venv/run-installed: .venv/python-installed pyproject.toml constraints.txt
	$(INSTALL) -e .
	touch $@

.venv/test-installed: .venv/run-installed
	$(INSTALL) -e '.[dev,sql,text,serve,docs]'
	touch $@

# There is no wheel for this torch: the source is compiled against the installed one, one job at a time. Needs a C++ compiler.
.venv/peers-installed: .venv/run-installed
	$(INSTALL) setuptools
	MAX_JOBS=1 $(INSTALL) --no-build-isolation -e '.[peers]'
	touch $@

clean:
	rm -rf .venv runs site
