#!/bin/bash
# Checks the checker: each deliberate mistake in a copy of the sources must be found by the model.
#
# Usage: mutants.sh SOURCE_ROOT BUILD_FOLDER     with CXX in the environment
set -u
root=$1
work=$2/model-mutants
here=$root/test/model
cxx=${CXX:-g++}
flags=(-std=c++17 -O0 -w -D_GNU_SOURCE -DMI_OWNED_BYTES=1024)
missed=0
count=0

rm -rf "$work"
mkdir -p "$work"
"$cxx" "${flags[@]}" -O2 -c "$here/model.cpp" -o "$work/model.o" || exit 1

# mutant PROGRAM FILE "what is wrong" SED_SCRIPT; PROGRAM is a test's name, or that and -states: with
# the states of blocks
mutant()
{
    local program=${1%-states} file=$2 text=$3 script=$4 states=
    [ "$program" = "$1" ] || states=-DMI_SECURE=1
    count=$((count + 1))
    rm -rf "$work/src"
    cp -r "$root/src" "$work/src"
    sed -E -i -e "$script" "$work/src/$file"
    if cmp -s "$root/src/$file" "$work/src/$file"; then
        echo "NOT APPLIED  $file: $text"
        missed=$((missed + 1))
        return
    fi
    local status=0
    if ! "$cxx" "${flags[@]}" $states -fsanitize=thread -I"$here/include" -I"$here" -I"$work/src" \
        -I"$root/include" -c "$here/$program.cpp" -o "$work/mutant.o" ||
        ! "$cxx" "$work/mutant.o" "$work/model.o" -o "$work/mutant"; then
        echo "NOT COMPILED $file: $text"
        missed=$((missed + 1))
        return
    fi
    timeout 120 "$work/mutant" >/dev/null 2>"$work/report" || status=$?
    if [ "$status" = 1 ] && grep -q '^model: ' "$work/report"; then
        echo "found        $file: $text"
        echo "             $(sed -n -e 's/^model: //p;q' "$work/report")"
    else
        echo "MISSED       $file: $text (status $status)"
        missed=$((missed + 1))
    fi
}

in_function() { echo "/^[a-z].*[ *]$1\\(/,/^}/"; }
push=$(in_function remote_push)
take=$(in_function remote_take)
park=$(in_function remote_try_park)
claim=$(in_function remote_try_claim)
after=$(in_function remote_word_after_push)

# --- remote.c: one word ---------------------------------------------------------------------------

mutant test_pages page/remote.c "a push does not acquire" "$push s/acq_rel/release/"
mutant test_pages page/remote.c "a push does not release" "$push s/acq_rel/acquire/"
mutant test_pages page/remote.c "take does not acquire" "$take s/acq_rel/release/"
mutant test_pages page/remote.c "park does not release" "$park s/memory_order_release/memory_order_relaxed/"
mutant test_pages page/remote.c "claim does not acquire" "$claim s/acq_rel/release/"
mutant test_pages page/remote.c "the number is not counted again after a failed swap" \
    "$push { s/, after;/, after = remote_word_after_push(page, word, head, count);/; /^        after = /d }"
mutant test_pages page/remote.c "the link is not set again after a failed swap" \
    "$push { /^        block_set_next/d; s/^    do \{/    block_set_next(last, remote_head(page, word), \&page->key);\n    do {/ }"
mutant test_pages page/remote.c "claim takes an owned page" "$claim s/\(word & REMOTE_PARKED\) == 0 \|\| //"
mutant test_pages page/remote.c "claim takes a large block for a page" \
    "$claim s/ \|\| \(word & REMOTE_IS_LARGE\) != large//"
mutant test_pages page/remote.c "claim is a load and a store" \
    "$claim s/while .*/while (atomic_store_explicit(\&page->remote, 0, memory_order_release), false);/"
mutant test_pages page/remote.c "the last push does not claim" "$after { /if \(left == 0\) return 0;/d }"
mutant test_pages page/remote.c "a push counts one block, whatever the chain" \
    "$after s/number - count/number - 1/"
mutant test_pages page/remote.c "a push into an owned page counts one block too many" \
    "$after s/number \+ count/number + count + 1/"
mutant test_pages page/remote.c "claim counts the blocks that are out" \
    "$claim s/page->out - remote_number\(word\)/remote_number(word)/"
mutant test_pages page/remote.c "claim reads out before the page is its own" \
    "$claim { s/^    uint32_t large/    unsigned out = page->out;\n    uint32_t large/; s/page->out - /out - / }"
mutant test_pages page/remote.c "nobody is told that a page became roomy" \
    "$push s/ \? REMOTE_LISTED/ ? REMOTE_DONE/"

