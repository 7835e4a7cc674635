# Everything is set up in .venv, from the lock files, without root: make and Python are enough.
# PYTHON=/path/to/python chooses the interpreter; `make clean` first to change it.

PYTHON ?=
LINK ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
TSC := $(VENV)/web/node_modules/.bin/tsc

.DEFAULT_GOAL := help
.PHONY: help run test coverage lint fmt bench docs lock upgrade clean FORCE
# A recipe that fails or is interrupted leaves no stamp.
.DELETE_ON_ERROR:

help: ## Say what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# --- What it is for --------------------------------------------------------------------------

# The link goes to the shell in single quotes, as it was given: links are full of & and $.
run: $(VENV)/.run $(VENV)/.project ## Serve; with LINK=URL mirror that link and end
	@exec $(BIN)/mltb $(if $(value LINK),mirror '$(subst ','\'',$(value LINK))',serve)

test: $(VENV)/.dev $(VENV)/.project $(VENV)/.web ## Run the tests; PYTEST_ARGS are passed on
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist worksteal $(PYTEST_ARGS)

coverage: $(VENV)/.dev $(VENV)/.project $(VENV)/.web ## Run the tests and fail under 90 % of the lines
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist worksteal \
		--cov --cov-report=term --cov-fail-under=90 $(PYTEST_ARGS)

lint: $(VENV)/.dev $(VENV)/.project $(VENV)/.web ## Check style, format, types and installed versions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy bot tests tools $(if $(wildcard benchmarks/*.py),benchmarks)
	$(BIN)/python -m pip check
	@if [ -x $(TSC) ]; then echo $(TSC) --project tools/web; $(TSC) --project tools/web; \
	else echo "No Node or no npm: the types of the page are not checked."; fi

fmt: $(VENV)/.dev ## Put the code in its format
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

bench: $(VENV)/.dev $(VENV)/.project ## Measure; BENCH_ARGS are passed on
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

docs: $(VENV)/.dev $(VENV)/.project ## Write the pages of docs/ that come from the code
	$(BIN)/python -m tools.docs

clean: ## Remove .venv and what the tools left
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* \
		build dist htmlcov site
	find bot tests benchmarks plugins -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# --- The lock files --------------------------------------------------------------------------

# For every Python and platform at once; without the address of the index they were made from. With
# the extras of each: older pips want to see those that another package asks for.
LOCK = UV_CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/uv pip compile --quiet --universal \
	--python-version 3.11 --generate-hashes --no-strip-extras --no-emit-index-url \
	--no-emit-find-links --no-config

lock: $(VENV)/.uv ## Write the lock files anew, keeping the versions that still fit
	@$(LOCK) $(UPGRADE) pyproject.toml --group build --output-file requirements.lock
	@$(LOCK) $(UPGRADE) pyproject.toml --group dev --all-extras \
		--constraints requirements.lock \
		--output-file requirements-dev.lock
	@echo uv | $(LOCK) $(UPGRADE) - --no-annotate --output-file requirements-uv.lock

upgrade: UPGRADE := --upgrade
upgrade: lock ## Write the lock files anew with the newest versions

# --- The environment -------------------------------------------------------------------------

# libtorrent has wheels for these and for no newer ones.
SUITABLE := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))

# A virtual environment holds absolute paths. One that was moved, or whose Python is gone, is made
# anew.
READY := $(shell [ "$$(cat $(VENV)/.home 2>/dev/null)" = "$(CURDIR)" ] && \
	$(BIN)/python -c 'import pip' 2>/dev/null && echo yes)
ifneq ($(READY),yes)
$(VENV)/.home: FORCE
endif

# A command may exist and yet not run, as pyenv's do for versions that are not chosen: try each.
$(VENV)/.home:
	@if [ -n "$(PYTHON)" ]; then tried="$(PYTHON)"; \
	else tried="python3.13 python3.12 python3.11 python3"; fi; \
	found=; \
	for python in $$tried; do \
		"$$python" -c '$(SUITABLE)' >/dev/null 2>&1 || continue; \
		found=$$python; \
		"$$python" -c 'import ensurepip, venv' >/dev/null 2>&1 && break; \
	done; \
	if [ -z "$$found" ]; then \
		echo "Python 3.11, 3.12 or 3.13 is needed; tried: $$tried." >&2; \
		echo "Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; \
	fi; \
	if ! "$$found" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
		version=$$("$$found" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		echo "$$found cannot make virtual environments: it lacks ensurepip or venv." >&2; \
		echo "On Debian and Ubuntu: apt-get install python$$version-venv" >&2; exit 1; \
	fi; \
	echo "Setting up $(VENV) with $$("$$found" --version)"; \
	"$$found" -m venv --clear $(VENV) && echo "$(CURDIR)" >$(VENV)/.home

# pip finds uv, uv installs the rest in a tenth of the time. uv does not read pip's settings, so
# pip does everything where it has been told of another index or way to it; and wherever uv fails.
$(VENV)/.uv: $(VENV)/.home requirements-uv.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile \
		--require-hashes --requirement requirements-uv.lock || echo "No uv; pip does its work."
	@touch $@

define install
@if [ -x $(BIN)/uv ] && ! $(BIN)/python -m pip config list 2>/dev/null | \
	grep -qE '[.](index-url|no-index|proxy|client-cert|trusted-host|keyring-provider)=' && \
	$(BIN)/uv pip install --quiet --system-certs --require-hashes --compile-bytecode \
		--python $(BIN)/python --requirement $(1); then :; \
else \
	echo "Installing with pip; this takes a little longer"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile \
		--require-hashes --requirement $(1) && \
	{ $(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true; }; \
fi
endef

$(VENV)/.run: $(VENV)/.uv requirements.lock
	@echo "Installing $(word 2,$^)"
	$(call install,requirements.lock)
	@touch $@

# The development lock holds all of the other, in the same versions.
$(VENV)/.dev: $(VENV)/.uv requirements-dev.lock
	@echo "Installing $(word 2,$^)"
	$(call install,requirements-dev.lock)
	@touch $@ $(VENV)/.run

# The build back end came with the lock files: nothing is downloaded here.
$(VENV)/.project: $(VENV)/.home pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps \
		--no-build-isolation --editable .
	@touch $@

# What checks the page: the compiler of its types, and axe. Both are left out where there is no Node.
$(VENV)/.web: $(VENV)/.home tools/web/package.json tools/web/package-lock.json
	@rm -rf $(VENV)/web && mkdir -p $(VENV)/web && cp tools/web/package*.json $(VENV)/web
	@command -v npm >/dev/null && cd $(VENV)/web && npm ci --ignore-scripts --no-audit --no-fund \
		--loglevel=error >/dev/null || echo "No tools for the page; its checks are left out."
	@touch $@

FORCE:
# The order of what a target needs matters: the project comes after its libraries.
.NOTPARALLEL:
