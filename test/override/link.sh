#!/bin/sh
# link.sh <libmimalloc.so> [cc]: `cc prog.c -lmimalloc` is enough.
. "$(dirname -- "$0")/common.inc"
override_library "$1"
use_compiler "${2:-}"
mkdir "$work/lib"
ln -s "$library" "$work/lib/libmimalloc.so"
run="env LD_LIBRARY_PATH=$work/lib:$(dirname "$library")"

for extra in "" -Wl,--as-needed; do
    check "C links with -lmimalloc $extra" $cc -O1 -fno-builtin "$here/names.c" -o "$work/names" \
        $extra -L "$work/lib" -lmimalloc -pthread
    check "C, every name is ours $extra" $run "$work/names"
    check "C++ links with -lmimalloc $extra" $cxx -std=c++17 -fsized-deallocation -O1 -fno-builtin \
        "$here/operators.cpp" -o "$work/operators" $extra -L "$work/lib" -lmimalloc -pthread
    check "C++, every operator is ours $extra" $run "$work/operators"
done
finish
