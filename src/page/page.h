/* page.h: blocks of one size in a run of slices; the descriptor of a slice.
 *
 *   start                                        reserved * block_bytes    tail
 *     | out  | on free | out  | on local_free | out  |  not cut yet  | .. |
 *     |<------------------ capacity ---------------->|
 *
 * The owner loads the free list into its local heap (page_take_all) and puts blocks back on
 * local_free (in free.c, the fast path, without a call). Other threads free through remote.h. The
 * descriptor of a page's first slice describes the page; those of its other slices only say how far
 * back that is. A descriptor that belongs to no page is all zeroes.
 *
 * Pages of blocks above CFG_OWNED_BYTES are shared, unless their heap can be destroyed: nobody owns
 * them for longer than it takes to put some free blocks into the cache of a thread (heap/cache.h),
 * and all of them find the same free blocks. The descriptors of all their slices say so.
 *
 * Rules (see page_broken_rule; P4: remote_broken_rule while the page is parked, and
 * test/model/test_pages.cpp, where every write is ordered with the claim):
 *   P1  out + |free| + |local_free| + those that begin in holes == capacity <= reserved, and
 *       free_count == |free|
 *   P2  a listed block lies in the page, at a multiple of block_bytes
 *   P3  what is marked [const] changes only while nobody else can know the page: in page_init, and
 *       for a block with a run of its own (PAGE_LARGE) when its only user resizes it, or is
 *       given a pointer into it (OWNER_INTERIOR), the only one for its life
 *   P4  parked (remote.h): free, local_free, out and the counts are frozen
 *   P5  capacity == reserved or the uncut rest has never been handed out; with PAGE_ZERO it reads
 *       as zeroes
 *   P6  a block that begins in a hole (holes.h) is neither out nor listed; in each hole begins one
 *       that was cut
 */
#ifndef PAGE_PAGE_H
#define PAGE_PAGE_H
#include "base/base.h"
#include "page/block.h"
#include "page/size_class.h"

enum page_flags {
    PAGE_LARGE    = 1,  // one block with a run of slices of its own
    // made for a heap that can be destroyed: frees by others take no ring, also after that heap was
    // deleted and the page moved on
    PAGE_PINNED   = 2,
    PAGE_ZERO     = 4,  // its uncut part reads as zeroes
    // pages of memory were moved here: give its mapping back when it is released
    PAGE_MOVED    = 8,
    PAGE_GUARDED  = 16, // an OS page at its end is inaccessible
    PAGE_CLEAN    = 32, // its memory was moved elsewhere and reads as zeroes
    PAGE_SPLIT    = 64  // the guard took mappings of its own
};

// Low bits of `owner`. The first two make free leave the fast path.
enum page_owner_flags {
    OWNER_FULL     = 1, // in no queue: parked, or on its heap's list of full pages
    OWNER_INTERIOR = 2, // a block may have been handed out with an offset into it
    OWNER_SHARED   = 4, // instead of a local heap: the page is shared
    OWNER_FLAGS    = 7
};

// The highest bit, which no local heap's address has: any thread frees the page's blocks on the
// fast path, see page_sink.
static const uintptr_t PAGE_OWNER_ANYONE = ~(uintptr_t)0 ^ ~(uintptr_t)0 >> 1;
// The owner word of a shared page without interior pointers.
static const uintptr_t PAGE_OWNER_ALL = (~(uintptr_t)0 ^ ~(uintptr_t)0 >> 1) | OWNER_SHARED;

