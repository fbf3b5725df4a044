# `make train` and `make test` do all set-up by themselves; Python 3.11+ (Debian, Ubuntu: with python3-venv) and make are
# all that must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# By its exact version: where pip has a CPU wheel of it at hand (--find-links, PIP_FIND_LINKS) that is taken. PyPI's own, for
# Linux on x86-64, is the CUDA build with several GB of libraries, which runs on a CPU too. Others, as pytorch.org names them:
#   make train TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
#   make train TORCH="torch --index-url https://download.pytorch.org/whl/cu130"
# Looked at when .venv is made: rm -r .venv to change it.
TORCH ?= torch==2.13.0
# With uv where it can be had, which is quicker, and else with pip; with pip alone: HF_MONITOR_UV=0 make train
INSTALL := $(BIN)/python scripts/install.py install
# Neither compiles: pip would on one core. This takes all cores, and leaves out the tests of others and the 450 models of
# transformers (a quarter of all; Python compiles the few that are imported). Torch's turn comes while the rest is installed,
# that of the rest, in CI, beside the checks.
COMPILE := { $(BIN)/python -W ignore -m compileall -qq -j 0 -x '/tests?/|/transformers/models/.*/' $(VENV)/lib || true; }
# Both sets of extras at once where the tests are asked for first: the stamp says which.
FOR_TESTS := korean,kiwi,lora,test
EXTRAS := $(if $(filter test check format bench,$(MAKECMDGOALS)),$(FOR_TESTS),korean)
OUTPUT ?= outputs/demo
# venv writes `activate` last, after pip: without it, it was interrupted or had no ensurepip. Only what make itself began is
# made anew: `.begun` says so.
VENV_IS_WHOLE := test -f $(BIN)/activate && $(BIN)/python -m pip --version >/dev/null 2>&1

.DEFAULT_GOAL := help
.PHONY: help compiled train test check format bench clean

help:
	@echo "make train   set up, train the embedded demo (about 2 minutes on 2 cores), print where its report is"
	@echo "make test    set up, run the tests"
	@echo "make check   set up, lint, format, types, import rules"
	@echo "make bench   set up, cost of the callbacks beside their peers"

# One stamp per set of extras: the demo does not need the test tools.
$(VENV)/.installed: pyproject.toml constraints.txt
	@command -v $(firstword $(PYTHON)) >/dev/null || \
	  { echo "$(PYTHON) was not found. hf_monitor needs Python 3.11 or newer. Try: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "hf_monitor needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) --version). Try: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 2; }
	@$(VENV_IS_WHOLE) || test ! -e $(VENV) || test -e $(VENV)/.begun || \
	  { echo "$(VENV) is there, but has no pip, and make has not made it. Move it away, or: make $(MAKECMDGOALS) VENV=.venv-make"; exit 2; }
	@$(VENV_IS_WHOLE) || { echo "making $(VENV)"; rm -rf $(VENV); mkdir $(VENV); touch $(VENV)/.begun; $(PYTHON) -m venv $(VENV); } || \
	  { echo "$(VENV) could not be made. On Debian and Ubuntu: apt install python3-venv, then make $(MAKECMDGOALS) again."; exit 2; }
	@echo "installing $(firstword $(TORCH)) and the package (some minutes, once)"
	@$(INSTALL) $(TORCH)
	@$(COMPILE) & $(INSTALL) -c constraints.txt -e '.[$(EXTRAS)]'; installed=$$?; wait; exit $$installed
	@echo '$(EXTRAS)' > $@

$(VENV)/.compiled: $(VENV)/.installed
	@$(COMPILE)
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@grep -q '^$(FOR_TESTS)$$' $< || { echo "installing the test tools (once)" && \
	  $(INSTALL) -c constraints.txt -e '.[$(FOR_TESTS)]' && $(COMPILE); }
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed-test
	@$(INSTALL) -c constraints.txt -e '.[bench]'
	@touch $@

compiled: $(VENV)/.compiled

train: $(VENV)/.compiled
	$(BIN)/python scripts/train_summarizer.py --output_dir "$(OUTPUT)"

# As many processes as cores, one thread each (tests/conftest.py): models this small gain nothing from more.
test: $(VENV)/.installed-test $(VENV)/.compiled
	$(BIN)/python -m pytest -n auto --dist worksteal --cov --cov-report=term $(PYTEST_ARGS)

check: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-bench
	$(BIN)/python scripts/bench_callbacks.py

clean:
	rm -rf $(VENV) outputs build dist .mypy_cache .pytest_cache .ruff_cache
