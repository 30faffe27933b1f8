# The short way to build, run and test; CMakeLists.txt is the real build.
#
#   make run        the release library, at work: a factoring program, then python3
#   make test       release, debug and secure builds, all tests
#   make test-all   the same, with every real program and the sanitizers
#   make bench      the benchmark suite, all of it: hours; bench-quick: minutes
#   make sanitize   unit, API and stress tests under three sanitizers
#   make ci         test and sanitize with one summary; warnings are errors
#   make abi-record abi-check   the recorded interface
#   make install    the release library, to PREFIX (/usr/local)

MAKEFLAGS   += --no-print-directory
SHELL       := /bin/bash
.SHELLFLAGS := -o pipefail -ec

OUT    := out
JOBS   := $(shell nproc 2>/dev/null || echo 2)
PREFIX ?= /usr/local
NUMBER := 175451865205073170563711388363

# What each build directory is configured with; its name alone makes it a debug or a secure build.
OPTIONS_release :=
OPTIONS_debug   :=
OPTIONS_secure  :=
# with all checkers, and blocks shared from that size on that a release build shares them from
OPTIONS_asan    := -DMI_SANITIZE=address -DMI_DEBUG_FULL=ON -DCMAKE_C_FLAGS=-DMI_OWNED_BYTES=256
OPTIONS_ubsan   := -DMI_SANITIZE=undefined -DMI_DEBUG_FULL=ON -DMI_SECURE=ON
OPTIONS_tsan    := -DMI_SANITIZE=thread -DCMAKE_BUILD_TYPE=RelWithDebInfo
# clang's thread sanitizer knows fences, gcc's does not. And so clang's builds are run, too.
COMPILER_ubsan  := clang
COMPILER_tsan   := clang

BUILDS    := release debug secure
SANITIZED := asan ubsan tsan

.PHONY: all run test test-all sanitize ci install abi-record abi-check clean setup-run setup-test
.PHONY: bench bench-quick
all: build-release

setup-run:
	@tools/setup.sh run
setup-test:
	@tools/setup.sh test

# --- builds ---------------------------------------------------------------------------------------

# build_in(directory under OUT, options, of cmake --build)
define build_in
	@cmake -S . -B $(OUT)/$(1) $(2) | grep '^-- mimalloc'
	@cmake --build $(OUT)/$(1) $(3) -j $(JOBS) | { grep -Ev '^\[ *[0-9]+%\]' || true; }
endef

.PHONY: $(addprefix build-,$(BUILDS) $(SANITIZED))
$(addprefix build-,$(BUILDS) $(SANITIZED)): build-%: | setup-run
	$(call build_in,$*,-DMI_BUILD_TESTS=ON $(OPTIONS_$*) $(if $(COMPILER_$*),-DCMAKE_C_COMPILER=$(COMPILER_$*)) \
	    -DMI_WERROR=$(if $(WERROR),ON,OFF))

# --- run ------------------------------------------------------------------------------------------

LIBRARY := $(CURDIR)/$(OUT)/release/libmimalloc.so

run: setup-run
	$(call build_in,release,$(OPTIONS_release),--target mimalloc)
	@$(CC) -std=c11 -O2 -o $(OUT)/cfrac bench/workloads/cfrac.c
	@echo; echo "== cfrac $(NUMBER), every number a block of ours"
	MIMALLOC_SHOW_STATS=1 LD_PRELOAD=$(LIBRARY) $(OUT)/cfrac $(NUMBER)
	@echo; echo "== python3, preloaded"
	MIMALLOC_SHOW_STATS=1 PYTHONMALLOC=malloc LD_PRELOAD=$(LIBRARY) /usr/bin/python3 bench/demo.py

# --- tests ----------------------------------------------------------------------------------------

# One ctest run, so one summary, over several build directories.
define ctest_over
	@mkdir -p $(OUT)/$(1)
	@printf 'subdirs(%s)\n' $(foreach build,$(2),'"$(CURDIR)/$(OUT)/$(build)"') \
	    > $(OUT)/$(1)/CTestTestfile.cmake
	cd $(OUT)/$(1) && ctest --output-on-failure -j $(JOBS) $(CTEST_FLAGS)
endef

test: setup-test
	@$(MAKE) $(addprefix build-,$(BUILDS))
	$(call ctest_over,test,$(BUILDS))

sanitize: setup-test
	@$(MAKE) $(addprefix build-,$(SANITIZED))
	$(call ctest_over,sanitize,$(SANITIZED))

ci: setup-test
	@$(MAKE) WERROR=1 $(addprefix build-,$(BUILDS) $(SANITIZED))
	$(call ctest_over,ci,$(BUILDS) $(SANITIZED))

test-all: test
	/usr/bin/python3 test/override/programs/run.py --all $(LIBRARY)
	@$(MAKE) sanitize

# --- benchmarks -----------------------------------------------------------------------------------

# More flags by BENCH_FLAGS, see bench/run --help.
bench: setup-run
	bench/run --full $(BENCH_FLAGS)

bench-quick: setup-run
	bench/run --quick $(BENCH_FLAGS)

# --- the rest -------------------------------------------------------------------------------------

install: setup-run
	$(call build_in,install,-DMI_BUILD_TESTS=OFF $(OPTIONS_release))
	cmake --install $(OUT)/install --prefix $(PREFIX)

abi-record:
	tools/check_abi.sh record
abi-check:
	tools/check_abi.sh check

clean:
	rm -rf $(OUT)