struct page {
    // what the owner writes
    // [owner] its local heap | flags; still the former owner's when parked. Of shared pages
    // PAGE_OWNER_ALL, or OWNER_SHARED | OWNER_INTERIOR, which [any] may write. Read by any
    ATOMIC(uintptr_t) owner;
    // [owner] freed here, or by others when `free` had some; becomes `free` in refill_page
    struct block *local_free;
    // [owner] with the user, on a loaded list, in rings, or on the remote list
    uint32_t      out;
    uint16_t      free_count;     // [owner] length of `free`
    uint16_t      capacity;       // [owner] blocks cut so far
    struct block *free;           // [owner] next to be loaded into a local heap
    uintptr_t     sink;           // [const] see page_sink
    struct page  *next;           // [owner] in a queue of its local heap
    // [const] distance between blocks; 0: this slice does not begin a page
    size_t        block_bytes;
    uint8_t       size_class;     // [const] CLASS_COUNT for PAGE_LARGE
    uint8_t       flags;          // [const] enum page_flags
    // [const] in a later slice of a page: slices to its first one; else 0
    uint16_t      back;
    // [owner] how much of what its thread may keep this empty page takes; local_heap.h
    uint32_t      kept_bytes;
    // what others write, and what is seldom used
    ATOMIC(uint32_t) remote;      // [any] remote.h
    union {
        // [const] a parked page with at most so many blocks out is worth adopting
        uint16_t  roomy;
        // [const] of a large block: the slice that the user's pointer points into. Of its later
        // slices only that one, if it is one, has its `back` in its descriptor
        uint16_t  pointer_slice;
    };
    uint16_t      reserved;       // [const] blocks that fit
    char         *start;          // [const] address of block 0
    uint64_t      reciprocal;     // [const] page_reciprocal_of
    struct link_key key;          // [const] of links in this page
    struct page  *prev;           // [owner] as `next`
    uint32_t      slices;         // [const] length of the page
    uint16_t      holes;          // [owner] bit s: strip s is one
    bool          is_rest_back;   // [owner] its uncut part was given back to the OS
    struct state *states;         // [const] of its first granule; in builds without them NULL
};
enum { PAGE_SINK_LEFT = sizeof(struct block *) }; // see page_sink
static_assert(offsetof(struct page, out) == offsetof(struct page, local_free) + PAGE_SINK_LEFT,
              "a page is a sink");
static_assert(sizeof(struct page) == DESCRIPTOR_BYTES, "two cache lines");
static_assert(offsetof(struct page, remote) == 64, "what others write is on the second line");

// What page_init needs to know.
struct page_plan {
    size_t   block_bytes;
    unsigned size_class; // CLASS_COUNT: one large block
    uint32_t slices;
    unsigned flags;
    size_t   lost_bytes; // at the end, for a guard
};

// A little more than 2^64 / block_bytes. With e = reciprocal * block_bytes - 2^64, of which
// 0 < e <= block_bytes, block i at offset i * block_bytes has the product i * 2^64 + i * e, and
// i * e is less than the reciprocal, while each byte further adds one reciprocal. (Lemire, Kaser,
// Kurz, "Faster remainder by direct computation", 2019.) 1 for the one block of a PAGE_LARGE: each
// offset is in block 0, and only 0 begins it.
static inline uint64_t page_reciprocal_of(size_t block_bytes, bool is_large)
{
    return is_large ? 1 : (UINT64_C(0) - block_bytes) / block_bytes + 2;
}

// Describes [memory, memory + slices): claimed by the caller, descriptors blank. `key` may be NULL
// in normal builds.
INTERNAL struct page *page_init(void *memory, const struct page_plan *plan,
                                const struct link_key *key);
// How many pages of a class there are at this moment, whoever has them; of a class that has no long
// ones, 0.
INTERNAL uint32_t page_count_of_class(size_t size_class);
// Makes the last OS page of [memory, memory + bytes) inaccessible if that can be; the page flags
// that say so. page_unguard takes the guard of a page away.
INTERNAL unsigned page_guard(char *memory, size_t bytes);
INTERNAL must_use bool page_unguard(struct page *page); // false: it cannot be taken away
// Blanks what descriptors say of a page, and returns its slices to the arena. Every block is free;
// nobody else knows the page. If a block is in use (T3), that is reported, and the page stays.
INTERNAL void page_release(struct page *page);
// The same, but its slices may be free only after batch_release.
struct batch;
INTERNAL void page_release_later(struct page *page, struct batch *batch);

// Cuts some more blocks onto `free`: about one OS page, and up to `used_bytes` of memory that was
// used before. chacha: NULL, or the order is random. false when all are cut.
struct chacha;
INTERNAL bool page_cut(struct page *page, struct chacha *chacha, size_t used_bytes);
// Lists `count` blocks, one at least, one after the other in memory, on `free`, which is empty.
INTERNAL void page_list_blocks(struct page *page, uint32_t first, uint32_t count,
                               struct chacha *chacha);
