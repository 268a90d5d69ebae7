# Every target sets up what it still needs; plain `make` lists them.
.DEFAULT_GOAL := help
.PHONY: help install demo test check bench format lock chromium

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOCK := build/lock

# More than four test workers gain little: each one imports its own PyTorch and TensorFlow.
CPUS := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
WORKERS ?= $(shell [ $(CPUS) -gt 4 ] && echo 4 || echo $(CPUS))
ARGS ?=
PIP_ARGS ?=

# Debian splits venv and ensurepip from the interpreter, so having Python is not enough.
SUITABLE := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

install: $(STAMP)  ## Create .venv and install everything (about 3 GB, a few minutes, once)

demo: $(STAMP)  ## Train one network in PyTorch and in TensorFlow, then open the dashboard
	$(BIN)/trackside demo $(ARGS)

test: $(STAMP) chromium  ## Run the tests; ARGS="tests/db -k segments" picks some
	$(BIN)/pytest -n $(WORKERS) --dist loadfile $(ARGS)

check: $(STAMP)  ## Format, lint, types, import contract, secrets
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	@# Keys of well-known issuers and private keys, tracked or about to be.
	@! git grep --untracked -nIE -e '-----BEGIN ([A-Z]+ )?PRIVATE KEY-----' -e 'AKIA[0-9A-Z]{16}' \
		-e 'gh[pousr]_[A-Za-z0-9]{36}' -e 'AIza[0-9A-Za-z_-]{35}' -e 'hf_[A-Za-z]{34}' \
		-e 'xox[abprs]-[0-9]{8,}-[0-9A-Za-z-]{16,}' \
		|| { echo "The lines above look like secrets: take them out and revoke them." >&2; exit 1; }

bench: $(STAMP)  ## Measure against the named baselines and print a table
	$(BIN)/python benchmarks/run.py $(ARGS)

format: $(STAMP)  ## Format the code and apply safe lint fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock:  ## Renew constraints.txt with the newest versions that install together
	rm -rf $(LOCK)
	$(MAKE) $(LOCK)/bin/python VENV=$(LOCK)
	$(LOCK)/bin/python -m pip install --upgrade pip
	$(LOCK)/bin/python -m pip install $(PIP_ARGS) -e ".[dev]"
	@# The header stays. A local version such as torch's +cpu is a build, not a release, and would not install elsewhere.
	{ sed -n '/^#/p' constraints.txt; $(LOCK)/bin/python -m pip freeze --all --exclude-editable \
		| grep -v '^pip==' | sed 's/+[^ ]*$$//'; } > $(LOCK)/constraints.txt
	mv $(LOCK)/constraints.txt constraints.txt
	rm -rf $(LOCK)

$(VENV)/bin/python:
	@for python in $(PYTHON) python3.11 python3.12 python3.13 python3 python; do \
		if "$$python" -c '$(SUITABLE)' >/dev/null 2>&1; then \
			echo "Creating $(VENV) with $$("$$python" --version)."; \
			exec "$$python" -m venv $(VENV); \
		fi; \
	done; \
	echo "trackside needs Python 3.11, 3.12 or 3.13 with its venv module, and none was found: install one (Debian: apt-get install python3-venv) or name it with make PYTHON=/path/to/python3.11." >&2; \
	exit 1

$(STAMP): pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing trackside and its tools into $(VENV)."
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt -e ".[dev]"
	@touch $@

# The browser tests take $CHROMIUM, a Chromium or Chrome on the path, or Playwright's own download.
chromium:
	@if [ -n "$${CHROMIUM:-}" ]; then :; \
	elif { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && grep -qs '^ID=debian$$' /etc/os-release; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; \
	elif [ -x "$$($(BIN)/python -c 'from playwright.sync_api import sync_playwright as s; p = s().start(); print(p.chromium.executable_path); p.stop()')" ]; then :; \
	else echo "No Chromium here, so the browser tests cannot run: install Chromium, set CHROMIUM to its path, or run $(BIN)/playwright install chromium." >&2; \
	fi
