#!/bin/sh
# static_link.sh <mimalloc-override.o> [cc]: the object, first on the command line of a dynamic, a
# static and a static-pie program. A symbol of libc.a's malloc.o that we lack shows as a duplicate
# definition.
. "$(dirname -- "$0")/common.inc"
override_object "$1"
use_compiler "${2:-}"
runtime= # a library compiled as C++ needs the C++ library in C programs too
nm "$object" | grep -q ' U __cxa_throw$' && runtime=-lstdc++

for mode in "" -static -static-pie; do
    name=${mode:-dynamic}
    check "C, $name, links" $cc -O1 -fno-builtin -DLINKED $mode -I "$include" "$object" \
        "$here/names.c" -o "$work/names" $runtime -pthread
    check "C, $name, every name is ours" "$work/names"
    check "C++, $name, links" $cxx -std=c++17 -fsized-deallocation -O1 -fno-builtin -DLINKED $mode \
        -I "$include" "$object" -x c++ "$here/operators.cpp" -o "$work/operators" -pthread
    check "C++, $name, every operator is ours" "$work/operators"
    check "a small C++ program, $name, links" $cxx -O1 $mode "$object" -x c++ \
        "$here/throw.cpp" -o "$work/throw" -pthread
    check "a small C++ program, $name, catches bad_alloc" "$work/throw"
    check "a program that does not name bad_alloc, $name, links" $cxx -O1 $mode "$object" -x c++ \
        "$here/throw_any.cpp" -o "$work/throw_any" -pthread
    check "a program that does not name bad_alloc, $name, is told" "$work/throw_any"
    [ -z "$mode" ] && continue
    check "C, $name, contains no other malloc" \
        sh -c "! nm '$work/names' | grep -E ' [tTwW] (_int_malloc|__malloc_stats)$'"
done
check "a dynamic program links with all symbols exported" $cc -rdynamic -DLINKED -I "$include" \
    "$object" "$here/names.c" -o "$work/exporting" $runtime -pthread
check "it does not export what is only for libc.a" \
    sh -c "! nm -D '$work/exporting' | grep -E ' [TWtw] __malloc_'"
finish
