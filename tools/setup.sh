#!/bin/bash
# Installs what a make target needs and this machine lacks, from the system's own packages.
#
# usage: setup.sh run|test|bench|all
#
# Does nothing when all is there. Servers among the packages are not started. Uses sudo when not
# root. Where there is no apt-get, it only says which commands are missing.
set -euo pipefail

purpose=${1:-test}
case $purpose in
    run | test | bench | all) ;;
    *) echo "setup: purpose $purpose is not one of run, test, bench, all" >&2; exit 2 ;;
esac
packages=(cmake gcc g++ make libc6-dev python3)
commands=(cmake cc c++ make python3)
if [ "$purpose" = test ] || [ "$purpose" = all ]; then
    packages+=(clang libclang-rt-14-dev valgrind pkg-config binutils abigail-tools
        libjemalloc2 libtcmalloc-minimal4 libmimalloc2.0 libtbbmalloc2 python3-matplotlib
        redis-server redis-tools perl git sqlite3)
    commands+=(clang valgrind pkg-config readelf perl git sqlite3)
fi
if [ "$purpose" = bench ] || [ "$purpose" = all ]; then
    packages+=(libjemalloc2 libtcmalloc-minimal4 libmimalloc2.0 libtbbmalloc2 python3-matplotlib
        valgrind redis-server redis-tools ghostscript z3 lua5.4 rocksdb-tools sqlite3 ruby)
    commands+=(valgrind redis-server gs z3 lua5.4 db_bench sqlite3 ruby)
fi

if ! command -v apt-get >/dev/null; then
    for name in "${commands[@]}"; do
        command -v "$name" >/dev/null || echo "setup: please install $name"
    done
    exit 0
fi

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

# One package that this release lacks must not stop the others, nor be looked for each time.
is_there() { apt-cache show "$1" >/dev/null 2>&1; }
find_known() {
    known=()
    for package in "${missing[@]}"; do
        if is_there "$package"; then
            known+=("$package")
        else
            echo "setup: this release has no package $package"
        fi
    done
}
if is_there make; then # else nobody has asked yet what there is
    find_known
    [ ${#known[@]} -gt 0 ] || exit 0
fi

sudo=
[ "$(id -u)" = 0 ] || sudo="sudo"
echo "setup: installing ${missing[*]}"
$sudo env DEBIAN_FRONTEND=noninteractive apt-get update -qq
find_known
$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get install -y -qq --no-install-recommends "${known[@]}" >/dev/null
