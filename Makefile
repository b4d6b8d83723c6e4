# All need only Python and make; everything else goes into .venv.
#   make demo   set up, and probe SevenNet-0 on the bundled structures
#   make test   set up, and run the tests
#   make bench  set up, and measure speed and memory (QUICK=1: a quick look)
#   make trust  set up, and try what can go wrong (QUICK=1: a quick look)
#   make sbom   set up, and list what mpprobe is built of (trust/sbom.cdx.json)
#   make constraints  set up, and pin the newest versions that fit (KEEP=1: only what came or went)
#   make docs   set up, and build the documentation into build/docs
#   make figures  set up, and remake the figures and tables of analyses/ (QUICK=1: a quick look)

# Another Python has an environment of its own: make test PYTHON=python3.12 VENV=.venv-3.12
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO   ?= results/demo

.PHONY: demo test test-all bench trust sbom constraints figures docs lint data dft-check clean
.DEFAULT_GOAL := demo

# mace-torch comes last and alone: its pin of e3nn 0.4.4 is nominal (see the README).
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[all,dev]"
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps mace-torch
	touch $@

$(VENV)/.trust: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[trust]"
	touch $@

demo: $(VENV)/.installed
	$(BIN)/mpprobe probe --model sevenn-0 --layer all --target potential --target potential:beyond \
		--split structure --split compound --output $(DEMO) --overwrite

# Files shared out among so many processes; test-all has tests of load, and shares nothing.
TEST_JOBS ?= 2
test: $(VENV)/.installed
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadfile

test-all: $(VENV)/.installed
	$(BIN)/python -m pytest -m "not gpu and not download"

# Hours in full, most of them the mutants; PARTS="NAME ..." is some (trust/README.md).
trust: $(VENV)/.trust
	$(BIN)/python -m trust $(if $(QUICK),--quick) $(PARTS)

sbom: $(VENV)/.trust
	$(BIN)/python -m trust.sbom

constraints: $(VENV)/.installed
	$(BIN)/python -m trust.constraints $(if $(KEEP),--keep)

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

# Without Material's notice about MkDocs 2, which is not a warning of ours.
docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# In full for hours, most of them the sweep of toys, which comes last (analyses/README.md). ONLY="NAME
# ..." is some of them, PUBLIC=DIR where public reference data lie that the project doesn't carry.
figures: $(VENV)/.installed
	$(BIN)/python analyses $(if $(QUICK),--quick) $(if $(PUBLIC),--public $(PUBLIC)) $(ONLY)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# Remake the bundled structures (but not the melts among them: data/ionic/melts.py does that), and
# collect what data/dft/calculate.py has finished.
data: $(VENV)/.installed
	$(BIN)/python data/ionic/make.py
	$(BIN)/python data/far/draws.py
	$(BIN)/python data/dft/inputs.py
	$(BIN)/python data/dft/collect.py

# Calculate two structures of the set dft anew; needs the python that has GPAW (Debian: gpaw).
GPAW_PYTHON ?= /usr/bin/python3
dft-check:
	$(GPAW_PYTHON) data/dft/calculate.py --check bulk-NaCl-0 strained-MgO-0

clean:
	rm -rf $(VENV) build dist results .pytest_cache .ruff_cache .mypy_cache
