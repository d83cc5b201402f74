# Everything begins from Python 3.11 or newer, make, and a package index.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help install demo test quick check lint types unit docs bench browser clean

help:           ## these lines
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ —/'

# A stamp a set of extras: nothing is installed twice.
$(VENV)/.run: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) isn't there: install Python 3.11 or newer, or say make PYTHON=…"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$($(PYTHON) --version) is too old: 3.11 or newer is needed; say make PYTHON=…"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing tutelage and PyTorch into $(VENV) (some GB; a few minutes the first time) …"
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[timm]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "Installing what the tests and docs need …"
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev,docs,bench]'
	@touch $@

install: $(VENV)/.run   ## the package and its command, in .venv

demo: $(VENV)/.run      ## a teacher, a small student alone, the same student taught, and the report
	@$(BIN)/tutelage distill examples/demo.yaml

test: check unit        ## lint, types, tests; these build the site strictly and run the docs' examples

check: lint types       ## lint and types

lint: $(VENV)/.dev      ## style
	$(BIN)/ruff check src tests bench examples docs
	$(BIN)/ruff format --check src tests bench examples docs

types: $(VENV)/.dev     ## types
	$(BIN)/mypy

quick: $(VENV)/.dev     ## a minute of tests for everyday use: structure, names, configuration, small units
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/test_imports.py tests/test_structure.py tests/test_words.py \
	  tests/config tests/utils tests/policies tests/verify tests/tasks tests/losses/test_vectors.py

browser:                ## Chromium, for the tests that open the report
	@command -v chromium || command -v chromium-browser || command -v google-chrome || { \
	  SUDO=$$([ $$(id -u) = 0 ] || echo sudo); $$SUDO apt-get update -qq && $$SUDO apt-get install -y -qq chromium; }

unit: $(VENV)/.dev browser  ## tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

docs: $(VENV)/.dev      ## the site, strictly, into docs/_build/html
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

bench: $(VENV)/.dev     ## speed and memory, as ratios within one run
	@for script in step crd losses vocabulary loader cache several mutual byot teacher help_time kill cache_kill fuzz; do echo "== $$script"; $(BIN)/python bench/$$script.py || exit 1; done

clean:                  ## what was built
	rm -rf $(VENV) docs/_build build dist .mypy_cache .ruff_cache .pytest_cache
