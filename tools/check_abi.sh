#!/bin/bash
# Compares the interface of the shared library with the recorded one, or records it.
#
# usage: check_abi.sh check|record [ABI_FILE]
#
# Adding a function keeps the ABI; anything else that abidiff sees is a failure. Exit 77: nothing
# recorded yet, or abidw (Debian: abigail-tools) is not installed.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
action=${1:-check}
abi=${2:-$root/abi/libmimalloc-1.2.abi}

if ! command -v abidw >/dev/null; then
    echo "check_abi: abidw is not installed (Debian package abigail-tools)"
    exit 77
fi
if [ "$action" = check ] && [ ! -f "$abi" ]; then
    echo "check_abi: $abi is not recorded yet; 'make abi-record' does it"
    exit 77
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Types are read from debug information, which the shipped library does not carry.
cmake -S "$root" -B "$work/build" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DMI_BUILD_TESTS=OFF >/dev/null
cmake --build "$work/build" --target mimalloc >/dev/null
library=$(readlink -f "$work/build/libmimalloc.so")

describe=(abidw --no-corpus-path --no-comp-dir-path --no-show-locs --drop-private-types
    --headers-dir "$root/include" --out-file)

case $action in
record)
    mkdir -p "$(dirname "$abi")"
    "${describe[@]}" "$abi" "$library"
    echo "check_abi: recorded $abi"
    ;;
check)
    "${describe[@]}" "$work/now.abi" "$library"
    if ! abidiff --no-added-syms "$abi" "$work/now.abi"; then
        echo "check_abi: the ABI differs from $abi"
        exit 1
    fi
    echo "check_abi: same as $abi"
    ;;
*)
    echo "usage: check_abi.sh check|record [ABI_FILE]" >&2
    exit 2
    ;;
esac
