.PHONY: install check test full faults bench docs

install:  ## .venv with all that the tests need
	./scripts/install.sh test

check: install  ## lint, layout and types: a minute
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

test: install  ## every part of it
	./scripts/test.sh

full: install  ## every combination of parts too: for a night
	./scripts/test.sh --full

faults: install  ## what users once met: some minutes
	OMP_NUM_THREADS=1 .venv/bin/pytest -m faults

docs: install  ## the site of the documents, in site/
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

bench: install  ## speed, against other code in the same run
	.venv/bin/python benchmarks/benchmark.py
