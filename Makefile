# make demo: install and run the quickstart. make test: install and run the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: bench-compression demo test test-slow check install clean docs docs-serve newcomer bench-finalists bench-cost bench-gates bench-pricing bench-device bench-formats bench-scale bench-search-kills search-grid bench-search fuzz-wire fuzz-tflite bench-single-weights

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $@

install: $(VENV)/.installed

demo: install
	$(BIN)/python examples/01_quickstart.py

test: check
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The slow tests that CI runs: a browser on MLflow's page, every example, searches from the shell.
test-slow: install
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile tests/test_mlflow_page.py \
	    tests/test_examples.py tests/test_commands.py tests/test_command_errors.py

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site in build/site; a warning is an error.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

# What a newcomer waits for: a fresh clone and environment. UNTIL=environment stops after that step.
newcomer:
	$(PYTHON) benchmarks/newcomer.py $(if $(UNTIL),--until $(UNTIL))

bench-cost: install
	$(BIN)/python -m benchmarks.cost

bench-pricing: install
	$(BIN)/python benchmarks/pricing.py

# Seconds of an epoch with gates against one without; GATES='lenet5' is one network.
bench-gates: install
	$(BIN)/python -m benchmarks.gates $(GATES)

bench-finalists: install
	$(BIN)/python benchmarks/finalists.py

# Needs PostgreSQL. PART: steps, workers, sleeping, memory or log; all without.
bench-scale: install
	$(BIN)/python -m benchmarks.scale $(PART)

# Needs PostgreSQL. kill -9 of owner, workers, PostgreSQL and MLflow's server at random moments.
KILLS ?= 50
bench-search-kills: install
	$(BIN)/python -m benchmarks.search_kills $(KILLS)

bench-device: install
	$(BIN)/python -m benchmarks.device

# Needs a cross compiler. MEASURE='--measure --target all' fits anew first: changed kernels need it.
bench-aot-cost: install
	$(BIN)/python -m benchmarks.aot_cost $(MEASURE)

# Needs a cross compiler; FORMATS='--only mlperf' trains nothing, --fashion takes ten minutes more.
bench-formats: install
	$(BIN)/python -m benchmarks.formats $(FORMATS)

# SEARCH='--seeds 3 --only front random' is quicker.
bench-search: install
	$(BIN)/python -m benchmarks.search $(SEARCH)

# Hours: goes on where it stopped, writes docs/compression-benchmark.md. QUICK=1 measures a random
# cell of each task again; TASKS, METHODS, LEVELS, SEEDS and HOURS narrow it. Needs espeak-ng.
bench-compression: install
	$(BIN)/python -m benchmarks.compression

# Zeros, shared values and QAT by ours, by tfmot and afterwards; minutes a seed. SEEDS=3.
bench-single-weights: install
	$(BIN)/python -m benchmarks.single_weights $(SEEDS)

# An hour on an idle core; goes on where it stopped. QUICK=3 measures 3 random cells again and compares.
search-grid: install
	$(BIN)/python -m benchmarks.search_grid.make $(if $(QUICK),--quick $(QUICK))

# Needs clang. SECONDS of libFuzzer on wire.c, then RUNS mutations of its corpus through wire.py.
FUZZ_SECONDS ?= 1800
FUZZ_RUNS ?= 1000000
fuzz-wire: install
	$(BIN)/python -m tests.firmware.fuzz c $(FUZZ_SECONDS)
	$(BIN)/python -m tests.firmware.fuzz python $(FUZZ_RUNS)

# Needs the extra "fuzz". The reader of .tflite, the costs and the generator under libFuzzer.
fuzz-tflite: install
	$(BIN)/pip install --quiet '.[fuzz]'
	$(BIN)/python -m tests.fuzz_tflite $(FUZZ_SECONDS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build *.egg-info
