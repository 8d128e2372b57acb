# make demo and make test do all the set-up on a fresh machine. PIP_OPTIONS reaches pip, for a CPU-only install:
#   make install PIP_OPTIONS="--extra-index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
VENV ?= .venv
PIP_OPTIONS ?=
BIN := $(VENV)/bin
OLDEST := .venv-oldest/bin
INSTALLED := $(VENV)/.installed

.PHONY: install demo check test lint types tests coverage test-oldest docs benchmark notebook course

install: $(INSTALLED)

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	# torch first: with its pinned build in place, nothing else asks for another.
	$(BIN)/python -m pip install --quiet --no-compile $(PIP_OPTIONS) --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --no-compile $(PIP_OPTIONS) --constraint constraints.txt --editable '.[test]'
	# On all cores, where pip would compile on one. Some packages hold files that no Python can compile.
	$(BIN)/python -m compileall -qq -j 0 -x '/tests?/' $(VENV)/lib || true
	touch $(INSTALLED)

demo: install
	$(BIN)/ssvae fit --data MNIST5k --data.num_labels 100

# While working: all but the tests that are marked slow.
check: install
	$(MAKE) --no-print-directory lint types
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal -m "not slow"

# Everything. Types are checked beside the tests: mypy works on one core.
test: install
	$(MAKE) --no-print-directory lint
	$(MAKE) --no-print-directory --jobs 2 types tests

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

tests:
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

# The tests once more, a third slower, with the share of lines that they run.
coverage: install
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal --cov --cov-report=term --cov-fail-under=95

# With the lowest versions that setup.cfg admits, whose wheels are for Python 3.11 and 3.12; the environment takes 6 GB.
# That old packages use what newer ones beside them deprecate is not for the code here to mend.
test-oldest:
	test -x $(OLDEST)/python || $(PYTHON) -m venv .venv-oldest
	$(OLDEST)/python -m pip install --quiet $(PIP_OPTIONS) --constraint constraints-oldest.txt --editable '.[test]'
	$(OLDEST)/python -m pytest --numprocesses auto --dist worksteal -W ignore::DeprecationWarning -W ignore::FutureWarning

# The pages, in docs/_build/html; a warning is an error, and so is a name that is not there. The tests build them too.
docs: install
	$(BIN)/python -m sphinx -W -n --keep-going -b html docs docs/_build/html

benchmark: install
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.start
	$(BIN)/python -m benchmarks.family
	$(BIN)/python -m benchmarks.photos
	$(BIN)/python -m benchmarks.vectors
	$(BIN)/python -m benchmarks.many_classes
	$(BIN)/python -m benchmarks.time_to_accuracy

notebook: install
	$(BIN)/python -m pip install --quiet $(PIP_OPTIONS) --constraint constraints.txt --editable '.[notebook]'
	$(BIN)/jupyter lab notebooks

# The notebooks for a class, below course/: student/ without answers, teacher/ with them; both are written anew.
course: install
	$(BIN)/python notebooks/make_course.py
