# make demo    fit images/camera.png with a KAN and name the folder with the pictures
# make test    run the tests         make test-all   the long ones too
# make check   lint, formatting, types       make test-backends   on every backend of this machine
# make test-tinygrad VERSION=0.14.0   the tests of layers and kernels with another tinygrad
# make docs    build the documentation site in site/
# make dist    build the wheel and the source distribution in dist/, and try them in empty environments
# Each makes its own virtual environment and installs what it needs. PYTHON=... picks the Python, and
# ONLY=CPU:X86,CL some of the backends.

VENV ?= .venv
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11 python,$(if $(shell $(p) -c 'import sys; print(sys.version_info >= (3, 11) or "")' 2>/dev/null),$(p))))
BIN := $(VENV)/bin
VERSION ?= 0.14.0
# What depends on tinygrad most.
LAYERS := tests/test_backend.py tests/test_layers.py tests/test_networks.py tests/test_device.py tests/test_optim.py \
	$(addprefix tests/kernels/test_,dense.py llvm_compiler.py native_sequence.py program_cache.py \
	tinygrad_versions.py wide_vectors.py)

.PHONY: demo test test-all test-backends test-tinygrad check docs dist clean

demo: $(VENV)/.demo
	$(BIN)/python scripts/fit_image.py images/camera.png --size 128 --out runs/demo --overwrite
	@echo "the pictures are in $(CURDIR)/runs/demo (comparison.png first)"

test: $(VENV)/.test
	$(BIN)/python -m pytest -n auto --dist worksteal

test-all: $(VENV)/.test
	$(BIN)/python -m pytest -n auto --dist worksteal -m "long or not long"

test-backends: $(VENV)/.test
	$(BIN)/python scripts/backends.py $(if $(ONLY),--only $(ONLY))

# In a folder of its own, which Python searches before the environment.
test-tinygrad: $(VENV)/tinygrad-$(VERSION)
	PYTHONPATH=$(CURDIR)/$< $(BIN)/python -m pytest -n auto --dist worksteal $(LAYERS)

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo "the site is in $(CURDIR)/site (index.html first)"

# Each is installed with nothing but what it asks for, and runs away from the checkout.
dist: $(VENV)/.dist
	rm -rf dist
	$(BIN)/python -m build
	for built in dist/*.whl dist/*.tar.gz; do \
		rm -rf dist/empty && $(PYTHON) -m venv dist/empty && \
		dist/empty/bin/python -m pip install --quiet --disable-pip-version-check "$$built" && \
		(cd dist/empty && bin/tinykan --version && bin/tinykan completion fish >/dev/null && \
			bin/tinykan fit-function --steps 20 --parameters 200 --quiet) || exit 1; \
	done
	rm -rf dist/empty
	@echo "built and tried:" dist/*

$(VENV)/.venv:
	@test -n "$(PYTHON)" || { echo "tinykan needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.demo $(VENV)/.test $(VENV)/.docs $(VENV)/.dist: $(VENV)/.%: $(VENV)/.venv pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable '.[$*]'
	@touch $@

$(VENV)/tinygrad-%: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $@ tinygrad==$*
	@touch $@

clean:
	rm -rf $(VENV) runs site dist
