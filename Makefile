# Everything a newcomer needs: `make demo`, `make test`. Each sets up the virtual environment first, once.
# `make evidence` runs the nightly grid (docs/results.md), `make benchmark` measures what docs/performance.md says; with nothing else
# running. `make soak` injects every fault that the tests know, many times, and writes docs/faults.md.

PYTHON ?= python3
VENV   ?= .venv
# The versions the tests run with; any torch >= 2.6 with its torchvision works:
#   make install TORCH="torch==2.6.0 torchvision==0.21.0"
TORCH  ?= torch==2.14.1 torchvision==0.29.1
OUTPUT ?= logs/demo
# Tests, or runs, side by side: each test keeps to one thread, runs share the cores.
JOBS   ?= 2

BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: install demo docs evidence test coverage test-oldest lint soak benchmark clean

install: $(STAMP)

$(STAMP): setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --quiet $(TORCH)
	$(BIN)/pip install --disable-pip-version-check --quiet --editable ".[dev]"
	$(BIN)/pip install --disable-pip-version-check --quiet --no-deps fastreid==1.4.0
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python tools/ablation configs/ablation/demo.yml --seeds 1 --output $(OUTPUT) --results $(OUTPUT)/results

# A folder for each commit: the same code goes on where it was interrupted, other code runs anew (uncommitted
# changes of a commit share one).
evidence: EVIDENCE := logs/evidence/$(shell git describe --always --dirty 2>/dev/null || echo unversioned)
evidence: $(STAMP)
	$(BIN)/python tools/ablation configs/ablation/evidence.yml --jobs $(JOBS) \
		--output $(EVIDENCE) --results $(EVIDENCE)/results

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

test: lint
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

# The same with the lines that tests reach; it takes longer.
coverage: $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --cov --cov-report=term

# The documentation as a site, in build/site; a broken link or anchor is an error.
docs: $(STAMP)
	$(BIN)/python tools/site/keys.py
	$(BIN)/mkdocs build --strict

benchmark: $(STAMP)
	$(BIN)/python tools/benchmark all

soak: $(STAMP)
	$(BIN)/python tools/soak.py --output docs/faults.md

# The suite on the oldest versions that setup.cfg allows, in an environment of its own; once a release.
test-oldest: OLDEST := .venv-oldest
test-oldest:
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	sed -n 's/^    \([A-Za-z0-9_-]*\)>=\([0-9.]*\)$$/\1==\2/p' setup.cfg | sort -u > $(OLDEST)/oldest.txt
	$(OLDEST)/bin/pip install --disable-pip-version-check --quiet --constraint $(OLDEST)/oldest.txt --editable ".[dev]"
	$(OLDEST)/bin/pip install --disable-pip-version-check --quiet --no-deps fastreid==1.4.0
	$(OLDEST)/bin/python -m pytest -n $(JOBS) --dist worksteal

clean:
	rm -rf $(VENV) build *.egg-info
