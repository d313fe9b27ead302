# What one types. Every target sets the machine up first; that is quick when it is done already.

PYTHON := .venv/bin/python

.PHONY: help setup demo test laws bench clean

help:
	@echo "make demo    one whole call, live in the terminal; leaves a recording and a picture in demo/"
	@echo "make test    lint, types and tests"
	@echo "make laws    look for examples that break a law, other ones each time; make test has the same ones always"
	@echo "make bench   many calls at once, and turn taking on bad lines: bench/RESULTS.md says what the columns mean"
	@echo "make clean   remove what these have made, .venv included"

setup:
	@tools/setup.sh

demo: setup
	@$(PYTHON) -m esl_agent demo

test: setup
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest

laws: setup
	$(PYTHON) -m pytest --hypothesis-profile=search tests/pure tests/legs tests/providers

bench: setup
	$(PYTHON) -m bench.load
	$(PYTHON) -m bench.frame_budget
	$(PYTHON) -m bench.turns
	$(PYTHON) -m bench.providers
	$(PYTHON) -m bench.deaths
	-$(PYTHON) -m bench.asterisk

clean:
	rm -rf .venv .asterisk demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
