# Two commands do it all: `make run` and `make test`. Each sets up its own virtual environment once and reuses it.
# PYTHON picks the interpreter (3.11 to 3.13); DATA is where the public sets lie for train and evaluate.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
DATA ?= ../shared/data
ARGS ?=
RUFF = --line-length 140 --target-version py311
RULES = --select E,F,I,UP,B,N,SIM,RUF

.DEFAULT_GOAL := run
.PHONY: run test test-device test-long test-kernel test-csi test-audio test-arm64 test-boot test-power workstation bench train evaluate conversions peers help clean

ifeq ($(strip $(PYTHON)),)
$(error affectkit needs Python 3.11 to 3.13 with its venv module; on Raspberry Pi OS or Debian: sudo apt install python3-venv)
endif

# A virtual environment is ready when its stamp is newer than setup.cfg; a half-made one is made again.
.venv/%/.ready: setup.cfg pyproject.toml
	@echo "setting up .venv/$* with $(PYTHON) (once)"
	@rm -rf .venv/$* && $(PYTHON) -m venv .venv/$*
	@.venv/$*/bin/python -m pip install --quiet --disable-pip-version-check --no-input --editable '.$(EXTRAS_$*)'
	@touch $@

EXTRAS_device =
EXTRAS_convert = [convert]
EXTRAS_test = [convert,test]
EXTRAS_test-device = [test]
# PyAudio is built from source: apt install portaudio19-dev python3-dev gcc
EXTRAS_test-drivers = [sensors,microphone,test]

run: .venv/device/.ready                  ## the embedded bundle on the embedded recording
	@.venv/device/bin/affectkit run $(ARGS)

test: .venv/test/.ready                   ## style, types, all tests (with TensorFlow)
	@.venv/test/bin/ruff check $(RUFF) $(RULES) .
	@.venv/test/bin/ruff format --check $(RUFF) .
	@.venv/test/bin/mypy
	@.venv/test/bin/python -m pytest $(ARGS)

test-device: .venv/test-device/.ready     ## the tests that need no TensorFlow: for a Raspberry Pi
	@.venv/test-device/bin/python -m pytest -m 'not convert and not long' $(ARGS)

test-long: .venv/test/.ready              ## the tests that take minutes, and so are left out of `make test`
	@.venv/test/bin/python -m pytest -m long $(ARGS)

test-kernel: .venv/test-drivers/.ready    ## the drivers on a real kernel's device nodes, emulated (Debian, x86-64; fetches a kernel once)
	@.venv/test-drivers/bin/python tests/kernel/run.py $(ARGS)

test-csi: .venv/test-drivers/.ready       ## the CSI camera's driver on the real picamera2 and libcamera, emulated (Debian, root)
	@.venv/test-drivers/bin/python tests/kernel/trixie.py $(ARGS)

test-audio: .venv/test-drivers/.ready     ## the microphone on a real sound server (needs pulseaudio, libasound2-plugins)
	@.venv/test-drivers/bin/python -m pytest tests/edge/sensors/test_microphone_heard.py $(ARGS)

test-arm64: .venv/test-device/.ready      ## the device's tests and models on the real aarch64 wheels, emulated (Debian, x86-64, root; hours)
	@.venv/test-device/bin/python tests/arm64/run.py $(ARGS)

test-boot: .venv/test-device/.ready       ## a card boots, installs itself, decides and is updated, emulated (Debian, x86-64, root)
	@.venv/test-device/bin/python tests/boot/run.py $(ARGS)

test-power: .venv/test/.ready             ## the power cut a hundred times in an update and an installation, emulated (Debian, x86-64, root)
	@.venv/test/bin/python tests/power/run.py -o benchmarks/results/power-cuts.md $(ARGS)

bench: .venv/device/.ready                ## latency, memory, overload and hours of this board, into work/bench
	@.venv/device/bin/affectkit bench -o work/bench $(ARGS)

workstation: .venv/convert/.ready         ## affectkit with training and conversion, in .venv/convert/bin
	@.venv/convert/bin/affectkit --help

train: .venv/convert/.ready               ## the embedded bundle again, from DATA (hours on a CPU; resumable)
	@.venv/convert/bin/affectkit train classroom --data $(DATA) -o work/classroom.affectkit $(ARGS)

evaluate: .venv/convert/.ready            ## the embedded bundle on people it has not learnt from, in DATA
	@.venv/convert/bin/affectkit evaluate edge/data/classroom.affectkit --data $(DATA) $(ARGS)

conversions: .venv/convert/.ready         ## what conversion makes of every network, as a table in benchmarks/results
	@.venv/convert/bin/python -m benchmarks.conversions --data $(DATA) -o benchmarks/results $(ARGS)

peers: .venv/convert/.ready               ## the same networks through other converters, in one run (installs them in a cache)
	@.venv/convert/bin/python -m benchmarks.peers --data $(DATA) -o benchmarks/results --install $(ARGS)

help:
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

clean:                                    ## remove what make has made
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
