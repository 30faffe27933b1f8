#!/bin/sh
# counts.sh <build directory> [--update]: instructions on the fast paths of the shared library,
# counted by callgrind.
#
#   budgets   what design promises: a bound for each path and build, and for free each compiler
#   golden    the exact counts, for the compiler named in the first line of gcc-<build>.golden. A
#             difference fails, so that no change makes a fast path longer unseen. --update writes
#             the file anew: look at the difference before you commit it.
#
# Only instructions in the library count, so that the C library and the machine make no difference;
# for "pair" those of the program count too: its calls, its jumps through the PLT, its arguments.
. "$(dirname -- "$0")/../override/common.inc"
override_library "$1"
use_compiler
build=release
case "$(basename "$library")" in
    *debug*)  skip "fast paths of debug builds are long on purpose" ;;
    *secure*) build=secure ;;
esac
[ "$(uname -m)" = x86_64 ] || skip "budgets are in instructions of x86-64"
command -v valgrind >/dev/null || skip "there is no valgrind"
if nm -D "$library" | grep -q __tls_get_addr; then
    is_configured "$library" MI_LOCAL_DYNAMIC_TLS:BOOL=ON &&
        skip "this build reaches its thread's heap by a call"
    check "the thread's heap is reached without a call" false
    finish
fi

golden=$here/gcc-$build.golden
calls=$(sed -n 's/^ *CALLS = \([0-9]*\),.*/\1/p' "$here/counts.c")
remote_calls=$(sed -n 's/^ *BLOCKS = \([0-9]*\),.*/\1/p' "$here/counts.c")

# The compiler that made the library, by the mark it left.
compiler_of()
{
    readelf -p .comment "$1" | sed -n 's/.*clang version \([0-9]*\).*/clang \1/p
        s/.*GCC: ([^)]*) \([0-9]*\).*/gcc \1/p' | sort | head -n 1
}

# One profile for each case: the functions that callgrind is to dump after.
dump_options()
{
    sed -n 's/^CASE \([a-z_]*\)(.*/--dump-after=\1/p' "$here/counts.c"
}

# "name instructions calls" of one profile: own costs, which are all lines of numbers but those
# behind calls=, which sum up what was called.
read_profile()
{
    awk -v library="$(basename "$(readlink -f "$library")")" -v calls="$calls" \
        -v remote_calls="$remote_calls" '
        /^desc: Trigger/ { name = $NF; sub(/.*=case_/, "", name) }
        /^ob=/           { object = $0; sub(/.*[\/=]/, "", object) }
        /^calls=/        { getline; next }
        /^[0-9+*-]/      { own[object] += $2 }
        END {
            total = own[library] + 0
            if (name == "pair") total += own["counts"]
            if (name == "loop") total = own["counts"]
            print name, total, name == "remote_free" ? remote_calls : calls
        }' "$1"
}

count_all()
{
    LD_LIBRARY_PATH=$(dirname "$library") valgrind --tool=callgrind -q --compress-strings=no \
        --compress-pos=no --callgrind-out-file="$work/profile" $(dump_options) "$work/counts" ||
        return 1
    for profile in $(grep -l 'Trigger: --dump-after=case_' "$work"/profile.*); do
        read_profile "$profile"
    done | sort >"$work/raw"
    # the loop itself is no part of a pair
    loop=$(sed -n 's/^loop \([0-9]*\) .*/\1/p' "$work/raw")
    awk -v loop="$loop" '
        $1 == "loop" { next }
        $1 == "pair" { $2 -= loop }
        { printf "%s %d %d\n", $1, $2, $3 }' "$work/raw" >"$work/counted"
    [ -n "$loop" ] && [ "$(wc -l <"$work/counted")" -eq 9 ]
}

# budget NAME BOUND: the mean number of instructions of one call.
budget()
{
    awk -v name="$1" -v bound="$2" '
        $1 == name { found = 1; mean = $2 / $3 }
        END {
            printf "%s: %.2f instructions, at most %s\n", name, mean, bound
            exit !(found && mean <= bound)
        }' "$work/counted"
}

same_as_golden()
{
    tail -n +2 "$golden" | diff - "$work/counted" >"$work/difference" && return 0
    echo "name, instructions, calls; '<' is what $golden says, '>' what was counted:"
    cat "$work/difference"
    echo "If this is meant: $0 <build directory> --update"
    return 1
}

check "the program to be counted builds" $cc -std=c11 -O2 -fno-builtin -D_GNU_SOURCE -I "$include" \
    "$here/counts.c" -o "$work/counts" "$library" -pthread
check "callgrind counts it" count_all
[ "$failures" -eq 0 ] || finish
awk '{ printf "     %-14s %7.2f\n", $1, $2 / $3 }' "$work/counted"

compiler=$(compiler_of "$library")
case $compiler in
    gcc*) free_budget=22 ;;
    *)    free_budget=24 ;; # clang 14
esac
if [ "$build" = release ]; then
    check "malloc is within its budget" budget malloc 15
    check "free is within its budget" budget free "$free_budget"
    check "a pair, seen by the caller, is within its budget" budget pair 48
else
    check "a pair, seen by the caller, is within its budget" budget pair 120
fi

if [ "${2:-}" = --update ]; then
    { echo "$compiler"; cat "$work/counted"; } >"$golden"
    echo "     wrote $golden"
elif [ "$(head -n 1 "$golden" 2>/dev/null)" = "$compiler" ]; then
    check "every count is that of the golden file" same_as_golden
else
    echo "     made by $compiler: no exact counts are recorded for it"
fi
finish
