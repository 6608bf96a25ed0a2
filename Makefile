# A fresh machine needs Python >= 3.11, git and make; the first target that runs makes .venv.
SHELL := /bin/bash
PY := .venv/bin/python
# Known versions first: python3 may be newer than the pinned wheels, or older than we need.
PYTHONS := python3.13 python3.12 python3.11 python3
NEEDED := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))

# Tests and benchmarks start hundreds of processes: each would compile all of our sources again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-all chaos lint types docs site bench bench-peers simulate constraints clean

help:
	@echo "make demo         run the demo on the standard library's own source files"
	@echo "make test         run the tests of every day: all but those marked nightly (docs/testing.md lists them)"
	@echo "make test-all     run all tests, for the night"
	@echo "make chaos        break things at random while flows run (MINUTES=10 RUNNER=thread, process, dask, ray, service or all)"
	@echo "make lint types   ruff; mypy --strict, and pyright on what users see"
	@echo "make docs         write docs/options.md, pages of docs/reference and the table of helm/anabranch/README.md anew"
	@echo "make site         build the site of docs/ in build/site; a warning is an error"
	@echo "make bench        measure against the peers, interleaved (hours), and write docs/benchmarks.md with plots"
	@echo "make simulate     drive the dispatcher with 10,000 virtual workers (docs/scale.md), five minutes"
	@echo "make constraints  pin the newest versions that fit (needs uv)"
	@echo "make clean        remove build products and caches (.venv stays)"

.venv/.ready: pyproject.toml constraints.txt
	@set -e; if [ ! -x $(PY) ]; then \
	  for p in $(PYTHONS); do \
	    if "$$p" -c '$(NEEDED)' >/dev/null 2>&1; then found="$$p"; break; fi; \
	  done; \
	  if [ -z "$${found:-}" ]; then \
	    echo "anabranch needs Python >= 3.11 with venv; tried: $(PYTHONS)" >&2; exit 1; \
	  fi; \
	  echo "making .venv with $$("$$found" --version)"; \
	  "$$found" -m venv .venv; \
	fi
	$(PY) -m pip install --quiet -e '.[dev,dask,ray,hpc,kubernetes,postgres,remote,plots,notebook,watch,traces,server,docs]' -c constraints.txt
	@touch $@

demo: .venv/.ready
	.venv/bin/anabranch demo

test: .venv/.ready
	$(PY) -m tests.parts "not nightly"

test-all: .venv/.ready
	$(PY) -m tests.parts ""

MINUTES ?= 10
RUNNER ?= all
chaos: .venv/.ready
	$(PY) -m tests.chaos --minutes $(MINUTES) --runner $(RUNNER) $(if $(SEED),--seed $(SEED))

lint: .venv/.ready
	$(PY) -m ruff check .

types: .venv/.ready
	$(PY) -m mypy
	$(PY) -m mypy --strict tests/typing/sample.py
	.venv/bin/basedpyright --project tests/typing --pythonpath $(PY)
	$(PY) -m tests.typing.completeness

docs: .venv/.ready
	$(PY) docs/options_page.py
	$(PY) docs/command_page.py
	$(PY) docs/http_page.py
	$(PY) docs/prefect_page.py
	$(PY) docs/prefect_tests_page.py
	$(PY) helm/values_page.py

site: .venv/.ready
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

bench: .bench-venv/.ready
	$(PY) -m benchmarks --json benchmarks/out/samples.jsonl --write-docs

bench-peers: .bench-venv/.ready

simulate: .venv/.ready
	$(PY) -m benchmarks simulate

# Peers in an environment of their own, made with the same Python: workers of theirs and ours are alike.
.bench-venv/.ready: benchmarks/peers.txt .venv/.ready
	$(PY) -m venv --clear .bench-venv
	.bench-venv/bin/python -m pip install --quiet -r benchmarks/peers.txt
	@touch $@

constraints:
	uv pip compile --quiet --upgrade --universal --fork-strategy fewest --python-version 3.11 \
	  --no-header --no-annotate --no-emit-index-url \
	  --extra dev --extra dask --extra ray --extra hpc --extra kubernetes --extra postgres --extra remote --extra plots --extra notebook --extra watch --extra traces --extra server --extra docs pyproject.toml -o constraints.txt

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis report.html
	find anabranch benchmarks tests examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
