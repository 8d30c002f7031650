# The two commands of the README do all the set-up themselves: `make demo` and `make test`.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check bench prove soak format clean

# Pinned by version and hash; the package itself is built by the pinned hatchling.
$(STAMP): pyproject.toml tests/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes --only-binary :all: -r tests/requirements.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

demo: $(STAMP)
	$(BIN)/python -m deploy.demo

test: $(STAMP)
	$(BIN)/python -m tests.lab prepare
	$(BIN)/python -m tests.run $(ARGS)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m tests.lab prepare
	$(BIN)/python -m tests.bench $(ARGS)

# Every fault in full, hours of it; its figures go into docs/proof and docs/reliability.md.
prove: $(STAMP)
	$(BIN)/python -m tests.lab prepare
	$(BIN)/python -m tests.prove $(ARGS)

# An hour of churn on a real engine: does anything grow?
soak: $(STAMP)
	$(BIN)/python -m tests.lab prepare
	$(BIN)/python -m tests.prove churn

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
