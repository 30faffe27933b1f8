#!/bin/sh
# dlopen.sh <libmimalloc.so> [cc]: the library, or a plugin linked to it, is loaded while the
# program runs; also when other libraries have used up the static TLS. And unloaded beside its helper
# thread. And the C++ library comes while the program runs.
. "$(dirname -- "$0")/common.inc"
override_library "$1"
use_compiler "${2:-}"

check "the loader builds" $cc -O1 "$here/late.c" -o "$work/late" -pthread -ldl
check "the library loads late" "$work/late" "$library"

# 256 bytes each until nothing more fits, so that less than that is left for the library
check "a filler builds" $cc -shared -fPIC -DFILLER_BYTES=256 "$here/filler.c" -o "$work/filler.so"
number=0
fillers=
while [ "$number" -lt 64 ]; do
    number=$((number + 1))
    cp "$work/filler.so" "$work/filler$number.so"
    fillers="$fillers $work/filler$number.so"
done
check "the library loads when the static TLS is nearly used up" "$work/late" "$library" $fillers
check "the library's static TLS is at most 8 bytes" \
    sh -c "size=\$(readelf -lW '$library' | awk '\$1 == \"TLS\" { print \$6 }')
           test \$((\${size:-0})) -le 8"

check "a plugin linked to the library builds" $cc -O1 -fno-builtin -shared -fPIC -I "$include" \
    "$here/plugin.c" -o "$work/plugin.so" "$library" -Wl,-rpath,"$(dirname "$library")" -pthread
check "its host builds" $cc -O1 -fno-builtin "$here/host.c" -o "$work/host" -pthread -ldl
check "the plugin has its own allocator beside the host's" "$work/host" "$work/plugin.so" apart
check "the plugin shares a preloaded library" \
    env LD_PRELOAD="$library" "$work/host" "$work/plugin.so" same --preloaded
plain_object
check "a plugin with the library inside builds" $cc -O1 -fno-builtin -shared -fPIC -I "$include" \
    "$here/plugin.c" "$plain" -o "$work/inside.so" -pthread
check "a host that unloads it builds" $cc -O1 -fno-builtin "$here/unload.c" -o "$work/unload" \
    -pthread -ldl
check "a plugin with the library inside takes its helper thread along" \
    "$work/unload" "$work/inside.so"

check "a plugin in C++ builds" $cxx -std=c++17 -O1 -shared -fPIC "$here/late_cxx.cpp" \
    -o "$work/late_cxx.so"
check "a host in C for it builds" $cc -O1 -fno-builtin -D_GNU_SOURCE "$here/late_cxx_host.c" \
    -o "$work/late_cxx_host" -ldl
check "a plugin in C++ catches bad_alloc, and its new-handler is called" \
    env LD_PRELOAD="$library" "$work/late_cxx_host" "$work/late_cxx.so"
finish
