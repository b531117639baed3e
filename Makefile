# Two commands: `make demo` runs the main job, `make test` passes the tests. Each does its own set-up.
# Everything else here is for those who work on Tenure.

VENV   := .venv
PYTHON ?= python3
RUN    := $(VENV)/bin/python
SETUP  := $(VENV)/.set-up

# Images of Python often forbid it to keep what it compiled. The tests start hundreds of processes: half of their time would
# go into compiling the same files again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test peers lint types bench rivals fuzz fuzz-api docs lock browser conformance screenshots clean

help:  ## Say what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(SETUP): requirements.lock pyproject.toml scripts/set-up
	@PYTHON=$(PYTHON) scripts/set-up $(VENV)
	@touch $@

demo: $(SETUP)  ## Two governed agents, from request to retirement, and the console open on it
	@$(RUN) -m demo

test: $(SETUP) browser conformance  ## All tests
	@$(RUN) -m pytest -q -n 3 --dist worksteal

peers: $(SETUP)  ## Real CrewAI, AutoGen, Google ADK, Phoenix and MLflow, each in an environment of its own: make peers PEERS="crewai adk"
	@PYTHON=$(PYTHON) nice scripts/peers $(PEERS)
	@TENURE_PEERS=1 $(RUN) -m pytest -q tests/peers

browser:
	@scripts/browser

conformance:
	@scripts/conformance

lint: $(SETUP)  ## ruff: style and likely bugs
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .

types: $(SETUP)  ## mypy, strict
	@$(VENV)/bin/mypy

bench: $(SETUP) rivals  ## What the gateway costs next to nginx, Envoy and LiteLLM; MCP calls a second; what scanning costs, finds and finds wrongly; what a decision costs
	@$(RUN) -m bench.gateway
	@$(RUN) -m bench.mcp
	@$(RUN) bench/scan.py
	@$(RUN) -m bench.policy

rivals:
	@PYTHON=$(PYTHON) scripts/rivals

.fuzz/atheris: tests/fuzz/requirements.lock $(SETUP)
	@$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: --upgrade \
	    --target .fuzz/atheris -r tests/fuzz/requirements.lock
	@touch $@

fuzz: .fuzz/atheris  ## Fuzz every codec for ten minutes each: make fuzz TARGETS="openai mcp" SECONDS_EACH=60
	@PYTHONPATH=.fuzz/atheris nice $(RUN) -m tests.fuzz.run $(TARGETS) --seconds $(or $(SECONDS_EACH),600)

fuzz-api: $(SETUP)  ## The control plane's API under generated requests, 200 for each operation
	@TENURE_API_EXAMPLES=200 nice $(RUN) -m pytest -q --timeout 0 tests/app/test_api_fuzz.py

docs: $(SETUP)  ## Make the pages that are generated from the code
	@$(RUN) -m scripts.generate_docs

lock: $(SETUP)  ## Pin every dependency anew (needs uv)
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
	    --no-header --group demo --group dev pyproject.toml -o requirements.lock
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
	    --no-header bench/requirements.in -o bench/requirements.lock
	@for peer in tests/peers/*/requirements.in; do uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-annotate --no-header $$peer -o $${peer%.in}.lock; done

clean:  ## Remove what make made
	rm -rf $(VENV) .venv-bench .demo .peers

screenshots: $(SETUP) browser  ## Make the pictures of the README anew, from the journey in a real browser
	@TENURE_SCREENSHOTS=docs/screenshots $(RUN) -m pytest -q tests/journeys/test_console.py
