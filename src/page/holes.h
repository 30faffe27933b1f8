/* holes.h: OS pages in a page that hold nothing but free blocks, given back when the user asks for
 * all that can be.
 *
 *   | strip 0 | strip 1 | ...               PAGE_STRIPS at most, each of whole OS pages
 *   | in use  |  hole   | in use  |  hole   |
 *
 * A strip becomes a hole when no block that overlaps it is out. The blocks that begin there are on
 * no list, since their links are gone; they are listed anew, strip by strip, when no other block of
 * the page is free. A block that begins before a hole and reaches into it is a block like others:
 * what it touches when it is used stays until the hole has been filled and made anew. Owner only,
 * all of it. What must hold is P6 (page.h).
 */
#ifndef PAGE_HOLES_H
#define PAGE_HOLES_H
#include "page/page.h"

// Lists the blocks of one hole; `free` is empty. false: the page has no hole. Debug and secure
// builds: one with a block in use (T3) is reported, and lost.
struct chacha;
INTERNAL bool holes_fill(struct page *page, struct chacha *chacha);
// Gives back what holds no block that is out, its uncut rest too. What others freed has been taken,
// and no list of the page is loaded. Returns the bytes; 0 in debug and secure builds where a
// block that should be free is in use (T3).
INTERNAL size_t holes_give_back(struct page *page);

#endif
