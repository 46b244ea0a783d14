# make run    set everything up and verify every system quickly, on this machine
# make test   set everything up and run the tests
PYTHON ?= python3
VENV ?= .venv
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

# What an installation is made from: it is built again when one of these changes.
NATIVE := CMakeLists.txt $(wildcard native/bind/* native/include/shoestring/*/* native/src/*/*)
CMAKE := $(shell command -v cmake || echo $(BIN)/cmake)

.PHONY: run test test-all test-browser native-test stubs check format bench readme clean
.DEFAULT_GOAL := run

run: $(VENV)/run.stamp
	$(BIN)/shoestring verify --quick --jobs $(JOBS)

test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -n $(JOBS)

test-all: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -n $(JOBS) -m "not gpu and not bench"

test-browser: $(VENV)/dev.stamp
	$(BIN)/python -m pytest tests/browser -m slow

check: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy src tests tools benchmarks examples
	$(BIN)/python -m pytest tests/contract
	$(MAKE) native-test
	$(BIN)/python tools/update_readme.py --check

# The C++ tests under sanitizers: all of them with address and undefined behaviour, then the thread pool with data races.
native-test: $(VENV)/dev.stamp
	$(CMAKE) -S . -B build/asan -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS="-O1 -g1" -DSHOESTRING_PYTHON=OFF -DSHOESTRING_TESTS=ON -DSHOESTRING_WERROR=ON -DSHOESTRING_SANITIZE=address,undefined
	$(CMAKE) --build build/asan -j $(JOBS)
	$(dir $(CMAKE))ctest --test-dir build/asan --output-on-failure -j $(JOBS)
	$(CMAKE) -S . -B build/tsan -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS="-O1 -g1" -DSHOESTRING_PYTHON=OFF -DSHOESTRING_TESTS=ON -DSHOESTRING_WERROR=ON -DSHOESTRING_LIBURING=OFF -DSHOESTRING_SANITIZE=thread
	$(CMAKE) --build build/tsan -j $(JOBS)
	$(dir $(CMAKE))ctest --test-dir build/tsan --output-on-failure -j $(JOBS)

# The types of the compiled module, as it says them itself; a test compares them.
stubs: $(VENV)/dev.stamp
	$(BIN)/python -m nanobind.stubgen -q -r -m shoestring.native._core -O src/shoestring/native

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/dev.stamp
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

readme: $(VENV)/dev.stamp
	$(BIN)/python tools/update_readme.py

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The tests' dependencies contain those of a run, so whichever came first is kept.
$(VENV)/run.stamp: pyproject.toml constraints.txt $(NATIVE) | $(VENV)/bin/python
	test -f $(VENV)/dev.stamp || $(PIP) -e ".[all]"
	touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt $(NATIVE) | $(VENV)/bin/python
	$(PIP) -e ".[dev]"
	touch $@

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