// A page is divided into strips of whole OS pages, PAGE_STRIPS at most, of which some may be holes.
enum { PAGE_STRIPS = 16 };
INTERNAL size_t page_strip_bytes(const struct page *page);
// Numbers of the cut blocks that begin in a strip; none unless first < end.
struct page_range { uint32_t first, end; };
INTERNAL struct page_range page_beginning_in(const struct page *page, unsigned strip);
INTERNAL uint32_t page_count_in_holes(const struct page *page); // blocks that begin there
static inline bool page_has_in_hole(const struct page *page, const struct block *block)
{
    size_t offset = (size_t)((const char *)block - page->start);
    return (page->holes >> offset / page_strip_bytes(page) & 1) != 0;
}
// Debug and secure builds: none of the cut blocks from `first` to before `end`, or on a list that
// stays in the page and comes to an end, is in use. Owner only.
INTERNAL bool page_is_idle(const struct page *page, uint32_t first, uint32_t end);
INTERNAL bool page_is_idle_list(const struct page *page, const struct block *list);
// Puts a list of `count` blocks onto `free`, or where there are some already and it is a long one,
// onto an empty `local_free`; they are not out any more. Walks the list when both have some: what
// comes after a link that leads astray, which is reported, is lost. Owner only.
INTERNAL void page_put_list(struct page *page, struct block *list, unsigned count);

// NULL while all rules hold, T3 for listed blocks too, else the broken rule as text. Bounded also
// when links are corrupt. Owner only.
INTERNAL const char *page_broken_rule(const struct page *page);
// The address is that of a descriptor, whatever it describes: for checkers of lists of pages.
INTERNAL bool page_is_descriptor(const void *address);
// Length of a list of this page's blocks; capacity + 1 when it loops or leaves the page.
INTERNAL unsigned page_list_count(const struct page *page, const struct block *list);
// Of the page's blocks, each a bit: sets those of free ones, listed or in holes. Owner only, no
// list loaded. Bounded also when links are corrupt.
enum { PAGE_MAX_BLOCKS = SLICE_BYTES / CLASS_STEP_BYTES };
INTERNAL void page_mark_free(const struct page *page, uint64_t is_free[PAGE_MAX_BLOCKS / 64]);

static inline struct page *page_head(struct page *descriptor)
{
    return descriptor - descriptor->back;
}

// The same for addresses that are not arena 0's, and for those that are no multiple of 16.
INTERNAL struct page *page_of_far(const void *address);

// The page of an address that lies in one, or NULL. The address need not be a block.
static inline struct page *page_of(const void *address)
{
    uintptr_t units = arena_units(address);
    if (likely(arena_has_units(units))) {
        struct page *page = page_head((struct page *)arena_descriptor_near(units));
        if (likely(page->block_bytes != 0)) return page;
    }
    return page_of_far(address);
}

// An offset times the reciprocal is the number of its block, and below the point how far into the
// block it is: less than one reciprocal only at its start. See page_reciprocal_of.
static always_inline struct bits_product page_place_of(const struct page *page, const void *address)
{
    return bits_multiply_wide((uintptr_t)address - (uintptr_t)page->start, page->reciprocal);
}

static inline uint32_t page_index_of(const struct page *page, const void *block)
{
    return (uint32_t)page_place_of(page, block).high;
}

static inline struct block *page_block_at(const struct page *page, uint32_t index)
{
    return (struct block *)(void *)(page->start + index * page->block_bytes);
}

// A block begins exactly there (it may be free, or not cut yet). Not `capacity`, which the owner
// changes: nobody has a pointer to a block that is not cut yet.
static inline bool page_has_block_at(const struct page *page, const void *address)
{
    struct bits_product place = page_place_of(page, address);
    return place.low < page->reciprocal && place.high < page->reserved;
}

static inline uintptr_t page_owner(const struct page *page)
{
    // relaxed: whoever finds itself here stored it itself; for others it is a hint
    return atomic_load_explicit(&page->owner, memory_order_relaxed);
}