# --- retire.c, refill.c, page.c: what is done with it ---------------------------------------------

place='struct retire_place place = retire_place_of\(page\);'
mutant test_pages page/retire.c "a push looks at the page once more (R6)" \
    "$(in_function retire_push) { /$place/d; s/retire_mark\(place\)/retire_mark(retire_place_of(page))/ }"
mutant test_pages page/retire.c "who leaves looks at the page once more (R6)" \
    "$(in_function retire_park) { /$place/d; s/retire_mark\(place\)/retire_mark(retire_place_of(page))/ }"
mutant test_pages page/retire.c "the owner word changes after parking" \
    "$(in_function retire_full) { /owner \| OWNER_FULL/d; s/^( +)stats_add/\1page_set_owner(page, owner | OWNER_FULL);\n&/ }"
mutant test_pages page/retire.c "adopting without a claim" \
    "s/if \(!refill_adopt\(page\)\) continue;/ignore_result(refill_adopt(page));/"
mutant test_pages page/retire.c "who leaves does not mark the page" \
    "$(in_function retire_park) s/if \(has_room\) retire_mark/if (false) retire_mark/"
mutant test_pages page/refill.c "a list stays with others and is put on the page's, too" \
    "$(in_function refill_adopt) s/if \(!is_walk \|\| !(.*)\) refill_put/if (is_walk) ignore_result(\1); refill_put/"
mutant test_pages page/remote.c "a list is put back over another" \
    "$(in_function remote_try_return) { s/return remote_swap.*/atomic_store_explicit(\&page->remote, remote_word(head, list.count, 0), memory_order_release); return true;/ }"
mutant test_pages page/refill.c "claim forgets the list" "$(in_function refill_claim) { /refill_put/d }"
mutant test_pages page/page.c "released with its descriptor in use" "/page_blank\(&page\[i\]\)/d"
mutant test_pages page/page.c "released before its descriptor is blank" \
    "$(in_function page_release_later) { /page_return/d; s/^    page_blank_all/    page_return(start, slices, !is_clean, batch);\n&/ }"

# --- depot.c, and pages that are shared -----------------------------------------------------------

put=$(in_function depot_try_put)
take=$(in_function depot_take_slot)
fill=$(in_function local_heap_take_shared)
some=$(in_function local_heap_take_some)
mutant test_shared page/depot.c "putting a chain does not release" \
    "$put s/memory_order_release/memory_order_relaxed/"
mutant test_shared page/depot.c "taking a chain does not acquire" \
    "$take s/memory_order_acquire/memory_order_relaxed/"
mutant test_shared page/depot.c "a chain is put over another (D1)" \
    "$put { s/if \(atomic_compare.*/atomic_store_explicit(\&of_class->slot[i], depot_pack(chain), memory_order_release);/; s/^ +memory_order_release, .*//; s/^ +return true;/        return true;/ }"
mutant test_shared page/depot.c "taking a chain is a load and a store (D1)" \
    "$take s/word = atomic_exchange_explicit(.*)memory_order_acquire/atomic_store_explicit\1memory_order_relaxed/; $take s/memory_order_relaxed\);$/memory_order_acquire);/"
mutant test_shared page/depot.c "a chain without a slot is forgotten" \
    "$(in_function depot_put) s/^    depot_return\(chain\);//"
mutant test_shared page/depot.c "what is in a slot that is not wanted is returned, and stays (D1)" \
    "$(in_function depot_return_from) s/depot_take_slot\(of_class, i\)/depot_unpack(atomic_load_explicit(\&of_class->slot[i], memory_order_acquire))/"
mutant test_shared page/depot.c "a review returns what it saw, whatever is there (D1)" \
    "$(in_function depot_look_at) s/depot_return.*/atomic_exchange_explicit(\&of_class->slot[i], 0, memory_order_acquire); depot_return(depot_unpack(word));/"
mutant test_shared page/depot.c "the next block is looked for after the block went back" \
    "$(in_function depot_return) s/first = next;/first = next == NULL ? NULL : depot_next(last, next_page->size_class);/"
mutant test_shared page/depot.c "a chain's pages are all taken for that of its first block" \
    "$(in_function depot_return) s/while \(next_page == page\)/while (next_page != NULL)/"
mutant test_shared page/retire.c "a shared page that has room is not marked again" \
    "$(in_function retire_park) { s/bool has_room = page_has_room\(page\)/& \&\& !page_is_shared(page)/ }"
mutant test_shared page/retire.c "parking writes its owner's name into a shared page" \
    "$(in_function retire_park) s/if \(!page_is_shared\(page\)\) //"
