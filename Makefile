# Everything runs in .venv, made here from the package index alone. `make` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Without byte code of every module, imported or not: a sixth less to keep.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt

# Tests start hundreds of processes. Without byte code each would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo ui serve test test-slow test-open-clip lint attack bench bench-large bench-load bench-serve page-speed openapi test-server sbom lock chromium clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 16

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "scenesearch needs Python 3.11 or newer; try make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Each stamp holds until the declared dependencies change, so that a repeated make is instant.
$(VENV)/.serve: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing scenesearch with its page and server (no torch) ..."
	$(PIP) -e '.[ui,serve]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing scenesearch with training and test tools (torch: some minutes) ..."
	$(PIP) -e '.[ui,serve,train,openvino,ocr,dev]'
	@touch $@ $(VENV)/.serve

setup: $(VENV)/.serve  ## install search, ingest and the page into .venv

demo: $(VENV)/.serve  ## draw a sample library, index it, search it, measure it
	@du -sm $(VENV) | awk '{print "Installed: " $$1 " MB in $(VENV)"}'
	$(BIN)/scenesearch demo

ui: $(VENV)/.serve  ## open the search page over the sample library (LIBRARY=photos for your own)
	$(BIN)/scenesearch ui --library $(or $(LIBRARY),demo)

serve: $(VENV)/.serve  ## answer other programs over HTTP (LIBRARY=photos for your own)
	$(BIN)/scenesearch serve --library $(or $(LIBRARY),demo)

CORES = $$($(PYTHON) -c 'import os; print(os.cpu_count())')

# A worker more than there are cores: some tests wait for processes, locks and servers.
test: $(VENV)/.dev  ## fast tests
	$(BIN)/pytest --dist worksteal -n $$(($(CORES) + 1)) --durations 20

test-slow: $(VENV)/.dev chromium  ## the rest: slow tests and a real browser
	$(BIN)/pytest --dist worksteal -n $(CORES) -m "slow or browser" --durations 20

# torchvision, which open_clip needs, fits no torch of the other environment.
OPEN_CLIP := .venv-open-clip
$(OPEN_CLIP)/.tests: pyproject.toml constraints-open-clip.txt
	@echo "Installing scenesearch with open_clip and CUDA's torch into $(OPEN_CLIP) (5.5 GB, some minutes) ..."
	test -x $(OPEN_CLIP)/bin/python || $(PYTHON) -m venv $(OPEN_CLIP)
	$(OPEN_CLIP)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
	  -c constraints-open-clip.txt -e '.[open-clip]' hypothesis pytest pytest-timeout pytest-xdist
	@touch $@

test-open-clip: $(OPEN_CLIP)/.tests  ## open_clip's models against the library, in an environment of their own
	OMP_NUM_THREADS=1 $(OPEN_CLIP)/bin/python -m pytest --dist worksteal -n $(CORES) tests/open_clip --durations 10

attack: $(VENV)/.dev  ## forged files, kills, small disks and crowds, with their figures
	CROWD_SECONDS=60 KILL_ROUNDS=3 $(BIN)/pytest -s -m slow tests/attack

lint: $(VENV)/.dev  ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev  ## speeds as ratios within one run, with the machine named
	$(BIN)/python -m tests.bench

bench-large: $(VENV)/.dev  ## a million points: scan, graph, recall, memory (some 10 minutes, 6 GB)
	$(BIN)/python -m tests.bench --only large

page-speed: $(VENV)/.dev chromium  ## how quick the page is in Chromium: 1,000 pictures, 100,000, 20 visitors (some 25 minutes)
	$(BIN)/python -m tests.page_speed --size 1000 --searches 500
	$(BIN)/python -m tests.page_speed
	$(BIN)/python -m tests.bench --only page

sbom: $(VENV)/.dev  ## what is installed (CycloneDX) and under which licences, into out/
	@mkdir -p out
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-format JSON \
	  --output-file out/sbom.json $(BIN)/python
	$(BIN)/pip-licenses --python $(BIN)/python --format markdown --with-urls --order license \
	  --output-file out/licences.md

test-server: $(VENV)/.dev  ## tests and a benchmark against a real server (QDRANT_TEST_URL=...), with a report
	@test -n "$(QDRANT_TEST_URL)" || { echo "say which server: QDRANT_TEST_URL=http://localhost:6333 make test-server"; exit 2; }
	$(BIN)/python -m tests.server_report

bench-load: $(VENV)/.dev  ## a minute of mixed load, embedded and over the loopback (MINUTES=30 for a soak)
	$(BIN)/python -m tests.bench_load --minutes $(or $(MINUTES),1)

bench-serve: $(VENV)/.dev  ## the server beside the library in one process (some 4 minutes, 2 GB)
	$(BIN)/python -m tests.bench_serve

openapi: $(VENV)/.dev  ## docs/openapi.json, after a change of the server's routes
	$(BIN)/python -m tests.openapi

lock: $(VENV)/.dev  ## the packages of the images with their hashes, from constraints.txt
	UV=$(BIN)/uv deploy/lock.sh

# The browser tests skip, saying so, where there is no Chromium and no right to install one.
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null \
	  || command -v google-chrome >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	       && apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } \
	  || echo "no Chromium: browser tests will be skipped"

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) $(OPEN_CLIP) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build *.egg-info
