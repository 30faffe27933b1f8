#!/bin/sh
# source_override.sh <libmimalloc.so or an object> [cc]: the two headers for use without
# interposing, in every language standard, linked with a library that replaces nothing.
. "$(dirname -- "$0")/common.inc"
use_compiler "${2:-}"
if [ -d "$1" ]; then plain_object; else plain_object "$1"; fi
strict="-Wall -Wextra -Wpedantic -Wshadow -Wundef -Werror -D_GNU_SOURCE -fno-builtin"
link="$plain -Wl,-rpath,$(dirname "$plain") -pthread -ldl"

for standard in c99 c11 c17; do
    check "mimalloc-override.h, $standard, builds" $cc -std=$standard $strict -I "$include" \
        "$here/source_override.c" -o "$work/program" $link
    check "mimalloc-override.h, $standard, blocks are ours" "$work/program"
done
for standard in c++98 c++11 c++14 c++17 c++20; do
    check "mimalloc-override.h, $standard, builds" $cxx -std=$standard $strict -I "$include" \
        -x c++ "$here/source_override.c" -x none -o "$work/program" $link
    check "mimalloc-override.h, $standard, blocks are ours" "$work/program"
    for extra in "" -fno-exceptions; do
        check "mimalloc-new-delete.h, $standard $extra, builds" $cxx -std=$standard $extra $strict \
            -I "$include" "$here/new_delete.cpp" -o "$work/program" $link
        check "mimalloc-new-delete.h, $standard $extra, blocks are ours" "$work/program"
    done
done
finish