static inline void page_set_owner(struct page *page, uintptr_t owner)
{
    atomic_store_explicit(&page->owner, owner, memory_order_relaxed);
}

// The local heap that an owner word names, or NULL.
static inline struct local_heap *page_named_by(uintptr_t owner)
{
    return (struct local_heap *)(owner & ~(PAGE_OWNER_ANYONE | OWNER_FLAGS));
}

static inline bool page_is_shared(const struct page *page)
{
    return (page_owner(page) & OWNER_SHARED) != 0;
}

// Some block is handed out with an offset into it: a free has to find its start from now on.
static inline void page_mark_interior(struct page *page)
{
    uint32_t count = page_is_shared(page) ? page->slices : 1;
    for (uint32_t i = 0; i < count; i++) {
        page_set_owner(&page[i], (page_owner(&page[i]) & ~PAGE_OWNER_ANYONE) | OWNER_INTERIOR);
    }
}

// A sink is where free puts a block: a list, and PAGE_SINK_LEFT bytes further a number that counts
// down with each block; at 1 and 0 free has more to do than that. A page that one thread owns is
// its own sink, `local_free` and `out`. That of a shared page lies in the local heap of the thread
// that frees, so far from its start as page_share was told.
//
// So free takes the same few instructions, without a branch that depends on whose page it is.
// `differs` is the exclusive or of the page's owner word and the thread's local heap, as numbers:
// for a page of its own 0; for a shared one the highest bit, OWNER_SHARED and the local heap, so
// negative; for everything else, and no page at all, positive, as long as local heaps lie in the
// lower half of the address space (heap.c).
static always_inline bool page_has_sink(uintptr_t differs) { return (intptr_t)differs <= 0; }
static always_inline void *page_sink(const struct page *page, uintptr_t differs)
{
    return (void *)(page->sink + differs);
}

// The page is claimed, or known to nobody yet. `offset`: of the sinks in local heaps.
static inline void page_share(struct page *page, size_t offset)
{
    uintptr_t interior = page_owner(page) & OWNER_INTERIOR;
    uintptr_t owner = OWNER_SHARED | (interior != 0 ? interior : PAGE_OWNER_ANYONE);
    for (uint32_t i = 0; i < page->slices; i++) {
        page[i].sink = offset - (PAGE_OWNER_ANYONE | OWNER_SHARED);
        // release: pairs with the acquire in free, so that who finds the page shared finds its sink
        atomic_store_explicit(&page[i].owner, owner, memory_order_release);
    }
}

static inline struct arena *page_arena(const struct page *page) { return arena_of(page->start); }

// Of all its slices.
static inline size_t page_total_bytes(const struct page *page)
{
    return (size_t)page->slices << SLICE_SHIFT;
}

static inline bool page_has_room(const struct page *page)
{
    return page->free != NULL || page->local_free != NULL || page->capacity < page->reserved ||
           page->holes != 0;
}

// Hand the whole free list over; its blocks are out from now on. Owner only.
static inline struct block *page_take_all(struct page *page)
{
    struct block *list = page->free;
    page->out += page->free_count;
    page->free = NULL;
    page->free_count = 0;
    return list;
}

// Take a block back; true when it was the last one out. Owner only. When blocks have come back
// twice (T3) fewer are counted as out than there are, even less than none, until retire_park.
static inline bool page_put(struct page *page, struct block *block)
{
    block_set_next(block, page->local_free, &page->key);
    page->local_free = block;
    return --page->out == 0;
}

// Debug and secure builds: the state of the granule of the page that begins there, or NULL: none
// does.
static always_inline struct state *page_state_at(const struct page *page, const void *address)
{
    uintptr_t granule =
        bits_rotate_right((uintptr_t)address - (uintptr_t)page->start, GRANULE_SHIFT);
    bool is_in_page = granule < (uintptr_t)page->slices << (SLICE_SHIFT - GRANULE_SHIFT);
    return likely(is_in_page) ? page->states + granule : NULL;
}

// The next block of a list of the page's. NULL at its end, and after report_fault_within() where a
// link leads to anything but an idle block of the page. Only debug and secure builds look.
INTERNAL struct block *page_next(const struct page *page, const struct block *block);

#endif
