# Everything a newcomer or a contributor runs.  `make` alone lists it.
# Needs Python 3.11 or later and the network for the first `install`; no compiler, no Graphviz.

PYTHON ?= $$(command -v python3.11 || command -v python3)
JOBS ?= 2
GRAPHS ?= 2000
FIRST ?= 0
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/ready

.POSIX:
.PHONY: help install test fuzz check demo examples gallery pictures bench bench-peers clean

help: ## List these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r name what; do \
		printf '%-16s %s\n' "$$name" "$$what"; done

install: $(READY) ## Make a virtual environment in .venv and install graphc into it, editable, with all test tools

$(READY): setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; v = "%d.%d" % sys.version_info[:2]; sys.exit(sys.version_info < (3, 11) and "graphc needs Python 3.11 or later; this is " + v)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $(READY)

test: $(READY) ## Run all tests
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

fuzz: $(READY) ## Run many random graphs through passes and native code; FIRST=seed begins elsewhere
	GRAPHC_FUZZ_SEED=$(FIRST) GRAPHC_FUZZ_CASES=$(GRAPHS) GRAPHC_FUZZ_NATIVE=$(GRAPHS) GRAPHC_FUZZ_HOSTILE=$(GRAPHS) \
		$(BIN)/python -m pytest -q -n $(JOBS) tests/fuzz

check: $(READY) ## Lint, formatting, types, and the order of the layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	BIN=$(BIN) sh .ci/types
	$(BIN)/python -m pytest -q tests/test_layering.py

demo: $(READY) ## Train LeNet on scanned digits, compile it, draw it, run it
	$(BIN)/python examples/demo.py

examples: $(READY) ## Run every example
	$(BIN)/python -m pytest -q tests/examples/test_examples.py
	$(BIN)/python examples/training/run_all.py

gallery: $(READY) ## Draw the figures of docs/gallery.md
	$(BIN)/python docs/gallery.py

pictures: $(READY) ## Draw every network of docs/networks.md into build/pictures
	$(BIN)/python docs/network_pictures.py

bench: $(READY) ## Measure graphc side by side with its peers
	$(BIN)/python -m benchmarks

bench-peers: $(READY) ## Install the peers that graphc is measured against
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement benchmarks/peers.txt

clean: ## Remove everything that was made here, the virtual environment included
	rm -rf $(VENV) build dist graphc.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
