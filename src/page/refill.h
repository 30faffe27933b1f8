/* refill.h: how freed blocks become free ones again. Owner only, all of it. */
#ifndef PAGE_REFILL_H
#define PAGE_REFILL_H
#include "page/remote.h"

// Puts blocks on an empty `free` list: those freed by the owner, else those freed by others, else
// those of a hole, else uncut ones (page_cut). false when every block is out. *is_zero: the new
// blocks read as zeroes but for their links.
struct chacha;
INTERNAL must_use bool refill_page(struct page *page, struct chacha *chacha, size_t used_bytes,
                                   bool *is_zero);
// Takes what others freed. Afterwards out == 0 means that the page is empty.
INTERNAL void refill_from_remote(struct page *page);
// Takes a parked page over; false when it is not parked (any more). Its counts are exact then. The
// caller becomes owner and sets `owner`.
INTERNAL must_use bool refill_claim(struct page *page);
// The same in the midst of malloc: when it has room as it is, what others freed may stay on the
// remote list, for its end could only be found by a walk over blocks that lie in no cache.
INTERNAL must_use bool refill_adopt(struct page *page);

#endif
