# The jobs of the workshop, in the environment .venv: the default Python with the oldest supported dependencies, so that
# what works here works with newer ones; `readme` tries the newest, `bench` measures them. `make check` is what CI runs.

export PIP_DISABLE_PIP_VERSION_CHECK := 1
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := check
.PHONY: install format lint types test notebooks docs package readme readme-fit readme-test bench check

PYTHON ?= python3
BIN := .venv/bin
NEWEST := .venv-newest/bin
NUMBERS := ./tests/core ./tests/linear
SHORT := XLA_FLAGS=--xla_llvm_disable_expensive_passes=true
ONE_CORE_EACH := lint types docs package readme-fit
ALL_CORES := test notebooks readme-test

install: .venv/installed

.venv/installed: pyproject.toml .ci/oldest.txt
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --constraint .ci/oldest.txt --editable '.[dev]'
	$(BIN)/pip install --quiet --constraint .ci/oldest.txt --editable '.[peers]' \
	  || echo 'No peers: torch cannot be installed here, the tests that compare with it will skip.'
	touch $@

format: install
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: install
	$(BIN)/pyright --pythonpath $(BIN)/python

# What checks numbers runs as users compile it; fits, checkers, commands and the slow ones without the passes of LLVM
# that programs so short do not repay, in two thirds of the time.
test: install
	$(BIN)/pytest jaxinfo $(NUMBERS)
	$(SHORT) $(BIN)/pytest -m slow jaxinfo $(NUMBERS)
	$(SHORT) $(BIN)/pytest -m 'slow or not slow' ./tests $(NUMBERS:%=--ignore=%)

notebooks: install
	$(BIN)/python .ci/notebooks.py

docs: install
	$(BIN)/sphinx-build --quiet --fresh-env --write-all --fail-on-warning --keep-going --nitpicky docs docs/_build/html

package: install
	$(BIN)/python .ci/package.py

readme: readme-fit readme-test

readme-fit:
	.ci/readme fit

readme-test:
	.ci/readme test

# What users install is what is measured: the newest of everything, and every peer that PYTHON has a package of.
.venv-newest/installed: pyproject.toml
	$(PYTHON) -m venv --clear .venv-newest
	$(NEWEST)/pip install --quiet --editable '.[test,docs,examples,peers]'
	for peer in distrax tokamax; do $(NEWEST)/pip install --quiet $$peer || echo "No $$peer here."; done
	touch $@

# Hours. What is done is kept: `make bench` goes on where it was stopped; FRESH=--fresh measures all again.
bench: .venv-newest/installed
	for table in cross_entropy losses linear fit; do $(NEWEST)/python benchmarks/bench_$$table.py --keep $(FRESH); done
	$(NEWEST)/python benchmarks/_linear_compiled.py
	$(NEWEST)/python benchmarks/_linear_pod.py
	$(NEWEST)/python benchmarks/conformance.py --json benchmarks/results/conformance.json --markdown docs/truth_table.md
	$(NEWEST)/python benchmarks/accuracy.py --json benchmarks/results/accuracy.json --markdown docs/accuracy.md \
	  --pictures docs/_static
	$(NEWEST)/python benchmarks/bench_verify.py --json benchmarks/results/verify.json
	$(NEWEST)/python benchmarks/report.py
	$(NEWEST)/python benchmarks/readme_figures.py

check: install
	@echo; echo '== $(ONE_CORE_EACH), two at a time'; start=$$SECONDS; \
	$(MAKE) --no-print-directory --jobs=2 --output-sync=target $(ONE_CORE_EACH); \
	echo "== they took $$((SECONDS - start)) s"; \
	for step in $(ALL_CORES); do \
	  echo; echo "== $$step"; start=$$SECONDS; \
	  $(MAKE) --no-print-directory $$step; \
	  echo "== $$step took $$((SECONDS - start)) s"; \
	done; echo; echo '== all checks passed'
