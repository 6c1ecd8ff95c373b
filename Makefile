# Needs python3 (3.11 or later) with pip, and make. Everything else goes into .venv/ of this folder.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check -qq
# What `make up` and `make test` pass on: make up ARGS="--models models.yaml --port 9000"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help up test check format bench bench-peers reliability chaos lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: $(VENV)/.runtime ## Run the whole stack on 127.0.0.1:8000 until Ctrl-C (ARGS="...")
	@exec $(VENV)/bin/tokentail up $(ARGS)

test: $(VENV)/.dev ## Run all tests, on a real Redis (ARGS="tests/stack -x")
	$(PY) -m pytest $(ARGS)

check: $(VENV)/.dev ## Lint, formatting, types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(PY) -m mypy

format: $(VENV)/.dev ## Format the code and fix what can be fixed
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: $(VENV)/.dev ## Measure against the plain ways of doing it (ARGS="fanout many --quick")
	PATH="$(CURDIR)/.peers/redis:$$PATH" $(PY) -m bench $(ARGS)

# unpacked(<name>, <Debian packages>): into .peers/<name>.
unpacked = rm -rf .peers/$(1) && mkdir -p .peers/$(1) && cd .peers/$(1) && apt-get download $(2) && \
  for package in *.deb; do dpkg -x "$$package" . || exit 1; done

# Each by itself: what can't be had here is left out, and the benchmark says so. Debian's packages are unpacked,
# not installed: that needs no root, and nothing of them is ever in anybody's way.
bench-peers: ## Fetch what the benchmark compares with: nchan, a newer Redis (on Debian), resumable-stream (with Node), the LiteLLM proxy
	-$(call unpacked,nchan,nginx libnginx-mod-nchan)
	-$(call unpacked,redis,redis-server redis-tools libatomic1 libhiredis0.14 libjemalloc2 liblua5.1-0 liblzf1 lua-bitop lua-cjson) && \
	  printf '#!/bin/sh\nLD_LIBRARY_PATH=$$(echo %s/usr/lib/*-linux-gnu) exec %s/usr/bin/redis-server "$$@"\n' "$$PWD" "$$PWD" \
	  >redis-server && chmod +x redis-server
	-cd bench/peers/resumable_stream && npm ci --no-audit --no-fund
	-$(PYTHON) -m venv .peers/litellm && \
	  .peers/litellm/bin/pip --disable-pip-version-check -qq install --require-hashes -r requirements/proxy.txt

reliability: $(VENV)/.dev ## Measure how it gets over crashes, cancels, restarts; or minutes of load (ARGS="soak --minutes 10")
	$(PY) -m bench.reliability $(ARGS)

chaos: $(VENV)/.dev ## Break everything by seeded schedules, check every promise (ARGS="--seeds 1-20")
	$(PY) -m chaos $(ARGS)

# A lock made beside the packages it locks would be shaped by them, so it is made in an environment of its own.
lock: ## Write requirements/*.txt anew from requirements/*.in (ARGS="--upgrade")
	set -e; tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	$(PYTHON) -m venv "$$tmp"; \
	"$$tmp"/bin/pip --disable-pip-version-check --quiet install pip-tools==7.6.2; \
	for name in runtime dev proxy; do \
	  "$$tmp"/bin/pip-compile --quiet --strip-extras --allow-unsafe --generate-hashes \
	    --no-emit-index-url --no-emit-find-links $(ARGS) \
	    --output-file requirements/$$name.txt requirements/$$name.in; \
	done

clean: ## Remove the environment and all caches; jobs in .tokentail/ stay
	rm -rf $(VENV) .peers bench/peers/resumable_stream/node_modules build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp says that the environment holds exactly this lock and this project. dev.txt includes runtime.txt.
$(VENV)/.runtime: requirements/runtime.txt pyproject.toml | $(PY)
	@echo "Installing what tokentail runs on into $(VENV)/ (once) ..."
	@$(PIP) install --require-hashes -r requirements/runtime.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt requirements/runtime.txt pyproject.toml | $(PY)
	@echo "Installing what the checks and tests need into $(VENV)/ (once) ..."
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $(VENV)/.runtime $@

# Debian's python3 has no ensurepip unless python3-venv is installed; its pip can do the same from outside.
$(PY):
	@$(PYTHON) -c 'import sys; sys.exit("tokentail needs Python 3.11 or later: set PYTHON=" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { \
	  $(PYTHON) -m venv --clear --without-pip $(VENV) && \
	  $(PYTHON) -m pip --python $(PY) install --quiet pip; }
