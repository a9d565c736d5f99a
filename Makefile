# Each target sets itself up: the virtual environment is made when it is missing and
# installed again only when pyproject.toml or constraints.txt changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# One thread a test process: two processes fill two cores without fighting over them. Bytecode is kept, for tests start
# many processes that import the same modules. -rs: says what was skipped, and why.
TEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -rs -n 2 --dist loadfile

.PHONY: demo test test-slow coverage audit check lint format notebooks docs dist install clean

demo: $(INSTALLED)
	$(BIN)/frostline demo

# Pyright takes one core a minute: it runs beside the tests, and what it says follows them. Either's failure is the
# target's.
test: lint
	@$(BIN)/pyright >$(VENV)/pyright.txt 2>&1 & types=$$!; \
	echo '$(TEST) -m "not slow"'; $(TEST) -m "not slow"; tests=$$?; \
	wait $$types; types=$$?; \
	echo $(BIN)/pyright; cat $(VENV)/pyright.txt; \
	test $$tests -eq 0 && test $$types -eq 0

test-slow: $(INSTALLED)
	# Few and long: the last ones are shared out one by one.
	$(TEST) --dist worksteal -m slow

# Of all tests, at about half of their speed. Branches count as lines do; nothing is left out but what no process can run.
coverage: $(INSTALLED)
	rm -rf build/coverage
	$(TEST:python=python -m coverage run)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --include="search/*" --fail-under=95 --skip-covered --sort=miss
	$(BIN)/coverage report --include="storage/*" --fail-under=95 --skip-covered --sort=miss
	$(BIN)/coverage report --include="objectives/*" --fail-under=90 --skip-covered --sort=miss

check: lint
	$(BIN)/pyright

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

# Known vulnerabilities of the pinned libraries. In an environment of its own; it needs the index of advisories.
audit:
	test -x $(VENV)/audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)/audit && $(VENV)/audit/bin/pip install -qq pip-audit; }
	$(VENV)/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

notebooks: $(INSTALLED)
	$(BIN)/python examples/execute.py

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Pages:  build/docs/index.html"

dist: $(INSTALLED)
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m twine check --strict dist/*

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Frostline needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Frostline and its libraries (about 3 minutes and 6 GB the first time) ..."
	$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@# The names under which the folders are installed, for pyright.
	@mkdir -p $(VENV)/typing/frostline
	@for folder in search objectives storage dashboards; do ln -sfn ../../../$$folder $(VENV)/typing/frostline/$$folder; done
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
