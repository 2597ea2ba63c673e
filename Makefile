# `make quickstart` and `make test` need Python, a C++ compiler and make. Each
# first sets up .venv, which takes a while the first time and no time later.
PYTHON ?= python3
# Version of PyTorch. With another than this one mmcv is compiled again.
TORCH ?= 2.11.0
# OpenMMLab's packages (upstream) or the maintained forks (onedl).
MMSET ?= upstream

# Makes `python` in the scripts below that of .venv.
IN_VENV = PATH="$(CURDIR)/.venv/bin:$$PATH"

.PHONY: help setup quickstart test lint clean
help:
	@echo 'make quickstart  train and test on real images, in minutes'
	@echo 'make test        run the test suite'
	@echo 'make lint        check the style'
	@echo 'make setup       only install everything into .venv'
	@echo 'make clean       remove .venv and what was built'
	@echo 'Variables: PYTHON=$(PYTHON) TORCH=$(TORCH) MMSET=$(MMSET)'

setup:
	@$(PYTHON) tools/dev/bootstrap.py --torch $(TORCH) --mmset $(MMSET)

quickstart: setup
	$(IN_VENV) bash tools/quickstart.sh

test: setup
	$(IN_VENV) python -m pytest tests -m "not slow"

lint: setup
	$(IN_VENV) ruff check .
	$(IN_VENV) ruff format --check .

clean:
	rm -rf .venv build dist *.egg-info mmactive/_ext.so mmactive/.mim
