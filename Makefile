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
DIGITS := ./tests/linear $(addprefix ./tests/core/test_, kl.py js.py likelihoods.py little_mass.py precision.py \
  precision_large.py sigmoid.py truth_table.py)
UNDIVIDED := --xla_cpu_parallel_codegen_split_count=1
export SHORT := --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true $(UNDIVIDED)
ONE_CORE_EACH := readme-fit lint types docs package
SIDE_BY_SIDE := readme-test notebooks

install: .venv/installed

.venv/installed: pyproject.toml .ci/oldest.txt
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --constraint .ci/oldest.txt --editable '.[dev]'
	$(BIN)/pip install --quiet --constraint .ci/oldest.txt --editable '.[peers]' \
	  || echo 'No peers: torch cannot be installed here, the tests that compare with it will skip.'
	$(BIN)/python --version
	$(BIN)/python -c 'from importlib.metadata import version as v; print(*((n, v(n)) for n in ("jax", "numpy", "optax")))'
	touch $@

format: install
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: install
	$(BIN)/pyright --pythonpath $(BIN)/python

# What holds the digits runs as users compile it, but that the compiling is not divided among threads: both cores are
# busy with tests as it is. The rest without LLVM's optimisations, which programs so short do not
# repay, nor (newer releases have no such choice) MLIR's emitters: in two thirds of the time.
test: install
	XLA_FLAGS='$(UNDIVIDED)' $(BIN)/pytest -m 'slow or not slow' $(DIGITS)
	XLA_FLAGS='$(SHORT) --xla_cpu_use_fusion_emitters=false' \
	  $(BIN)/pytest -m 'slow or not slow' jaxinfo ./tests $(DIGITS:%=--ignore=%)

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

# Two jobs at a time where they leave a core idle: one alone, or an installation in the other.
check:
	@step() { \
	  echo; echo "== $$*"; local start=$$SECONDS; \
	  $(MAKE) --no-print-directory --jobs=2 --output-sync=line "$$@"; \
	  echo "== $$* took $$((SECONDS - start)) s"; \
	}; \
	step $(ONE_CORE_EACH); step test; step $(SIDE_BY_SIDE); echo; echo '== all checks passed'
