# One line a target; each sets up what it needs.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
VOC_ROOT ?= data/VOCdevkit
COCO_ROOT ?= data/coco
ADE_ROOT ?= data
PC459_ROOT ?= data
REFER_ROOT ?= data/refer
DATA_ROOT ?= data
NAME ?= voc
DAVIS_ROOT ?= data/ref-davis
WEIGHTS ?= openai
DEVICE ?= auto
JOBS ?= 2
REGRESS_OUT := results/runs/regress
ABLATIONS := table2 table4 table5 table6 fidelity
PAGE ?= results/runs/ablations.md
LIMIT ?=
ARGS ?=
LIMITED := $(if $(LIMIT),--limit $(LIMIT))

.PHONY: help setup test test-light test-lowest test-newest coverage release lint format docs docs-generated docs-notebook docs-tables dist serve regress ablations eval-mini eval-voc eval-coco-object eval-context eval-ade eval-pc459 eval-refcoco \
	eval-grefcoco eval-ref-davis eval-all data bench clean

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: $(DEV)  ## make .venv and install everything; does nothing when it is up to date

# torch first and alone: the constraint keeps pip from choosing another build while it resolves the rest.
# Only what is imported is compiled, then: all would be another 260 MB.
$(STAMP): pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --no-compile --constraint constraints.txt torch
	$(VENV)/bin/python -m pip install --quiet --no-compile --constraint constraints.txt --editable .
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[crf]' || \
	  echo "notice: pydensecrf2 could not be built (it needs a C++ compiler): torch's CRF runs in its place"
	touch $@

# What develops, documents, draws and serves; a run needs none of it.
$(DEV): $(STAMP)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	touch $@

# A file's tests stay in one process, since they share what is slow to make; the files go in order, not largest first.
test: $(DEV)  ## run the tests, in JOBS processes
	$(VENV)/bin/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

# Plugins of a folder of their own: installed in .venv, they would also reorder `make test`.
COVERAGE := .light/coverage

coverage: $(DEV)  ## run the tests in random order and measure the branches that they take; fails below the floor
	test -d $(COVERAGE) || $(VENV)/bin/python -m pip install --quiet --no-deps --target $(COVERAGE) coverage pytest-cov pytest-randomly
	PYTHONPATH=$(COVERAGE) $(VENV)/bin/python -m pytest -n $(JOBS) --dist loadfile --cov --cov-report term:skip-covered $(ARGS)

# What needs no torch, on another Python: figures, records, tables, data sets. Only wheels: there may be no compiler.
LIGHT := .light/$(notdir $(PYTHON))
LIGHT_TESTS := tests/test_rooms.py tests/dataset_adapters tests/results --ignore tests/results/test_report_browser.py \
	$(patsubst %,tests/evaluation/test_%.py,benchmark generalized model_options progress referring semantic summary tasks video)

test-light:  ## run the tests that need no torch, on another Python: make test-light PYTHON=python3.13
	test -x $(LIGHT)/bin/python || $(PYTHON) -m venv $(LIGHT)
	sed -n '/^dependencies/,/^]/s/^ *"\([^"]*\)".*/\1/p' pyproject.toml | grep -v torch > $(LIGHT)/requirements.txt
	$(LIGHT)/bin/python -m pip install --quiet --only-binary :all: --constraint constraints.txt \
	  --requirement $(LIGHT)/requirements.txt pytest pytest-timeout hypothesis scikit-learn matplotlib
	$(LIGHT)/bin/python -m pytest $(LIGHT_TESTS) $(ARGS)

# Lower bounds are claims, so torch's is installed as well: 3 GB, once, for all. An extra may ask for more than the rest does.
LOWEST := .light/lowest
LOWEST_TESTS := $(LIGHT_TESTS) tests/test_strict_yaml.py \
	$(patsubst %,tests/car_core/test_%.py,checkpoints downloads drawing host_state weights) \
	$(patsubst %,tests/evaluation/test_%.py,cli fuzz inputs)
