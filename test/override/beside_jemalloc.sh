#!/bin/sh
# beside_jemalloc.sh <object without overriding> [cc [libjemalloc.so]]: a plugin uses mi_malloc
# while another allocator is preloaded.
. "$(dirname -- "$0")/common.inc"
use_compiler "${2:-}"
if [ -d "$1" ]; then plain_object; else plain_object "$1"; fi
other=${3:-}
for path in /usr/lib/*/libjemalloc.so.2 /usr/lib64/libjemalloc.so.2; do
    [ -z "$other" ] && [ -e "$path" ] && other=$path
done
[ -n "$other" ] || skip "there is no libjemalloc.so.2 on this machine"

check "the library without overriding links" $cc -shared "$plain" -o "$work/libplain.so" \
    -Wl,-z,nodelete -pthread
names='malloc|free|realloc|_Znwm|__libc_malloc'
check "it exports no standard name" \
    sh -c "! nm -D --defined-only '$work/libplain.so' | grep -E ' ($names)$'"
check "the plugin builds" $cc -O1 -fno-builtin -shared -fPIC -I "$include" "$here/plugin.c" \
    -o "$work/plugin.so" -L "$work" -lplain -Wl,-rpath,"$work" -pthread
check "the host builds" $cc -O1 -fno-builtin "$here/host.c" -o "$work/host" -pthread -ldl
check "mi_malloc works beside a preloaded jemalloc" \
    env LD_PRELOAD="$other" "$work/host" "$work/plugin.so" apart
check "the same with the library preloaded too" \
    env LD_PRELOAD="$other:$work/libplain.so" "$work/host" "$work/plugin.so" apart
finish
