#!/bin/sh
# preload.sh <libmimalloc.so> [cc]: programs that know nothing of the library, with LD_PRELOAD.
. "$(dirname -- "$0")/common.inc"
override_library "$1"
use_compiler "${2:-}"

# has_one WHAT PRELOADED COMMAND...: the program's statistics end with one of these.
has_one()
{
    what=$1 preloaded=$2
    shift 2
    MIMALLOC_SHOW_STATS_JSON=1 LD_PRELOAD=$preloaded "$@" 2>&1 >/dev/null |
        grep -q "\"$what\": {[^}]*\"current\": 1}"
}

check "a C program builds" $cc -O1 -fno-builtin "$here/names.c" -o "$work/names" -pthread -ldl
check "a C++ program builds" $cxx -std=c++17 -fsized-deallocation -O1 -fno-builtin \
    "$here/operators.cpp" -o "$work/operators" -pthread -ldl
check "without the library the C program sees other blocks" refuse "$work/names"
check "without the library the C++ program sees other blocks" refuse "$work/operators"
check "every name of a preloaded C program is ours" env LD_PRELOAD="$library" "$work/names"
check "every operator of a preloaded C++ program is ours" \
    env LD_PRELOAD="$library" "$work/operators"
check "the same when symbols are bound at the start" \
    env LD_BIND_NOW=1 LD_PRELOAD="$library" "$work/operators"
check "a library with a constructor builds" $cc -O1 -fno-builtin -shared -fPIC "$here/early.c" \
    -o "$work/libearly.so"
check "a program linked to it builds" $cc -O1 -fno-builtin "$here/names.c" -o "$work/early" \
    -Wl,--no-as-needed "$work/libearly.so" -pthread -ldl
check "memory is there for a constructor that runs before ours and the reservation" \
    env MIMALLOC_RESERVE_OS_MEMORY=256MiB MIMALLOC_DISALLOW_OS_ALLOC=1 LD_PRELOAD="$library" \
    "$work/early"
check "a shell with pipes and children runs" \
    env LD_PRELOAD="$library" sh -c 'ls / | sort | tr a-z A-Z | wc -l'
check "statistics are printed for a program that closes stderr at its end" sh -c \
    "MIMALLOC_SHOW_STATS=1 LD_PRELOAD='$library' ls / 2>&1 >/dev/null | grep -q committed"

check "a program that leaves its streams open builds" $cc -O1 "$here/streams.c" -o "$work/streams"
said=$(MIMALLOC_DESTROY_ON_EXIT=1 LD_PRELOAD=$library "$work/streams" "$work/file" \
    2>"$work/errors")
check "destroy_on_exit does not break a program with open streams" test $? -eq 0
check "nor lose what is in their buffers" test "$said $(cat "$work/file")" = "kept never closed"
check "one line says why it has no effect" test \
    "$(grep -c 'destroy_on_exit has no effect' "$work/errors") $(wc -l <"$work/errors")" = "1 1"

check "a program with a malloc of its own builds" $cc -O1 -fno-builtin -D_GNU_SOURCE \
    "$here/own_malloc.c" -o "$work/own_malloc" -ldl
said=$(LD_PRELOAD=$library "$work/own_malloc" 2>&1)
check "what is allocated and freed beside its malloc, realloc and free reaches them" \
    test "$? $said" = "0 5 freed"

check "an mmap that allocates builds" $cc -O1 -fno-builtin -shared -fPIC -D_GNU_SOURCE \
    "$here/own_mmap.c" -o "$work/own_mmap.so" -ldl
check "a program with such an mmap starts" \
    timeout 20 env LD_PRELOAD="$work/own_mmap.so $library" "$work/names"
check "and its thread is counted once" \
    has_one threads "$work/own_mmap.so $library" "$work/streams"

check "threads that allocate nothing build" $cc -O1 "$here/idle_threads.c" \
    -o "$work/idle_threads" -pthread
check "what the C library frees when they end leaves no heap behind" \
    has_one threads "$library" "$work/idle_threads"

# Where the system gives low addresses first, the heap does not begin among what we reserve.
if setarch "$(uname -m)" -L true 2>/dev/null; then
    check "where low addresses come first there is one arena" \
        has_one segments "$library" setarch "$(uname -m)" -L "$work/streams"
fi
finish