LOWEST_EXTRA_TESTS := tests/car_core/test_sam.py tests/car_core/test_sam3.py tests/evaluation/test_ray.py tests/results/test_sweep_table.py

# $(call test_lowest,EXTRA...) is a command that runs the tests named after it with the lowest versions.
define test_lowest
	$(LOWEST)/bin/uv venv --quiet --clear --python $(PYTHON) $(LOWEST)/venv
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/venv --resolution lowest-direct --only-binary :all: \
	  --requirement pyproject.toml $(addprefix --extra ,$1) --requirement $(LOWEST)/tools.txt
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/venv --no-deps --editable .
	$(LOWEST)/venv/bin/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)
endef

test-lowest:  ## run tests with the lowest versions that pyproject.toml allows: make test-lowest PYTHON=python3.10
	test -x $(LOWEST)/bin/uv || $(PYTHON) -m pip install --quiet --constraint constraints.txt --target $(LOWEST) uv
	grep -E '^(pytest|pytest-timeout|pytest-xdist|hypothesis|scikit-learn)==' constraints.txt > $(LOWEST)/tools.txt
	$(call test_lowest,) $(LOWEST_TESTS)
	$(call test_lowest,plot sam distributed) $(LOWEST_EXTRA_TESTS)
	$(call test_lowest,serve video) tests/evaluation/test_demo.py tests/evaluation/test_segment_video.py

NEWEST := .light/newest

