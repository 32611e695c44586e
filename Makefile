# `make demo` separates the example recording, `make check` is what to run before a commit, `make test` runs all
# tests in random order, `make lint` checks style, layers, types and the Dockerfile, `make types` the types alone,
# `make light` checks an installation without extras, `make plugin` installs examples/plugin and trains with
# it, `make docs` builds the documentation site,
# `make package` the wheel and the source archive.
# Each makes the virtual environment .venv first; PYTHON=python3.12 chooses the interpreter.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests run in two processes, with one thread each.
IN_PROCESSES := -n 2 --dist loadgroup
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.PHONY: demo check test lint types light plugin docs fuzz coverage mutants lock licences clean

demo: $(VENV)/installed
	$(BIN)/clipsep separate examples/speech-and-violin.flac -q "person speaking" -q "violin" \
		--model mini --residual -o demo-output

# Keeps compiled tests even where PYTHONDONTWRITEBYTECODE is set: compiling takes longer than running.
check: export PYTHONDONTWRITEBYTECODE :=
check: lint
	$(BIN)/python -m pytest $(IN_PROCESSES) -p no:randomly -m "not slow and not ray and not remote"

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest $(IN_PROCESSES)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/mypy

types: $(VENV)/installed-dev
	$(BIN)/mypy

# The core alone, in an environment of its own; LIGHT=dist/... installs an archive.
LIGHT ?= .
light:
	rm -rf .venv-light
	$(PYTHON) -m venv .venv-light
	.venv-light/bin/python -m pip install --disable-pip-version-check -q $(LIGHT)
	.venv-light/bin/python .ci/light.py

plugin: $(VENV)/installed-dev
	$(PIP_INSTALL) -q ./examples/plugin
	$(BIN)/python .ci/plugin.py

# Wheel and source archive, checked as PyPI checks them; the wheel is made from the archive.
package: $(VENV)/installed-dev
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m twine check --strict dist/*

docs: $(VENV)/installed-dev
	$(BIN)/mkdocs build --strict

# Damage, kills, full disks and hostile input: hours with SCALE=1 (docs/robustness.md). Linux.
SCALE ?= 0.02
fuzz: $(VENV)/installed-dev
	$(BIN)/python -m benchmarks.faults --scale $(SCALE)

# Which lines and branches of src the tests run, but for those on Ray, whose processes cannot be traced.
coverage: $(VENV)/installed-dev
	$(BIN)/python -m pytest $(IN_PROCESSES) -m "not ray" --cov

# Whether the tests notice wrong versions of the code: an hour or two. It continues after an interruption.
mutants: $(VENV)/installed-dev
	$(PIP_INSTALL) -q 'mutmut>=3.8'
	OMP_NUM_THREADS=1 $(BIN)/mutmut run
	$(BIN)/mutmut results

# The versions that the tests passed with, for this version of Python.
lock: $(VENV)/installed-dev
	$(PIP_INSTALL) -q uv
	$(BIN)/python .ci/lock.py > constraints.txt

# Of everything that is installed with all extras.
licences: $(VENV)/installed-dev
	$(BIN)/python -m benchmarks.licences

clean:
	rm -rf $(VENV) .venv-light demo-output site

# The package is installed in place, so only a change of what it needs asks for a new installation.
$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) -e .
	touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) -e ".[dev]"
	touch $@ $(VENV)/installed

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