mutant test_shared heap/local_heap.c "a claimed page is not parked again" "$fill s/retire_park\(page, false\);//"
mutant test_shared heap/local_heap.c "a claimed page is parked before blocks are taken" \
    "$fill { /retire_park/d; s/^        chain = local_heap_take_some.*/        retire_park(page, false);\n&/ }"
mutant test_shared heap/local_heap.c "blocks that a cache takes are not out" "$some { /page->out \\+= /d }"
mutant test_shared heap/local_heap.c "blocks that a cache takes lead to those that stay" \
    "$some { /block_set_next\(last, NULL/d }"
mutant test_shared heap/local_heap.c "a new page of a shared class is its maker's" \
    "$(in_function local_heap_claim_shared) s/page_share\(page, .*\);//"
mutant test_shared heap/local_heap.c "a page that moves to a heap with a cache is not shared" \
    "$(in_function local_heap_place) s/page_share\(page, .*\);/;/"
mutant test_shared heap/local_heap.c "sharing a page once more forgets its interior pointers" \
    "$(in_function local_heap_place) s/if \(!page_is_shared\(page\)\) page_share/page_share/"
mutant test_shared heap/cache.c "a block that is given away stays in the cache" \
    "$(in_function cache_cut_off) s/\*list = rest;//"
mutant test_shared page/page.h "sharing a page does not release" \
    "$(in_function page_share) s/memory_order_release/memory_order_relaxed/"
mutant test_shared page/page.h "a page with interior pointers takes any address for a block" \
    "$(in_function page_mark_interior) s/ & ~PAGE_OWNER_ANYONE//"
mutant test_shared alloc/free.c "free does not acquire the owner" \
    "$(in_function free_try_any) s/memory_order_acquire/memory_order_relaxed/"
mutant test_shared-states alloc/free.c "free does not acquire the owner, with states" \
    "$(in_function free_checked) s/memory_order_acquire/memory_order_relaxed/"

# --- the floors above -----------------------------------------------------------------------------

mutant test_pages alloc/free.c "the owner word is read twice" \
    "$(in_function free_to_part) s/\(owner & OWNER_FULL\)/(page_owner(page) \& OWNER_FULL)/"
mutant test_pages heap/local_heap.c "a claim that failed is taken for granted" \
    "$(in_function local_heap_put_in_full) s/if \(!refill_claim\(page\)\) return false;/ignore_result(refill_claim(page));/"
mutant test_pages heap/local_heap.c "a parked page stays current" \
    "$(in_function local_heap_refill) s/heap->own\[size_class\].current = NULL;//"
mutant test_pages heap/local_heap.c "a large block that moves to another heap is not parked" \
    "$(in_function local_heap_move_large) s/while \(!remote_try_park\(page\)\)/while (false)/"
mutant test_pages heap/ring.c "a flushed slot is not empty" "/^    slot->page = NULL;/d"

# --- states of blocks -----------------------------------------------------------------------------

states=region/state.h
take=$(in_function state_take)
mutant test_states $states "a free is no compare-and-swap (T1)" \
    "$take s/^\{/{\n    return state_free(state);/"
mutant test_states $states "a block is freed that is not in use" \
    "$take s/kind = STATE_IN_USE/kind = atomic_load_explicit(\&state->kind, memory_order_relaxed)/"
mutant test_states $states "who finds a block in use does not acquire" \
    "$take s/memory_order_acquire/memory_order_relaxed/"
mutant test_states $states "a block in use does not show its page" \
    "$(in_function state_set) s/memory_order_release/memory_order_relaxed/"
mutant test_states $states "a block in use is handed out (T3)" \
    "$(in_function state_hand_out) s/if \(unlikely.*//"
mutant test_states $states "a free that meant another block leaves a trace" \
    "$(in_function state_untake) s/STATE_IN_USE/STATE_FREED/"
mutant test_states $states "a free that meant another block stores its state" \
    "$(in_function state_untake) s/^\{/{\n    state_set(state, STATE_IN_USE);\n    return;/"

# --- slices and items -----------------------------------------------------------------------------

chunk=$(in_function chunk_claim)
purge=$(in_function purge_chunk)
take=$(in_function pool_take)
put=$(in_function pool_put)
mutant test_regions region/chunk.h "a claim does not acquire" "$chunk s/memory_order_acquire/memory_order_relaxed/"
mutant test_regions region/chunk.h "a claim is content with some of the slices" \
    "$chunk s/\(free & bits\) != bits/(free \& bits) == 0/"
mutant test_regions region/arena.c "a release does not release" \
    "$(in_function arena_free_bits) s/memory_order_release/memory_order_relaxed/"
mutant test_regions region/arena.c "free first, dirty then" \
    "$(in_function arena_release) { /^    arena_free_range/d; s/^    for \(size_t done/    arena_free_range(arena, slice, count);\n&/ }"
