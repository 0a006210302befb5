# The two commands are `make up` and `make test`; `make help` lists the rest.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
MADE := $(VENV)/.made

PYTEST_FLAGS ?=
HOSTS ?= 0
NOVAS ?= 29 31 34

.DEFAULT_GOAL := help
.PHONY: help up down reset test test-hosts test-long test-plugin check lint types imports unit functional bench-boots bench-claims bench-first bench-host bench-lab bench-placement bench-scheduler lock schema clean

help:
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	@tools/venv "$(PYTHON)" "$(VENV)"

$(MADE)-lab: requirements/lab.txt pyproject.toml packages/gpufarm-nova/pyproject.toml | $(BIN)/python
	@echo "installing gpufarm and the embedded OpenStack into $(VENV) (a minute or two, once)" >&2
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
		-r requirements/lab.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps \
		-e packages/gpufarm-nova -e .
	@touch $@

$(MADE)-dev: requirements/dev.txt | $(MADE)-lab
	@echo "installing what the tests need into $(VENV)" >&2
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
		-r requirements/dev.txt
	@touch $@

$(MADE)-nova-%: requirements/nova-%.txt packages/gpufarm-nova/pyproject.toml | $(MADE)-dev
	@echo "installing Nova $* into $(VENV)/nova-$*, for the tests of the scheduler plugin" >&2
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)/nova-$*
	@$(BIN)/uv pip install --quiet --python $(VENV)/nova-$*/bin/python --no-deps --require-hashes \
		-r $<
	@$(BIN)/uv pip install --quiet --python $(VENV)/nova-$*/bin/python --no-deps \
		-e packages/gpufarm-nova
	@touch $@

up: $(MADE)-lab ## an OpenStack with GPU hosts on this machine, and a GPU server in it
	@BIN=$(BIN) tools/up

down: ## end what `make up` started; its servers are there again at the next `make up`
	@if [ -x $(BIN)/gpufarm ]; then $(BIN)/gpufarm lab down; fi

reset: ## end it and forget all of it
	@if [ -x $(BIN)/gpufarm ]; then $(BIN)/gpufarm lab reset; fi

test: $(MADE)-dev check test-plugin ## set-up and the test suite, against a real OpenStack
	@$(BIN)/python -m pytest -n 2 $(PYTEST_FLAGS)

test-hosts: $(MADE)-dev ## those of them on virtual Linux hosts, in QEMU
	@$(BIN)/python -m pytest -m 'virthost and not long' $(PYTEST_FLAGS)

test-long: $(MADE)-dev ## the tests that `make test` leaves out since they take minutes
	@$(BIN)/python -m pytest -m long $(PYTEST_FLAGS)

test-plugin: $(addprefix $(MADE)-nova-,$(NOVAS)) ## the scheduler plugin with each Nova it serves
	@for nova in $(NOVAS); do \
		echo "gpufarm-nova with Nova $$nova" >&2; \
		$(VENV)/nova-$$nova/bin/python -m pytest -q --durations=0 --durations-min=5 -W ignore \
			packages/gpufarm-nova/tests || exit 1; \
	done

check: lint types imports ## what needs no test run: style, types, direction of imports

lint: $(MADE)-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/vermin --quiet --no-tips --violations --target=3.8- packages/gpufarm-nova/gpufarm_nova

types: $(MADE)-dev
	@$(BIN)/mypy

imports: $(MADE)-dev
	@$(BIN)/lint-imports

unit: $(MADE)-dev ## the tests that need no lab, in seconds
	@$(BIN)/python -m pytest tests/unit $(PYTEST_FLAGS)

functional: $(MADE)-dev ## the tests on a real OpenStack
	@$(BIN)/python -m pytest tests/functional $(PYTEST_FLAGS)

bench-host: $(MADE)-lab ## how quickly hosts are read, compared with lspci; HOSTS=6: over SSH too
	@$(BIN)/python benchmarks/host.py --hosts $(HOSTS)

bench-claims: $(MADE)-lab ## how capacity and claims are read in a cloud of 8,000 cards
	@$(BIN)/python benchmarks/claims.py

TRACE ?= ../shared/traces

bench-placement: $(MADE)-dev ## where servers go, on a production trace; TRACE=FOLDER says where it is
	@$(BIN)/python benchmarks/placement.py --trace $(TRACE)

bench-scheduler: $(MADE)-lab ## what the scheduler plugin costs one request over 1,523 hosts
	@$(BIN)/python benchmarks/scheduler.py

bench-lab: $(MADE)-lab ## how long the embedded OpenStack takes to start, and its memory
	@$(BIN)/python benchmarks/lab.py

bench-first: $(MADE)-lab ## how long the first GPU server on a real host takes, by phase, and its memory
	@$(BIN)/python benchmarks/first_server.py

BOOTS ?= 30

bench-boots: $(MADE)-lab ## how often a virtual host panics, in so many boots: BOOTS=N
	@$(BIN)/python benchmarks/boots.py --rounds $(BOOTS)

lock: $(MADE)-dev ## lock the dependencies anew
	@for file in lab dev; do \
		extra=$$([ $$file = dev ] && echo "--group dev --extra simulate -c requirements/lab.txt"); \
		$(BIN)/uv pip compile --quiet --upgrade pyproject.toml --extra lab $$extra --universal \
			--python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
			--no-emit-package gpufarm-nova --no-header -o requirements/$$file.txt; \
	done
	@for nova in 29=2025-01-01 31=2026-01-01 34=; do \
		date=$${nova#*=}; nova=$${nova%=*}; \
		printf '%s\n' "nova==$$nova.*" hypothesis pytest | $(BIN)/uv pip compile --quiet --upgrade - \
			$${date:+--exclude-newer $$date} --universal --python-version 3.11 --generate-hashes \
			--no-emit-index-url --no-annotate --no-header -o requirements/nova-$$nova.txt; \
	done

clean: reset ## remove what was made here
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
