#!/bin/bash
# Builds the library twice, in trees of different names, and compares the bytes of every output.
#
# usage: reproducible.sh SOURCE_DIR CC
set -euo pipefail

source=$1
export CC=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for tree in one/tree another/place/for-it; do
    mkdir -p "$work/$tree"
    cp -r "$source"/{CMakeLists.txt,cmake,include,src} "$work/$tree"
    for kind in release debug; do # the debug library has paths in its debug information and checks
        cmake -S "$work/$tree" -B "$work/$tree/../build-$kind" -DMI_BUILD_TESTS=OFF >/dev/null
        cmake --build "$work/$tree/../build-$kind" >/dev/null
    done
done

failed=0
for kind in release debug; do
    suffix=${kind#release}
    suffix=${suffix:+-$suffix}
    for file in "libmimalloc$suffix.so" "libmimalloc$suffix.a" "mimalloc-override$suffix.o"; do
        if cmp "$work/one/build-$kind/$file" "$work/another/place/build-$kind/$file"; then
            echo "same bytes: $file"
        else
            failed=1
        fi
    done
done
if strings -a "$work/one/build-debug/libmimalloc-debug.so" | grep -F "$work"; then
    echo "reproducible.sh: the path of the build is in the library"
    failed=1
fi
exit $failed
