#!/bin/bash
# Builds every option once, warnings being errors, and checks what leaves each library.
#
# usage: options.sh SOURCE_DIR
set -euo pipefail

source=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() { echo "options.sh: $*"; exit 1; }

# build DIRECTORY CC [OPTION...]: the shared library, in a directory of that name.
build() {
    local directory=$work/$1 compiler=$2
    shift 2
    echo "- $compiler $*"
    mkdir -p "$directory"
    cmake -S "$source" -B "$directory" -DCMAKE_C_COMPILER="$compiler" -DMI_WERROR=ON \
        -DMI_BUILD_TESTS=OFF "$@" >"$work/log" 2>&1 || fail "$(cat "$work/log")"
    cmake --build "$directory" --target mimalloc >"$work/log" 2>&1 || fail "$(cat "$work/log")"
}

# check DIRECTORY LIBRARY [OPTION...]: of check_exports.py; the build is removed then.
check() {
    local directory=$work/$1 library=$2
    shift 2
    python3 "$source/tools/check_exports.py" "$@" --header "$source/include/mimalloc.h" \
        "$directory/$library" || fail "exports of $directory/$library"
    rm -rf "$directory"
}

# use DIRECTORY IS_OVERRIDE IS_INTERPOSED CC [LIBRARY]: builds the rest, too, and runs install.sh.
use() {
    local directory=$work/$1
    shift
    cmake --build "$directory" >"$work/log" 2>&1 || fail "$(cat "$work/log")"
    bash "$source/test/package/install.sh" "$directory" mimalloc "$@" >"$work/log" 2>&1 ||
        fail "$(cat "$work/log")"
}

# preload DIRECTORY CC: what preload.sh does.
preload() {
    sh "$source/test/override/preload.sh" "$work/$1/libmimalloc.so" "$2" >"$work/log" 2>&1 ||
        fail "$(cat "$work/log")"
}

for compiler in gcc clang; do
    command -v $compiler >/dev/null || { echo "- no $compiler here"; continue; }
    cxx=${compiler/gcc/g++}
    cxx=${cxx/clang/clang++}

    build plain $compiler
    preload plain $compiler
    check plain libmimalloc.so
    build a-secure $compiler && check a-secure libmimalloc-secure.so
    build a-debug $compiler && check a-debug libmimalloc-debug.so
    build full $compiler -DMI_DEBUG_FULL=ON && check full libmimalloc-debug.so
    build both $compiler -DMI_DEBUG_FULL=ON -DMI_SECURE=ON && check both libmimalloc-secure-debug.so
    build cxx $compiler -DCMAKE_CXX_COMPILER=$cxx -DMI_USE_CXX=ON
    use cxx 1 1 $compiler stdc++
    check cxx libmimalloc.so

    build late $compiler -DMI_LOCAL_DYNAMIC_TLS=ON
    if readelf -dW "$work/late/libmimalloc.so" | grep -q STATIC_TLS; then
        fail "MI_LOCAL_DYNAMIC_TLS: the library still asks for static TLS"
    fi
    check late libmimalloc.so
done

build quiet cc -DMI_OVERRIDE=OFF
use quiet 0 0 cc
check quiet libmimalloc.so --no-override
build kept cc -DMI_INTERPOSE=OFF
use kept 1 0 cc
check kept libmimalloc.so --no-override

# flags of distributions, which would bind names inside the library
build bound cc -DCMAKE_SHARED_LINKER_FLAGS=-Wl,-Bsymbolic-functions \
    -DCMAKE_INTERPROCEDURAL_OPTIMIZATION=ON
preload bound cc
check bound libmimalloc.so

build asm cc -DMI_SEE_ASM=ON
find "$work/asm" -name '*.s' | grep -q . || fail "MI_SEE_ASM: no .s file is kept"
check asm libmimalloc.so

# Under one prefix find_package has the build that was installed last, only if the files that it
# includes first differ: then an installation removes those of earlier ones.
echo "- one prefix for all builds"
for kind in release debug secure; do
    cmake -S "$source" -B "$work/kind-$kind" -DMI_BUILD_TESTS=OFF >"$work/log" 2>&1 ||
        fail "$(cat "$work/log")"
done
count=$(find "$work"/kind-*/CMakeFiles/Export -name mimalloc-targets.cmake -exec md5sum {} + |
    cut -d' ' -f1 | sort -u | wc -l)
[ "$count" = 3 ] || fail "release, debug and secure builds export $count different files of targets"

# A wrong value is refused, not ignored; so is a generator for several builds at a time.
if cmake -S "$source" -B "$work/wrong" -DMI_SANITIZE=adress >/dev/null 2>&1; then
    fail "MI_SANITIZE=adress was accepted"
fi
if cmake -S "$source" -B "$work/several" -DCMAKE_CONFIGURATION_TYPES="Debug;Release" \
    >/dev/null 2>&1; then
    fail "CMAKE_CONFIGURATION_TYPES was accepted"
fi

# A part of another project has that project's build type, also none, and not what its folder's name
# says.
echo "- add_subdirectory"
parent=$work/parent-secure-debug
cmake -S "$source/test/package/parent" -B "$parent" -DMIMALLOC_SOURCE="$source" >"$work/log" 2>&1 ||
    fail "$(cat "$work/log")"
grep -qx 'CMAKE_BUILD_TYPE:STRING=' "$parent/CMakeCache.txt" ||
    fail "add_subdirectory: $(grep CMAKE_BUILD_TYPE: "$parent/CMakeCache.txt")"
cmake --build "$parent" --target mimalloc >"$work/log" 2>&1 || fail "$(cat "$work/log")"
[ -e "$parent/mimalloc/libmimalloc.so" ] || fail "add_subdirectory: there is no libmimalloc.so"
