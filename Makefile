# Two commands matter: `make synth` and `make test`. Both install what they need, once.
PYTHON  ?= python3
CLUSTER ?= clusters/hyperpod-cpu.yaml

# The virtual environment brings Python's packages and Node; package-lock.json brings the CDK CLI.
export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/node_modules/.bin:$(PATH)
export CDK_DISABLE_CLI_TELEMETRY := true
export CDK_DISABLE_VERSION_CHECK := 1
# Without compiled bytecode every run of CDK costs four seconds more.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help synth demo bundle test setup local-aws lint types unit node-test bench lock schema wheel clean
help:  ## Say what can be asked for
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

synth: setup  ## Check CLUSTER, synthesise it offline and summarise it
	@cdk-slurm validate $(CLUSTER)
	@cdk synth --quiet -c cluster=$(CLUSTER)
	@cdk-slurm summary $(CLUSTER) --assembly cdk.out

demo: local-aws  ## Rehearse CLUSTER: deploy it with the real cdk to an AWS on this machine, look, take it away
	@cdk-slurm rehearse $(CLUSTER)

bundle: setup  ## Fetch what nodes may lack; PARTS="NAME ..." names what is fetched only when named
	@cdk-slurm bundle $(PARTS)

test: local-aws tests/oracle/parallelcluster/.venv/installed  ## Everything that CI checks
	@bash tests/run-all

setup: .venv/installed node_modules/installed  ## Install the pinned tools

.venv/installed: requirements.txt requirements-dev.txt pyproject.toml
	@echo "Installing Python packages and Node into .venv (once)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cdk-slurm needs Python 3.11 or newer; this is " + sys.version)'
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

node_modules/installed: package-lock.json .venv/installed
	@echo "Installing the CDK command line into node_modules (once)"
	@npm ci --no-audit --no-fund --silent
	@touch $@

local-aws: setup local/.venv/installed local/node_modules/installed  ## Install what a rehearsal deploys to

local/.venv/installed: local/requirements.txt
	@echo "Installing the local AWS into local/.venv (once)"
	@test -x local/.venv/bin/python || $(PYTHON) -m venv local/.venv
	@local/.venv/bin/python -m pip install --quiet --disable-pip-version-check -r local/requirements.txt
	@touch $@

local/node_modules/installed: local/package-lock.json .venv/installed
	@echo "Installing what Lambda's Node runtime brings into local/node_modules (once)"
	@npm ci --prefix local --no-audit --no-fund --silent
	@touch $@

tests/oracle/parallelcluster/.venv/installed: tests/oracle/parallelcluster/requirements.txt
	@echo "Installing ParallelCluster, which judges what is written for it, into tests/oracle/parallelcluster/.venv (once)"
	@test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

lint: setup  ## Style, import contract, shell scripts
	ruff check .
	ruff format --check .
	lint-imports
	shellcheck lifecycle_scripts/*.sh lifecycle_scripts/*/*.sh tests/run-all .ci/run

types: setup  ## Types, strict
	mypy

unit: setup  ## The tests that need no CDK (a minute)
	pytest -q tests/unit tests/functions tests/exporters tests/metrics tests/node --ignore-glob='*/test_nodes_*.py'

node-test: local-aws  ## The lifecycle scripts on real systemd nodes with a real Slurm (root, Debian)
	pytest -q -n 3 --dist loadfile tests/node/test_nodes_*.py

bench: setup  ## Measure validation and synthesis
	python benchmarks/run.py

lock: setup  ## Compile requirements*.txt from pyproject.toml
	uv pip compile -q --universal --python-version 3.11 --no-emit-index-url pyproject.toml -o requirements.txt
	uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --group dev -c requirements.txt -o requirements-dev.txt
	uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --group local-aws -o local/requirements.txt
	uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --no-header tests/oracle/parallelcluster/requirements.in -o tests/oracle/parallelcluster/requirements.txt

schema: setup  ## Write the JSON Schema that the example files refer to
	cdk-slurm schema > clusters/cluster.schema.json

wheel: setup  ## Build the package
	python -m build --wheel --outdir dist

clean:  ## Remove everything that was installed or generated
	rm -rf .venv node_modules local/.venv local/node_modules tests/oracle/parallelcluster/.venv cdk.out dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
