# `make demo` and `make test` are all that a newcomer needs; each makes .venv first.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
COMPILE := uv pip compile --universal --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links --quiet -c scripts/constraints.in pyproject.toml


# How many test files run at a time; each may train or convert, and takes up to 2 GB.
TESTS_AT_ONCE ?= 2

# Options of scripts/arm/test_arm.py.
ARM ?= --table docs/arm.md

.PHONY: help venv demo test test-real test-arm peers lint format constraints clean
.DEFAULT_GOAL := help

help:
	@echo "make demo         train, convert, prove and run on digits: no download, no camera"
	@echo "make test         lint, types, unit and end-to-end tests"
	@echo "make test-real    tests on the real photographs of ../shared/data or EDGEPROOF_DATA"
	@echo "make test-arm     engines and tests on emulated ARM processors, against x86-64 (slow)"
	@echo "make peers        environments of MediaPipe and tflite-runtime, for the tests that run them"
	@echo "make lint         ruff and mypy only"
	@echo "make format       rewrite the sources as ruff likes them"
	@echo "make constraints  pin the newest versions again (needs uv)"
	@echo "make clean        remove .venv and what the tools left"

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt scripts/make_venv.sh
	@sh scripts/make_venv.sh $(VENV) dev constraints.txt

demo: $(STAMP)
	@$(BIN)/edgeproof demo

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

test: lint
	@$(BIN)/python -m pytest -m "not real_data" -n $(TESTS_AT_ONCE) --dist loadfile

test-real: $(STAMP)
	@$(BIN)/python -m pytest -m real_data -n $(TESTS_AT_ONCE) --dist loadfile

test-arm: $(STAMP)
	@$(BIN)/python scripts/arm/test_arm.py $(ARM)

peers:
	@sh scripts/make_peer_envs.sh .peers all

format: $(STAMP)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

constraints:
	@echo "# Versions known to work together, on Python 3.10 to 3.13. Remade by: make constraints" > constraints.txt
	@$(COMPILE) --python-version 3.10 --extra dev >> constraints.txt
	@echo "# The same for the extra legacy, on Python 3.10 and 3.11. Remade by: make constraints" > constraints-legacy.txt
	@$(COMPILE) --python-version 3.10 --extra legacy >> constraints-legacy.txt

clean:
	rm -rf $(VENV) .peers .arm build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
