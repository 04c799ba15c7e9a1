# make serve    install what this machine needs into .venv, then serve a model; ARGS="--port 9000" passes options on
# make install  the same without serving
# make install-test   install the other engine and the test tools as well, without testing
# make test     install the other engine and the test tools as well, then test; ARGS="-k stamp" passes options to pytest
# make test-fast      the tests that need no engine and no server, in under two minutes
# make test-convert   the tests of conversion that need torch, which they install into the cache folder
# make test-suites    other people's test cases: JSON Schema's suite, real schemas, llama.cpp's parser cases
# make test-clients   other people's clients with Nitro, each in its own environment in the cache folder
# make test-page      the page in Debian's Chromium, installed where apt can; ARGS="--screenshots" writes docs/screenshots anew
# make page     build the page anew from web/ into nitro/web/, with Node 20
# make lint     ruff and mypy
# make bench    measure Nitro beside llama-server and others, which are built first; writes bench/results.md; ARGS="--rows 1,8"
# make soak     hostile requests, kills and damaged models; writes soak/results.md; ARGS="--short" takes a few minutes
# make docs     write docs/parameters.md, docs/limits.md, docs/architectures.md, docs/clients, and the pictures of docs/ and the table of docs/speed.md; examples into pages
# make site     the documentation as a site, in build/site/html; a warning or a dead link is an error
# make clean    remove everything the other targets made, .venv included

PYTHON ?= python3
ARGS ?=

.PHONY: install install-test serve test test-fast test-convert test-suites test-clients test-page page lint bench soak docs site clean

install:
	@$(PYTHON) scripts/install.py serve

install-test:
	@$(PYTHON) scripts/install.py test

# exec leaves no shell between make and the server, so Ctrl-C reaches the server itself.
serve:
	@$(PYTHON) scripts/install.py serve
	@exec .venv/bin/nitro serve $(ARGS)

test:
	@$(PYTHON) scripts/install.py test
	@exec .venv/bin/python -m pytest $(ARGS)

test-fast:
	@$(PYTHON) scripts/install.py test
	@exec .venv/bin/python -m pytest --fast $(ARGS)

test-convert:
	@$(PYTHON) scripts/install.py test
	@exec .venv/bin/python -m pytest -m convert tests/convert $(ARGS)

test-suites:
	@$(PYTHON) scripts/install.py test
	@exec .venv/bin/python -m pytest -m suites tests/suites $(ARGS)

test-clients:
	@$(PYTHON) scripts/install.py test
	@exec .venv/bin/python -m pytest -m clients tests/clients $(ARGS)

test-page:
	@$(PYTHON) scripts/install.py test
	@$(PYTHON) scripts/chromium.py
	@exec .venv/bin/python -m pytest -m page -rs tests/page $(ARGS)

page:
	cd web && npm ci --ignore-scripts --no-audit --no-fund && npm run build

lint:
	@$(PYTHON) scripts/install.py test
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m mypy nitro

bench:
	@$(PYTHON) scripts/install.py test
	.venv/bin/python -m bench.table $(ARGS)
	.venv/bin/python -m bench.http
	.venv/bin/python -m bench.footprint
	.venv/bin/python -m bench.convert
	.venv/bin/python -m bench.gguf_on_mlx --gemma
	.venv/bin/python -m scripts.bench_chart
	.venv/bin/python -m scripts.clients_chart

soak:
	@$(PYTHON) scripts/install.py test
	@exec .venv/bin/python -m soak $(ARGS)

docs:
	@$(PYTHON) scripts/install.py test
	.venv/bin/python -m scripts.parameters
	.venv/bin/python -m scripts.limits
	.venv/bin/python -m scripts.clients
	.venv/bin/python -m scripts.architectures
	.venv/bin/python -m scripts.bench_chart
	.venv/bin/python -m scripts.clients_chart
	.venv/bin/python -m scripts.examples

site:
	@$(PYTHON) scripts/install.py test
	@exec .venv/bin/python -m scripts.site

clean:
	rm -rf .venv web/node_modules build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage
	find nitro tests scripts bench soak -name __pycache__ -type d -prune -exec rm -rf {} +
