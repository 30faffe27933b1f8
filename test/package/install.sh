#!/bin/bash
# Installs a build into a fresh prefix and uses it as other projects do.
#
# usage: install.sh BUILD_DIR NAME IS_OVERRIDE(0|1) IS_INTERPOSED(0|1) CC [LIBRARY]
#
# NAME is that of the library: mimalloc, mimalloc-debug, mimalloc-secure; the object and the archive
# bring malloc, and the shared library does; LIBRARY is what the object needs. Proves: all files
# arrive; find_package works with both targets, for requests 1.0 to 1.2 and no others; so do
# pkg-config (also after the tree was moved), cc prog.c -lmimalloc, and mimalloc-override.o on the
# link line.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
build=$1 suffix=${2#mimalloc} is_override=$3 is_interposed=$4
runtime=${6:+-l$6}
export CC=$5

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/first/prefix
says() { [ "$1" = 0 ] && echo "malloc is the system's" || echo "malloc is overridden"; }
of_static=$(says "$is_override") of_shared=$(says "$is_interposed")

fail() { echo "install.sh: $*"; exit 1; }

# expect LINE COMMAND...: runs it and looks for that line.
expect() {
    local output expected=$1
    shift
    output=$("$@") || fail "$* failed: $output"
    case $output in
    *"version 120, $expected"*) ;;
    *) fail "$* printed: $output" ;;
    esac
}

cmake --install "$build" --prefix "$prefix" >/dev/null
libdir=$(dirname "$(find "$prefix" -name "libmimalloc$suffix.so")")

for file in include/mimalloc.h include/mimalloc-override.h include/mimalloc-new-delete.h; do
    [ -f "$prefix/$file" ] || fail "$file is not installed"
done
for file in "libmimalloc$suffix.so.1" "libmimalloc$suffix.so.1.2" "libmimalloc$suffix.a" \
    cmake/mimalloc/mimalloc-config.cmake cmake/mimalloc/mimalloc-config-version.cmake \
    "pkgconfig/mimalloc$suffix.pc"; do
    [ -f "$libdir/$file" ] || fail "$file is not installed"
done
if grep -rIl -e "$work" -e "$build" "$prefix" | grep -q .; then
    fail "a path of the build got into $(grep -rIl -e "$work" -e "$build" "$prefix")"
fi

echo "- find_package"
configure() { # TARGET REQUEST
    cmake -S "$here/app" -B "$work/app-$1-$2" -DCMAKE_PREFIX_PATH="$prefix" \
        -DMIMALLOC_TARGET="$1" -DMIMALLOC_REQUEST="$2" >"$work/log" 2>&1
}
for request in 1.0 1.2; do
    for target in mimalloc mimalloc-static; do
        configure $target $request || fail "request $request of $target: $(cat "$work/log")"
    done
done
for target in mimalloc mimalloc-static; do
    cmake --build "$work/app-$target-1.2" >"$work/log" 2>&1 || fail "$target: $(cat "$work/log")"
done
expect "$of_shared" "$work/app-mimalloc-1.2/app"
expect "$of_static" "$work/app-mimalloc-static-1.2/app"
for request in 1.3 2.0; do
    if configure mimalloc $request; then fail "a request of version $request was accepted"; fi
done

echo "- pkg-config"
if command -v pkg-config >/dev/null; then
    for tree in first second; do
        [ -d "$work/$tree" ] || mv "$work/first" "$work/$tree"
        prefix=$work/$tree/prefix
        libdir=$(dirname "$(find "$prefix" -name "libmimalloc$suffix.so")")
        export PKG_CONFIG_PATH=$libdir/pkgconfig
        [ "$(pkg-config --modversion "mimalloc$suffix")" = 1.2 ] || fail "pkg-config: wrong version"
        read -ra flags <<<"$(pkg-config --cflags --libs "mimalloc$suffix")"
        $CC -o "$work/by-pkg-config" "$here/app/app.c" "${flags[@]}"
        LD_LIBRARY_PATH=$libdir expect "$of_shared" "$work/by-pkg-config"
    done
else
    echo "  not installed"
fi

echo "- $CC -o prog prog.c -lmimalloc$suffix"
export C_INCLUDE_PATH=$prefix/include LIBRARY_PATH=$libdir # as if the prefix were /usr
$CC -o "$work/prog" "$here/app/app.c" "-lmimalloc$suffix"
LD_LIBRARY_PATH=$libdir expect "$of_shared" "$work/prog"

if [ "$is_override" = 1 ]; then
    echo "- mimalloc-override$suffix.o"
    $CC -o "$work/with-object" "$libdir/mimalloc-override$suffix.o" "$here/app/app.c" -pthread \
        $runtime
    expect "$of_static" "$work/with-object"
fi