test-newest:  ## run the tests with the newest version of every dependency, pinned or not
	test -x $(NEWEST)/bin/python || $(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable '.[dev,docs,crf]'
	$(NEWEST)/bin/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(DEV)  ## check style, types, spelling, unused code and declared dependencies
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy && $(VENV)/bin/codespell
	$(VENV)/bin/vulture && $(VENV)/bin/deptry --no-ansi .
	$(VENV)/bin/python -m pytest tests/test_docs.py -k typed_example  # with mypy's cache of the line above

format: $(DEV)  ## apply the style
	$(VENV)/bin/ruff check --fix . && $(VENV)/bin/ruff format .

docs: $(DEV)  ## build the documentation into site/, offline; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict --quiet

docs-generated: $(DEV)  ## write the tables of docs/ that come from the code: switches, module map, schema
	$(VENV)/bin/python -m tools.generated_docs

docs-notebook: $(DEV)  ## run the example notebook and store its outputs
	$(VENV)/bin/python -m tools.notebook

dist: $(DEV)  ## build wheel and sdist into dist/
	$(VENV)/bin/python -m build --outdir dist

release: lint docs test regress  ## check that this version can be released, and say how to tag it
	rm -rf dist
	$(MAKE) --no-print-directory dist
	$(VENV)/bin/python -m tools.release

serve: $(DEV)  ## the web demo on this machine: make serve [ARGS="--weights openai"]
	$(VENV)/bin/car serve --weights miniature $(ARGS)

eval-mini: $(STAMP)  ## the embedded miniature, no download: all its benchmarks, one table, a contact sheet
	$(VENV)/bin/car suite mini --jobs $(JOBS) --device '$(DEVICE)' $(LIMITED) $(ARGS)

# A folder of its own, emptied first: finished records of an earlier start would only be read again.
regress: $(STAMP)  ## run the miniature and compare with results/golden; fails on a changed figure
	rm -rf '$(REGRESS_OUT)'
	$(VENV)/bin/car suite mini --jobs $(JOBS) --device cpu --out '$(REGRESS_OUT)'
	$(VENV)/bin/car check '$(REGRESS_OUT)' $(ARGS)

# The other preset, table3, needs weights of two architectures.
ablations: $(DEV)  ## the paper's ablations on the miniature, tables and plots: make ablations [LIMIT=...] [PAGE=docs/ablations.md]
	@for preset in $(ABLATIONS); do \
	  $(VENV)/bin/car sweep mini-voc --preset "$$preset" --jobs $(JOBS) --device '$(DEVICE)' $(LIMITED) $(ARGS) || exit $$?; \
	done
	$(VENV)/bin/python -m tools.ablations_page '$(PAGE)' $(ABLATIONS:%=results/runs/suite-%-mini-voc$(LIMIT:%=-limit%))

docs-tables: $(DEV)  ## fill in the measured tables of docs/ from results/runs, after make ablations and car eval mini-voc --method all
	$(VENV)/bin/python -m tools.docs_tables docs/baselines.md docs/fidelity.md

# $(call named,VARIABLE) fails where a folder was not named and its usual place is not there either.
named = @test '$(origin $1)' != file -o -d '$($1)' || \
	  { echo "error: $1: expected the data set's folder (make $@ $1=...), found none named and no $($1) here" >&2; exit 2; }

eval-voc: $(STAMP)  ## Pascal VOC: make eval-voc VOC_ROOT=... [WEIGHTS=...] [DEVICE=...] [LIMIT=...] [ARGS=...]
	$(call named,VOC_ROOT)
	$(VENV)/bin/car eval voc21 --data-root '$(VOC_ROOT)' --weights '$(WEIGHTS)' --device '$(DEVICE)' $(LIMITED) $(ARGS)

eval-coco-object: $(STAMP)  ## COCO-Object: make eval-coco-object COCO_ROOT=... [WEIGHTS=...] [DEVICE=...] [LIMIT=...] [ARGS=...]
	$(call named,COCO_ROOT)
	$(VENV)/bin/car eval coco-object --data-root '$(COCO_ROOT)' --weights '$(WEIGHTS)' --device '$(DEVICE)' $(LIMITED) $(ARGS)

eval-context: $(STAMP)  ## Pascal Context, with and without background: make eval-context VOC_ROOT=... [WEIGHTS=...] [DEVICE=...] [LIMIT=...] [ARGS=...]
	$(call named,VOC_ROOT)
	$(VENV)/bin/car eval context60 --data-root '$(VOC_ROOT)' --weights '$(WEIGHTS)' --device '$(DEVICE)' $(LIMITED) $(ARGS)
	$(VENV)/bin/car eval context59 --data-root '$(VOC_ROOT)' --weights '$(WEIGHTS)' --device '$(DEVICE)' $(LIMITED) $(ARGS)

# run_each BENCHMARK... runs the benchmarks on the folder $$root; a failure is kept in status, the next still runs.
# run_found FILE BENCHMARK... does so if FILE is in that folder.
RUN_FOUND = status=; run_each() { \
	  for name; do \
	    $(VENV)/bin/car eval "$$name" --data-root "$$root" --weights '$(WEIGHTS)' --device '$(DEVICE)' $(LIMITED) $(ARGS); \
	    code=$$?; test $$code = 130 && exit 130; test $$code = 0 || status=$$code; : $${status:=0}; \
	  done; \
	}; run_found() { test -e "$$root/$$1" || return 0; shift; run_each "$$@"; }
FIND_REFER = root=$$(test -d "$(REFER_ROOT)/refer" && echo "$(REFER_ROOT)/refer" || echo "$(REFER_ROOT)")

# ADE_ROOT holds the data sets' folders, or is one of them.
eval-ade: $(STAMP)  ## ADE20K with 150 and 847 classes, what is found: make eval-ade ADE_ROOT=... [as above]
	@$(RUN_FOUND); root='$(ADE_ROOT)'; \
	for below in . ade; do \
	  run_found "$$below/ADEChallengeData2016/images" ade150; \
	  run_found "$$below/ADE20K_2021_17_01/images_detectron2" ade847; \
	done; \
	run_found images/validation ade150; run_found images_detectron2 ade847; \
	test -n "$$status" || { echo "error: ADE_ROOT: expected ADEChallengeData2016/images or ADE20K_2021_17_01/images_detectron2 in $$root, found neither" >&2; exit 2; }; \
	exit $$status

eval-pc459: $(STAMP)  ## Pascal Context with 459 classes: make eval-pc459 PC459_ROOT=... [as above]
	$(call named,PC459_ROOT)
	$(VENV)/bin/car eval pc459 --data-root '$(PC459_ROOT)' --weights '$(WEIGHTS)' --device '$(DEVICE)' $(LIMITED) $(ARGS)

# Each line: the annotation file whose presence means that the splits after it can be run.
eval-refcoco: $(STAMP)  ## RefCOCO, RefCOCO+ and RefCOCOg, all splits found: make eval-refcoco REFER_ROOT=... [as above]
	@$(RUN_FOUND); $(FIND_REFER); \
	run_found 'refcoco/refs(unc).p' refcoco-val refcoco-testA refcoco-testB; \
	run_found 'refcoco+/refs(unc).p' refcoco+-val refcoco+-testA refcoco+-testB; \
	run_found 'refcocog/refs(umd).p' refcocog-val-umd refcocog-test-umd; \
	run_found 'refcocog/refs(google).p' refcocog-val-google; \
	test -n "$$status" || { echo "error: REFER_ROOT: expected refcoco/refs(unc).p or the like in $$root, found none" >&2; exit 2; }; \
	exit $$status

# One file holds all splits, and the first one published had val alone.
eval-grefcoco: $(STAMP)  ## gRefCOCO, all splits found: make eval-grefcoco REFER_ROOT=... [as above]
	@$(RUN_FOUND); $(FIND_REFER); \
	for split in val testA testB; do \
	  cat "$$root/grefcoco/grefs(unc)".* 2>/dev/null | grep -aq "$$split" && run_each "grefcoco-$$split"; \
	done; \
	test -n "$$status" || { echo "error: REFER_ROOT: expected grefcoco/grefs(unc).json in $$root, found none" >&2; exit 2; }; \
	exit $$status

eval-ref-davis: $(STAMP)  ## Ref-DAVIS 2017, frame by frame and carried through time: make eval-ref-davis DAVIS_ROOT=... [as above]
	$(call named,DAVIS_ROOT)
	$(VENV)/bin/car eval ref-davis17 --data-root '$(DAVIS_ROOT)' --weights '$(WEIGHTS)' --device '$(DEVICE)' $(LIMITED) $(ARGS)
	$(VENV)/bin/car eval ref-davis17-temporal --data-root '$(DAVIS_ROOT)' --weights '$(WEIGHTS)' --device '$(DEVICE)' $(LIMITED) $(ARGS)

# A data set that is not there fails its own target alone; the tables, the paper's with ours in them, are of every run so far.
eval-all: $(STAMP)  ## all of the above, then one table of all runs: make eval-all VOC_ROOT=... COCO_ROOT=... [as above]
	@status=0; \
	for target in eval-voc eval-coco-object eval-context eval-ade eval-pc459 eval-refcoco eval-grefcoco eval-ref-davis; do \
	  $(MAKE) --no-print-directory "$$target" || status=1; \
	done; \
	set -- results/runs/*/run.json; test ! -e "$$1" || $(VENV)/bin/car table $$(dirname "$$@"); \
	exit $$status

data: $(STAMP)  ## download, unpack and check a data set: make data NAME=voc [DATA_ROOT=...]
	$(VENV)/bin/car data prepare '$(NAME)' --data-root '$(DATA_ROOT)'
	$(VENV)/bin/car data check '$(NAME)' --data-root '$(DATA_ROOT)'

bench: $(STAMP)  ## how fast the method runs here: make bench [ARGS="--sizes full --device cuda"]
	$(VENV)/bin/car bench $(ARGS)

clean:  ## remove the environment and caches
	rm -rf $(VENV) .light .pytest_cache .mypy_cache .ruff_cache
