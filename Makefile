# Every target sets up what it needs: a virtual environment with pinned packages.
# To use one of your own instead: make test BIN=/path/to/its/bin/ SETUP=

PYTHON ?= python3
BIN ?= .venv/bin/
SETUP ?= .venv/installed

.PHONY: benchmark test test-slow lint format train-weights paper compare trainers horizon earlier tables bench docs wheel clean

benchmark: $(SETUP)  ## Learned against classical optimisers: a table, a Parquet file, a picture
	$(BIN)bbo benchmark

test: $(SETUP)  ## The tests, without the slow ones
	$(BIN)python -m pytest -n 2

test-slow: $(SETUP)  ## The tests that take over half a minute each
	$(BIN)python -m pytest -n 2 -m slow

lint: $(SETUP)  ## Linter, formatter check, type checker, layers
	$(BIN)ruff check .
	$(BIN)ruff format --check .
	$(BIN)mypy
	$(BIN)lint-imports

format: $(SETUP)  ## Applies the formatter and the linter's fixes
	$(BIN)ruff check --fix .
	$(BIN)ruff format .

train-weights: $(SETUP)  ## Retrains the networks that ship (hours); resumes where it was stopped
	set -e; for name in $$($(BIN)python -c 'from training.configs import PRESETS; print(*PRESETS)'); \
	do $(BIN)bbo train --preset $$name; done

paper: $(SETUP)  ## Figures 3 to 7 and table 1 of Chen et al. (an hour); resumes; FULL=--full for more
	$(BIN)bbo paper $(FULL)

compare: $(SETUP)  ## The networks beside their rivals (an hour); resumes where it was stopped
	$(BIN)python -m evaluation.comparison results/compare

trainers: $(SETUP)  ## BPTT, REINFORCE and PPO against training time (an hour); resumes
	$(BIN)python -m evaluation.trainers results/trainers

horizon: $(SETUP)  ## Going on, restarting, a sliding memory beyond the horizon (half an hour); resumes
	$(BIN)python -m evaluation.horizon results/horizon

earlier: $(SETUP)  ## What earlier results are worth that a network is told (minutes); resumes
	$(BIN)python -m evaluation.earlier results/earlier

tables: $(SETUP)  ## Computes the HPO tables anew (hours); resumes where it was stopped
	$(BIN)python -m bbo_envs.hpo.build build svm lda resnet logreg

bench: $(SETUP)  ## Speed of environments and optimisers, beside others in the same run
	$(BIN)python -m evaluation.speed results

docs: $(SETUP)  ## Renders what is generated in docs/ and the README; RESULTS=results takes those in
	$(BIN)python -m evaluation.docs $(RESULTS)

wheel: $(SETUP)  ## Builds the wheel into dist/
	rm -rf build dist
	$(BIN)python -m build --wheel

clean:  ## Removes what the targets made
	rm -rf .venv build dist *.egg-info

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --upgrade pip
	.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
