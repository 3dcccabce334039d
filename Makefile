# One command per chore. `make demo` and `make test` install what they need on first use.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint format clean

demo: $(READY)  ## train on drawn designs in two stages, evaluate, write a submission and a report
	$(BIN)/python tools/quickstart.py

# one BLAS thread per process: two test processes already fill two cores
test: lint  ## lint, import layers, all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove build products (not data, not logs)
	rm -rf build *.egg-info $(READY) $$(find fastreid -name '*.so' -o -name '*.c')

# reinstalls when the dependencies or a compiled kernel changed
$(READY): setup.py pyproject.toml $(shell find fastreid -name '*.pyx' -o -name '*.h')
	@echo "Installing into $(VENV); PyTorch is some gigabytes, the first time takes a few minutes."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev,synth,meshes,local,imagenet,export]"
	touch $@
