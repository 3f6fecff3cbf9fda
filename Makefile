# make demo [ARCHIVE=orthanc]   three radiographs through the gateway into an archive, and what came back
# make test                     the whole test suite, with DCMTK, dicom3tools, pixelmed, Orthanc, OHIF and PostgreSQL
# make lint                     style, types, import contracts
# make bench                    how long one study takes, and where the time goes
# make bench-worklist           how many worklist queries a second, beside wlmscpfs and Orthanc's plugin
# make venv                     only the virtual environment
# make ohif                     only the OHIF viewer, into the virtual environment

SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
# The tests of training run on every backend of Keras that is here: TensorFlow, JAX; add torch (3 GB) for PyTorch.
EXTRAS ?= cpu,postgres,hl7,parquet,ray,train,jax,test,lint,bench
ARCHIVE ?= embedded
# Processes that share the tests: much of their time is waiting. Acceptance tests are the longest: they begin.
WORKERS ?= 2

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

DCMTK := storescu=dcmtk
ORTHANC := Orthanc=orthanc
DICOM3TOOLS := dciodvfy=dicom3tools
PIXELMED := java=default-jre-headless /usr/share/java/pixelmed.jar=libpixelmed-java
DICOM_WEB := /usr/share/orthanc/plugins/libOrthancDicomWeb.so=orthanc-dicomweb
CHROMIUM := chromium=chromium
POSTGRESQL := pg_ctlcluster=postgresql

# Its package holds the viewer as it is served: nothing is built, and none of its dependencies is installed.
OHIF := 3.13.2
OHIF_STAMP := $(VENV)/share/ohif/.$(OHIF)

.PHONY: demo test lint bench bench-worklist venv ohif
.DELETE_ON_ERROR:

demo: $(STAMP)
ifeq ($(ARCHIVE),orthanc)
	.ci/need $(ORTHANC)
endif
	$(BIN)/python -m demo.run --archive $(ARCHIVE)

test: $(STAMP) $(OHIF_STAMP)
	.ci/need $(DCMTK) $(ORTHANC) $(DICOM_WEB) $(DICOM3TOOLS) $(PIXELMED) $(CHROMIUM) $(POSTGRESQL)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	.ci/need $(DCMTK) $(ORTHANC)
	$(BIN)/python -m benchmarks.journey

bench-worklist: $(STAMP)
	.ci/need $(DCMTK) $(ORTHANC)
	$(BIN)/python -m benchmarks.worklist

venv: $(STAMP)

ohif: $(OHIF_STAMP)

$(OHIF_STAMP): | $(BIN)/python
	.ci/need npm=npm
	rm -rf $(@D)
	mkdir -p $(@D)
	cd $(@D) && tar -xzf "$$(npm pack --silent @ohif/app@$(OHIF))" --strip-components=2 --exclude='*.map' package/dist
	rm $(@D)/ohif-app-$(OHIF).tgz
	touch $@

# Debian's Python has venv but not ensurepip until python3-venv is installed; no program of that package tells.
$(BIN)/python:
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || .ci/need =python3-venv
	$(PYTHON) -m venv $(VENV)

$(STAMP): setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[$(EXTRAS)]'
	touch $@
