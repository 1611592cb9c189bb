# Every command a person needs; plain `make` lists them. Python >= 3.11 and make are all that must be there before.
#
#   PYTHON=python3.12      the Python to build .venv with
#   TORCH=auto|cpu|cuda    the build of PyTorch; auto: cuda where there is an NVIDIA GPU, else cpu.
#                          To change it later: make distclean venv TORCH=cuda
#   TORCH_INDEX=URL        a further package index to look for that build in, such as PyTorch's own
#   ARGS="..."             passed on to the command: make test ARGS="-k budgets"

PYTHON ?= python3
TORCH ?= auto
TORCH_INDEX ?=
TORCH_VERSION := 2.13.0
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
READY := $(VENV)/.ready
ONE_THREAD := OMP_NUM_THREADS=1

GPU := $(wildcard /dev/nvidia0)$(shell command -v nvidia-smi 2>/dev/null)
BUILD := $(if $(filter auto,$(TORCH)),$(if $(GPU),cuda,cpu),$(TORCH))
# What to ask for, in turn. The plain version is the CUDA build on Linux and the only build elsewhere.
WANTED_cuda := torch==$(TORCH_VERSION)
WANTED_cpu := torch==$(TORCH_VERSION)+cpu torch==$(TORCH_VERSION)

.DEFAULT_GOAL := help
.PHONY: help venv demo lab test stories check lint types contracts notebooks lessons format bench speed constraints clean distclean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

venv: $(READY)  ## build .venv, or bring it up to date

# PyTorch comes first and alone, so that its build is chosen here and nothing that needs torch chooses another.
$(READY): pyproject.toml constraints.txt Makefile
	@test -n "$(WANTED_$(BUILD))" || { echo "TORCH is auto, cpu or cuda, not '$(TORCH)'."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	    "Python >= 3.11 is needed, this is " + sys.version.split()[0] + ". Name one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv --clear $(VENV)
	@for wanted in $(WANTED_$(BUILD)); do \
	    echo "Installing $$wanted"; \
	    $(PIP) install -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url "$(TORCH_INDEX)") $$wanted && exit 0; \
	    echo "pip finds no $$wanted here."; \
	done; exit 1
	$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY)  ## plant, find, see and remove a backdoor; writes one HTML report
	@$(BIN)/workbench demo $(ARGS)

lab: $(READY)  ## open JupyterLab on the tour
	$(BIN)/jupyter lab $(or $(ARGS),notebooks/00_tour.ipynb)

test: $(READY)  ## run the tests
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

stories: $(READY)  ## go a user's whole way through the demo, the notebooks and, in a browser, the panels
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist worksteal -m story $(ARGS)

check: lint types contracts test stories  ## everything that CI runs

lint: $(READY)  ## layout and lint of the code
	$(BIN)/ruff format --check
	$(BIN)/ruff check

types: $(READY)  ## static types
	$(BIN)/pyright

contracts: $(READY)  ## who may import whom
	$(BIN)/lint-imports

notebooks: $(READY)  ## no notebook holds outputs
	$(ONE_THREAD) $(BIN)/python -m pytest -q tests/test_repository.py -k notebook

lessons: $(READY)  ## make the lessons' notebooks from their text (ARGS=--solutions: the solved ones, in build/)
	$(BIN)/python -m workbench.lessons notebooks/lessons $(if $(ARGS),build,notebooks) $(ARGS)

format: $(READY)  ## lay out the code, and mend what lint can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(READY)  ## the published numbers of hunts
	$(BIN)/workbench bench zoo $(ARGS)

speed: $(READY)  ## the published numbers of speed, beside other libraries
	$(PIP) install -c constraints.txt -e '.[bench]'
	@touch $(READY)
	$(BIN)/workbench bench speed $(ARGS)

constraints: $(READY)  ## write the installed versions to constraints.txt
	$(PIP) install -e '.[dev,cluster,bench]'
	$(PIP) freeze --all --exclude pip --exclude-editable | sed 's/^\(torch==[^+]*\)+.*/\1/' > constraints.txt
	@touch $(READY)

clean:  ## remove caches and build outputs
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache workbench-demo.html
	find . -path ./$(VENV) -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -exec rm -rf {} +

distclean: clean  ## remove .venv as well
	rm -rf $(VENV)
