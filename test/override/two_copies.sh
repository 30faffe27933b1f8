#!/bin/sh
# two_copies.sh <libmimalloc.so> [cc [object]]: one copy of the library is preloaded, another one is
# linked into a plugin. The object is the library without overriding.
. "$(dirname -- "$0")/common.inc"
override_library "$1"
use_compiler "${2:-}"
plain_object "${3:-}"
plugin="$cc -O1 -fno-builtin -shared -fPIC -I $include $here/plugin.c $plain -pthread"

echo '{ global: plugin_*; local: *; };' >"$work/hidden.map"
check "a plugin with a hidden copy builds" $plugin -Wl,--version-script="$work/hidden.map" \
    -o "$work/hidden.so"
check "a plugin with a visible copy builds" $plugin -o "$work/visible.so"
check "a plugin with a visible copy that binds to itself builds" $plugin -Wl,-Bsymbolic \
    -o "$work/symbolic.so"
check "the host builds" $cc -O1 -fno-builtin "$here/host.c" -o "$work/host" -pthread -ldl

for kind in hidden visible symbolic; do
    check "a $kind copy works alone" "$work/host" "$work/$kind.so" apart
done
preloaded="env LD_PRELOAD=$library $work/host"
check "a hidden copy and a preloaded one keep apart" $preloaded "$work/hidden.so" apart --preloaded
check "a copy that binds to itself keeps apart" $preloaded "$work/symbolic.so" apart --preloaded
check "a visible copy gives way to the preloaded one" $preloaded "$work/visible.so" same --preloaded
finish
