# Two commands do everything: `make demo` and `make test`. Each sets itself up in .venv/ and is quiet when that is done.
PYTHON ?= python3
CORES ?= $(shell nproc)
RULES := .venv/rules
RUNNER := .venv/runner
PIP := -m pip install --quiet --disable-pip-version-check --no-deps --no-compile
# pip would compile on one core. A few files of the packages are for other Pythons and cannot be compiled.
COMPILE = $(1)/bin/python -m compileall -qq -j 0 $(1)/lib || true
# Rules call plain `python`, which has to be the one of the rules' environment.
export PATH := $(CURDIR)/$(RULES)/bin:$(PATH)
# Set in many containers; every job would compile pathomix anew.
unexport PYTHONDONTWRITEBYTECODE
SNAKEMAKE := $(RUNNER)/bin/snakemake

.PHONY: demo shoebox demo-isolated test test-slurm test-all docs lint bench lock clean

demo: $(RULES)/.ready $(RUNNER)/.ready
	@$(SNAKEMAKE) --profile profiles/local --cores $(CORES) --configfile config/demo.yaml
	@echo "report: results/demo/report/index.html"

shoebox: $(RULES)/.ready $(RUNNER)/.ready
	@$(SNAKEMAKE) --profile profiles/local --cores $(CORES) --configfile config/demo.yaml config/shoebox.yaml
	@echo "report: results/demo/report/index.html"

# The demo with each rule in its own environment (envs/), built without network by the tests' stand-in for conda.
demo-isolated: $(RULES)/.ready $(RUNNER)/.ready
	@PATH=$(CURDIR)/tests/stand_in/bin:/usr/local/bin:/usr/bin:/bin $(SNAKEMAKE) --profile profiles/local --cores $(CORES) \
		--configfile config/demo.yaml --config results=results/isolated --sdm conda

test: $(RULES)/.ready-dev $(RUNNER)/.ready
	@$(RULES)/bin/python -m pytest -q -m "not slow"

# On a throw-away Slurm that the tests bring up; needs Slurm's programs (tests skip and name the packages otherwise).
test-slurm: $(RULES)/.ready-dev $(RUNNER)/.ready
	@$(RULES)/bin/python -m pytest -q -rs tests/slurm

test-all: $(RULES)/.ready-dev $(RUNNER)/.ready
	@$(RULES)/bin/python -m pytest -q --hypothesis-profile searching

docs: $(RULES)/.ready-dev
	@$(RULES)/bin/python -m sphinx -E -q -W --keep-going -b html -d docs/_build/doctrees docs docs/_build/html
	@echo "documentation: docs/_build/html/index.html"

lint: $(RULES)/.ready-dev $(RUNNER)/.ready
	@$(RULES)/bin/ruff check
	@$(RULES)/bin/ruff format --check
	@$(RULES)/bin/mypy
	@$(RULES)/bin/lint-imports
	@$(RULES)/bin/snakefmt --check Snakefile rules
	@$(SNAKEMAKE) --lint --configfile config/demo.yaml

bench: $(RULES)/.ready-dev $(RUNNER)/.ready
	@for name in whole dilated_attention modaltune_step probes scgpt_embedding cox_loss fifteen_folds tissue embedding acquire cohort_matrix site_splits statistics coverage tables mil_step scale startup; do $(RULES)/bin/python -m benchmarks.$$name || exit 1; done

$(RULES)/.ready: locks/rules.txt pyproject.toml
	@echo "installing the rules' environment (a few minutes, 7 GB) ..."
	@$(PYTHON) -m venv $(RULES)
	@$(RULES)/bin/python $(PIP) -r locks/rules.txt
	@$(RULES)/bin/python $(PIP) --editable .
	@$(call COMPILE,$(RULES))
	@touch $@

$(RULES)/.ready-dev: $(RULES)/.ready locks/dev.txt
	@echo "installing tests and linters ..."
	@$(RULES)/bin/python $(PIP) -r locks/dev.txt
	@$(call COMPILE,$(RULES))
	@touch $@

$(RUNNER)/.ready: locks/runner.txt
	@echo "installing the runner's environment ..."
	@$(PYTHON) -m venv $(RUNNER)
	@$(RUNNER)/bin/python $(PIP) -r locks/runner.txt
	@$(call COMPILE,$(RUNNER))
	@touch $@

# Resolve the locks anew from the *.in files, in scratch environments.
lock:
	@sh locks/resolve.sh $(PYTHON)

clean:
	rm -rf .venv results/demo results/isolated results/permuted docs/_build .snakemake .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
