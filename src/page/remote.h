/* remote.h: frees by threads that do not own the page, and who owns it. One atomic word for each
 * page:
 *
 *   bit   31 .. 29   28      27       26       25 .. 13   12 .. 0
 *         0          LARGE   LISTED   PARKED   number     head: index + 1 of the first block on
 *                                                         the remote list, 0: empty
 *
 *            remote_try_park (owner)            remote_push that takes number to 0
 *   OWNED ---------------------------> PARKED -------------------------------------> OWNED by
 *     ^                                  |                                           that thread
 *     `-------- remote_try_claim --------'   (anybody)
 *
 * Rules (see remote_broken_rule for what one word and its list show; R3, R4, R6 and who may do what
 * when: test/model/test_pages.cpp, and the mutants that break it):
 *   R1  OWNED:  number counts the blocks on the remote list; only the owner touches the page's
 *       first line
 *   R2  PARKED: number counts the blocks still out, more than 0; out - number blocks are on the
 *       remote list
 *   R3  every change is a read-modify-write with release, so that whoever acquires the word sees
 *       all earlier writes to the page and to its freed blocks (the changes form one release
 *       sequence). While there is one thread, a store will do: core/alone.h
 *   R4  the list is only ever taken whole, so a block that comes back as head between a reader's
 *       load and its compare-and-swap does no harm
 *   R5  LISTED only with PARKED: the page's mark in the arena is set since it was parked, or about
 *       to be. LARGE only with PARKED: the page is one large block, which is never adopted, so that
 *       a late or stale claim of the other kind fails
 *   R6  once a push or a park has succeeded the page may change hands and begin a new life: nothing
 *       of it is read afterwards
 */
#ifndef PAGE_REMOTE_H
#define PAGE_REMOTE_H
#include "page/page.h"

enum remote_result {
    REMOTE_DONE,
    REMOTE_LISTED, // the page became roomy with this push: mark it for adopters
    REMOTE_LAST    // no block is out any more and the page is the caller's, who releases it
};

struct remote_list { struct block *first; unsigned count; };

// Adds a chain of `count` blocks, first .. last, all out until now. Any thread.
INTERNAL must_use enum remote_result remote_push(struct page *page, struct block *first,
                                                 struct block *last, unsigned count);
// The same for the one block of a large page that is owned; false, and nothing happened: it is on
// the list already, or the page is parked.
INTERNAL must_use bool remote_push_large(struct page *page);
// Takes the remote list. Owner only.
INTERNAL struct remote_list remote_take(struct page *page);
// Gives up ownership; the caller may not touch the page any more (R6). false, and nothing happened:
// blocks lie on the remote list. Owner only; out > 0; in no queue, not loaded.
INTERNAL must_use bool remote_try_park(struct page *page);
// Takes ownership of a parked page, and its remote list. false: not parked, or of the other kind.
// kind: PAGE_LARGE for a large block, 0 for any other page. Any thread.
INTERNAL must_use bool remote_try_claim(struct page *page, unsigned kind,
                                        struct remote_list *taken);

// Puts a list back that was just taken, untouched. false, and nothing happened: others have freed
// meanwhile. Owner only.
INTERNAL must_use bool remote_try_return(struct page *page, struct remote_list list);

// NULL while R1, R2 and R5 hold. Owner only, or of a parked page when no other thread is at it.
// Bounded also when links are corrupt.
INTERNAL const char *remote_broken_rule(const struct page *page);
INTERNAL bool remote_is_parked(const struct page *page);
INTERNAL bool remote_is_listed(const struct page *page); // parked, and has room
INTERNAL unsigned remote_waiting(const struct page *page); // blocks on the remote list, about

#endif