mutant test_regions region/purge.c "a purge does not acquire" \
    "$(in_function purge_take_bits) s/memory_order_acquire/memory_order_relaxed/"
mutant test_regions region/purge.c "purged while it can be claimed (G1)" \
    "$purge s/purge_take_bits\(chunk, old\)/old/"
mutant test_regions region/purge.c "what was given back clean is taken for dirty" \
    "$purge s/taken & atomic_load_explicit\(&chunk->dirty, memory_order_relaxed\)/taken/"
mutant test_regions region/pool.c "the tag does not change (L1)" "$take s/\(head >> 32\) \+ 1/(head >> 32)/"
mutant test_regions region/pool.c "taking an item does not acquire" "$take s/memory_order_acquire/memory_order_relaxed/g"
mutant test_regions region/pool.c "putting an item does not release" "$put s/memory_order_release/memory_order_relaxed/"

# --- parts of heaps -------------------------------------------------------------------------------

heap=heap/heap.c
loses=$(in_function heap_part_loses)
changes=$(in_function heap_part_changes)
let_go=$(in_function heap_let_go_part)
end=$(in_function heap_end_part)
alone=$(in_function heap_is_alone)
mutant test_parts $heap "who ends a part first does not release" "$loses s/memory_order_acq_rel/memory_order_acquire/"
mutant test_parts $heap "who ends a part second does not acquire" "$loses s/memory_order_acq_rel/memory_order_release/"
mutant test_parts $heap "both end a part" "$loses s/return .*/return true;/"
mutant test_parts $heap "nobody ends a part" "$loses s/return .*/return false;/"
mutant test_parts $heap "who takes over a part does not acquire" "$changes s/memory_order_acquire/memory_order_relaxed/"
mutant test_parts $heap "a part is taken over by a load and a store" \
    "$changes { s/atomic_compare.*/(atomic_store_explicit(\&part->is_used, to, memory_order_acquire), true);/; /^ +memory_order_relaxed\);/d }"
mutant test_parts $heap "a part is taken over while somebody looks into it" \
    "$changes s/uint32_t left = .*/uint32_t left = atomic_load_explicit(\&part->is_used, memory_order_relaxed) \& ~16u;/; $changes s/^    return /    left |= 16u; if (left != 20u) left = 4u; return /; $changes s/== left \&\&/>= 4 \&\&/"
mutant test_parts $heap "who lets go of a part does not release" "$let_go s/memory_order_acq_rel/memory_order_acquire/"
mutant test_parts $heap "who lets go of a part does not end it" "$let_go { /PART_IS_ENDING/d; /heap_empty_part/d }"
mutant test_parts $heap "who ends a heap does not acquire" "$end s/memory_order_acq_rel/memory_order_release/"
mutant test_parts $heap "who ends a heap empties a part that is held (F3)" "$end s/if \(\(used & PART_IS_HELD\) == 0\) //"
mutant test_parts $heap "a part forgets its heap too late" \
    "$end { /atomic_store_explicit/d; s/^    if \(\(used/    atomic_store_explicit(\&part->heap, NULL, memory_order_relaxed);\n&/; }"
spare=$(in_function heap_is_spare)
mutant test_parts $heap "a part whose heap is gone is used again too early" \
    "$spare s/\(used & PART_HEAP_IS_GONE\) != 0/local_heap_handle_of(part) == NULL/"
mutant test_parts $heap "who uses a part again does not acquire" "$spare s/memory_order_acquire/memory_order_relaxed/"
mutant test_parts $heap "a heap is taken for alone whose handle is another's" \
    "$alone s/local_heap_handle_of\(part\) == heap;/true;/"
mutant test_parts $heap "who leaves a part looks into it unasked (F3)" \
    "$(in_function heap_leave_part) s/else if \(heap_hold_part\(part\)\)/else if (true)/"
mutant test_parts $heap "a part that another thread has goes to the pool" \
    "$(in_function heap_drop_part) s/if \(is_own \|\| .*\)\) pool_put/pool_put/"
mutant test_parts $heap "a part that is left stays the last one asked for" "$(in_function heap_unlink_part) { /near == part/d }"
mutant test_parts $heap "a new part is shown without a release" "$(in_function heap_local) s/memory_order_release/memory_order_relaxed/"
mutant test_parts $heap "parts are looked at without an acquire" "$(in_function heap_visit_parts) s/memory_order_acquire/memory_order_relaxed/"
mutant test_parts $heap "a part is taken over that is not on the thread's list" "$(in_function heap_take_over) { /heap_link_part/d }"

echo "$((count - missed)) of $count mutants found"
[ "$missed" = 0 ]
