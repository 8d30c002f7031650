# The two commands of the README do all the set-up themselves: `make demo` and `make test`.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-fast test-engines pythons test-pythons coverage check bench bench-quick prove soak dist reference site format clean

# Pinned by version and hash; the package itself is built by the pinned hatchling.
$(STAMP): pyproject.toml tests/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes --only-binary :all: -r tests/requirements.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

# Large, and for `make test` alone: what drives a browser, and axe-core.
BROWSER := $(VENV)/.browser
$(BROWSER): tests/browser/requirements.txt $(STAMP)
	$(BIN)/pip install --quiet --require-hashes --only-binary :all: -r $<
	touch $@

demo: $(STAMP)
	$(BIN)/python -m deploy.demo

# The tiers of tests/README.md; ARGS are pytest's.
test: $(STAMP) $(BROWSER)
	$(BIN)/python -m tests.run test $(ARGS)

test-fast: $(STAMP)
	$(BIN)/python -m tests.run fast $(ARGS)

# TIER=rest leaves out what `make test` has run.
test-engines: TIER ?= engines
test-engines: $(STAMP)
	$(BIN)/python -m tests.run $(TIER) $(ARGS)

# `make test-fast` under every Python here that relinkd supports, each with a venv of its own; those
# that pyenv has count too.
PYENV = $(shell pyenv versions --bare 2>/dev/null | paste -sd:)
EXECUTABLE = import ensurepip, sys; print(sys.executable)
PYTHONS = $(foreach minor,11 12 13 14 15,\
	$(shell PYENV_VERSION=$(PYENV) python3.$(minor) -c '$(EXECUTABLE)' 2>/dev/null))
pythons:
	@echo $(PYTHONS)
test-pythons:
	set -e; for python in $(PYTHONS); do \
	  $(MAKE) test-fast PYTHON="$$python" VENV="$(VENV)-$${python##*/}"; \
	done

# Branches, in every process that `make test-fast` and the tests of the store (a real etcd) start; the
# gates are in pyproject.toml and below.
PURE := reconciler/links/*,reconciler/views/*,reconciler/hosts/block.py,reconciler/hosts/plan.py,reconciler/hosts/live.py,reconciler/hosts/layout.py,reconciler/hosts/keep.py,watchers/model.py,watchers/parse.py,watchers/wire.py,watchers/mirror/*
coverage: $(STAMP)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m tests.run fast $(ARGS)
	$(BIN)/coverage run -m tests.run test tests/store
	$(BIN)/coverage combine -q
	$(BIN)/coverage report
	$(BIN)/coverage report --include="$(PURE)" --fail-under=99

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m tests.lab prepare
	$(BIN)/python -m tests.bench $(ARGS)

bench-quick: $(STAMP)
	$(BIN)/python -m tests.lab prepare
	$(BIN)/python -m tests.bench --quick $(ARGS)

# Every fault in full, hours of it; its figures go into docs/proof and docs/reliability.md.
prove: $(STAMP)
	$(BIN)/python -m tests.lab prepare
	$(BIN)/python -m tests.prove $(ARGS)

# An hour of churn on a real engine: does anything grow?
soak: $(STAMP)
	$(BIN)/python -m tests.lab prepare
	$(BIN)/python -m tests.prove churn

# The sdist and the wheel, by the pinned hatchling.
dist: $(STAMP)
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist

# What docs/ has of the code alone: the reference of settings, the schema, the man page.
reference: $(STAMP)
	$(BIN)/python -m tests.reference

# docs/ as pages of a site, in site/; a link or heading that is not there fails it.
SITE := $(VENV)-site
$(SITE)/.installed: docs/requirements.txt
	$(PYTHON) -m venv $(SITE)
	$(SITE)/bin/pip install --quiet --require-hashes --only-binary :all: -r docs/requirements.txt
	touch $@
site: $(SITE)/.installed
	$(SITE)/bin/mkdocs build --strict

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(VENV)-python3.* $(SITE) site dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
