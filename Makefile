# `make quickstart` and `make test` need Python and make; with a C++ compiler
# mmactive's operator is faster. Each first sets up .venv, which takes minutes
# the first time and no time later.
PYTHON ?= python3
# Version of PyTorch.
TORCH ?= 2.14.1
# OpenMMLab's packages (upstream) or the maintained forks (onedl).
MMSET ?= upstream
# mmcv without operators of its own (lite), or compiled in 10 minutes.
MMCV ?= lite
# Number of tests that run at a time.
JOBS ?= 2

# Makes `python` in the scripts below that of .venv.
IN_VENV = PATH="$(CURDIR)/.venv/bin:$$PATH"

.PHONY: help setup quickstart test soak lint docs links wheel clean
help:
	@echo 'make quickstart  train and test on real images, in minutes'
	@echo 'make test        run the test suite'
	@echo 'make soak        run for long what the tests run once, 10 minutes'
	@echo 'make lint        check style, spelling and types'
	@echo 'make docs        write the documentation into docs/_build'
	@echo 'make links       follow the links of the documentation'
	@echo 'make wheel       write the package for others into dist/'
	@echo 'make setup       only install everything into .venv'
	@echo 'make clean       remove .venv and what was built'
	@echo 'Variables: PYTHON=$(PYTHON) TORCH=$(TORCH) MMSET=$(MMSET) MMCV=$(MMCV)'

setup:
	@$(PYTHON) tools/dev/bootstrap.py --torch $(TORCH) --mmset $(MMSET) \
		--mmcv $(MMCV)

quickstart: setup
	$(IN_VENV) bash tools/quickstart.sh

test: setup
	$(IN_VENV) PYTHONHASHSEED=0 OMP_NUM_THREADS=1 \
		python -m pytest tests -m "not slow" \
		--numprocesses $(JOBS) --dist loadfile

soak: setup
	$(IN_VENV) python tests/soak.py

lint: setup
	$(IN_VENV) ruff check .
	$(IN_VENV) ruff format --check .
	$(IN_VENV) codespell
	git ls-files '*.cpp' '*.h' '*.cu' | $(IN_VENV) xargs \
		clang-format --dry-run --Werror
	$(IN_VENV) mypy

docs: setup
	$(IN_VENV) python -m sphinx -W --keep-going -q docs/en docs/_build
	@echo 'Open docs/_build/index.html'

links: setup
	$(IN_VENV) python -m sphinx -b linkcheck -q docs/en docs/_build/links

# Of the libraries that the extension needs, PyTorch brings its own. With
# FORCE_CUDA=1 the wheel has the CUDA kernels.
wheel: setup
	rm -rf build/wheel dist/*.tar.gz
	$(IN_VENV) MMACTIVE_WITH_OPS=0 python setup.py --quiet sdist
	$(IN_VENV) python -m pip wheel --no-deps --no-build-isolation \
		--no-cache-dir --wheel-dir build/wheel dist/*.tar.gz
	$(IN_VENV) auditwheel repair --exclude 'libtorch*' --wheel-dir dist \
		build/wheel/*.whl

clean:
	rm -rf .venv build dist *.egg-info mmactive/_ext.so mmactive/.mim
