# The targets need Python 3.11 or newer, make, and a package index.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Without compiled files each process of the tests would compile the sources again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo test quick check lint types unit docs bench browser clean

help:           ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ —/'

# There is one stamp file per set of extras, so that nothing is installed twice.
$(VENV)/.run: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found: install Python 3.11 or newer, or run make PYTHON=PATH with the path of an interpreter"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$($(PYTHON) --version) is too old: Python 3.11 or newer is required; run make PYTHON=PATH with the path of an interpreter"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing tutelage and PyTorch into $(VENV) (several GB; this takes a few minutes the first time) …"
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[timm]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "Installing the packages that the tests, the documentation and the benchmarks need …"
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev,docs,bench]'
	@touch $@

install: $(VENV)/.run   ## install the package and its command in .venv

demo: $(VENV)/.run      ## train a teacher, a small student without it and the same student with it, and write the report
	@$(BIN)/tutelage distill examples/demo.yaml

test: $(VENV)/.dev      ## lint, types and tests, side by side; one of the tests builds the site, strictly
	@$(MAKE) -j2 check unit

check: lint types       ## run the linter and the type checker

lint: $(VENV)/.dev      ## run the linter and check the formatting
	$(BIN)/ruff check src tests bench examples docs
	$(BIN)/ruff format --check src tests bench examples docs

types: $(VENV)/.dev     ## run the type checker
	$(BIN)/mypy

quick: $(VENV)/.dev     ## run a minute of tests for everyday use: structure, names, configuration, small units
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/test_imports.py tests/test_structure.py tests/test_words.py \
	  tests/config tests/utils tests/policies tests/verify tests/tasks tests/losses/test_vectors.py

browser:                ## install Chromium, for the tests that open the report
	@command -v chromium || command -v chromium-browser || command -v google-chrome || { \
	  SUDO=$$([ $$(id -u) = 0 ] || echo sudo); $$SUDO apt-get update -qq && $$SUDO apt-get install -y -qq chromium; }

unit: $(VENV)/.dev browser  ## run the tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

docs: $(VENV)/.dev      ## build the site into docs/_build/html; warnings are errors
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

bench: $(VENV)/.dev     ## measure speed and memory, as ratios within one run
	@for script in step crd losses vocabulary loader cache several mutual byot teacher help_time kill cache_kill fuzz; do echo "== $$script"; $(BIN)/python bench/$$script.py || exit 1; done

clean:                  ## remove what the targets built
	rm -rf $(VENV) docs/_build build dist .mypy_cache .ruff_cache .pytest_cache
