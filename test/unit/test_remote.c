#include "unit_test.h"

enum { CLASS = 40, MAX_BLOCKS = 4096 };
static struct block *blocks[MAX_BLOCKS];

static struct page *full_page(unsigned *count)
{
    start_quietly();
    struct page *page = new_page(CLASS, 0);
    *count = take_every_block(page, blocks);
    return page;
}

static void push_owned(void)
{
    unsigned count;
    struct page *page = full_page(&count);
    EXPECT_EQ(remote_waiting(page), 0);
    for (unsigned i = 0; i < 3; i++) {
        EXPECT_EQ(remote_push(page, blocks[i], blocks[i], 1), REMOTE_DONE);
        EXPECT_EQ(remote_waiting(page), i + 1);
    }
    struct remote_list taken = remote_take(page);
    EXPECT(taken.count == 3 && taken.first == blocks[2]);
    EXPECT_EQ(page_list_count(page, taken.first), 3);
    taken = remote_take(page);
    EXPECT(taken.count == 0 && taken.first == NULL);
}

TEST(remote_R1_an_owned_page_counts_the_blocks_on_its_remote_list) { IN_CHILD(push_owned()); }

// Two blocks come back at once to a parked page that counts one as out: another one came back
// twice. The number does not run over into the flags.
static void push_too_many(void)
{
    unsigned count;
    struct page *page = full_page(&count);
    page->out = 1;
    EXPECT(remote_try_park(page));
    mark(blocks[0], STATE_FREE);
    mark(blocks[1], STATE_FREE);
    block_set_next(blocks[0], blocks[1], &page->key);
    EXPECT_EQ(remote_push(page, blocks[0], blocks[1], 2), REMOTE_LAST);
    EXPECT(!remote_is_parked(page) && remote_waiting(page) == 0);
}

TEST(remote_push_T3_counts_never_less_than_no_block_as_out)
{
    if (CFG_STATES) IN_CHILD(push_too_many());
}

static void push_all_owned(void)
{
    unsigned count;
    struct page *page = full_page(&count);
    for (unsigned i = 0; i < count; i++)
        EXPECT_EQ(remote_push(page, blocks[i], blocks[i], 1), REMOTE_DONE);
    EXPECT_EQ(remote_take(page).count, count); // the last one out claims nothing: it has an owner
}

TEST(remote_push_of_all_blocks_of_an_owned_page_leaves_it_to_its_owner)
{
    IN_CHILD(push_all_owned());
}

static void largest_page(void)
{
    start_quietly();
    struct page *page = new_page(1, 0);
    unsigned count = take_every_block(page, blocks);
    EXPECT_EQ(count, 4096);
    for (unsigned i = 0; i < count; i++)
        EXPECT_EQ(remote_push(page, blocks[i], blocks[i], 1), REMOTE_DONE);
    EXPECT_EQ(remote_waiting(page), count);
    struct remote_list taken = remote_take(page);
    EXPECT_EQ(page_list_count(page, taken.first), count);
    EXPECT(remote_try_park(page));
    for (unsigned i = 0; i + 1 < count; i++)
        EXPECT(remote_push(page, blocks[i], blocks[i], 1) != REMOTE_LAST);
    EXPECT_EQ(remote_push(page, blocks[count - 1], blocks[count - 1], 1), REMOTE_LAST);
}

TEST(remote_word_holds_the_numbers_of_the_page_with_most_blocks) { IN_CHILD(largest_page()); }

static void park_and_push(void)
{
    unsigned count, listed = 0;
    struct page *page = full_page(&count);
    EXPECT(!remote_is_parked(page) && remote_try_park(page) && remote_is_parked(page));
    for (unsigned i = 0; i + 1 < count; i++) {
        enum remote_result result = remote_push(page, blocks[i], blocks[i], 1);
        EXPECT(result == REMOTE_DONE || result == REMOTE_LISTED);
        EXPECT_EQ(remote_waiting(page), i + 1); // R2
        if (result != REMOTE_LISTED) continue;
        listed++;
        EXPECT_EQ(count - i - 1,
                  page->roomy); // with the push that makes room enough, and only then (R5)
    }
    EXPECT_EQ(listed, 1);
    EXPECT_EQ(remote_push(page, blocks[count - 1], blocks[count - 1], 1), REMOTE_LAST);
    EXPECT(!remote_is_parked(page));
}

TEST(remote_R2_a_parked_page_counts_down_and_the_last_push_claims_it) { IN_CHILD(park_and_push()); }

static void park_refused(void)
{
    unsigned count;
    struct page *page = full_page(&count);
    EXPECT_EQ(remote_push(page, blocks[0], blocks[0], 1), REMOTE_DONE);
    EXPECT(!remote_try_park(page) && !remote_is_parked(page));
    EXPECT_EQ(remote_waiting(page), 1);
    refill_from_remote(page);
    EXPECT(remote_try_park(page)); // with room: listed from the start
    EXPECT_EQ(remote_push(page, blocks[1], blocks[1], 1), REMOTE_DONE);
    EXPECT_EQ(remote_push(page, blocks[2], blocks[2], 1), REMOTE_DONE);
}

TEST(remote_try_park_fails_with_blocks_on_the_remote_list) { IN_CHILD(park_refused()); }

static void give_back(void)
{
    unsigned count;
    struct page *page = full_page(&count);
    for (unsigned i = 0; i < 2; i++)
        EXPECT_EQ(remote_push(page, blocks[i], blocks[i], 1), REMOTE_DONE);
    struct remote_list taken = remote_take(page);
    EXPECT(remote_try_return(page, taken));
    EXPECT_EQ(remote_waiting(page), 2);
    EXPECT_TEXT(remote_broken_rule(page), NULL);
    taken = remote_take(page);
    EXPECT_EQ(remote_push(page, blocks[2], blocks[2], 1), REMOTE_DONE);
    EXPECT(!remote_try_return(page, taken)); // others were faster
    EXPECT_EQ(remote_waiting(page), 1);
}

TEST(remote_try_return_puts_a_list_back_unless_there_is_another) { IN_CHILD(give_back()); }

static void claim(void)
{
    unsigned count;
    struct remote_list taken;
    struct page *page = full_page(&count);
    EXPECT(!remote_try_claim(page, 0, &taken)); // owned
    EXPECT(remote_try_park(page) && remote_try_claim(page, 0, &taken));
    EXPECT(taken.count == 0 && taken.first == NULL);
    EXPECT(!remote_try_claim(page, 0, &taken));
    EXPECT(remote_try_park(page));
    for (unsigned i = 0; i < 5; i++)
        EXPECT(remote_push(page, blocks[i], blocks[i], 1) != REMOTE_LAST);
    EXPECT(remote_try_claim(page, 0, &taken));
    EXPECT(taken.count == 5 && page_list_count(page, taken.first) == 5);
    EXPECT_EQ(page->out, count); // frozen while it was parked (P4)
    EXPECT_EQ(remote_waiting(page), 0);
    EXPECT(remote_try_park(page));
    EXPECT(!remote_try_claim(page, PAGE_LARGE, &taken) &&
           remote_is_parked(page)); // R5: the other kind
}

TEST(remote_try_claim_takes_a_parked_page_with_its_list_once) { IN_CHILD(claim()); }

static void chain(void)
{
    unsigned count;
    struct page *page = full_page(&count);
    EXPECT(remote_try_park(page));
    for (unsigned i = 0; i < count; i++)
        block_set_next(blocks[i], i + 1 < count ? blocks[i + 1] : NULL, &page->key);
    EXPECT(remote_push(page, blocks[0], blocks[9], 10) != REMOTE_LAST);
    EXPECT_EQ(remote_waiting(page), 10);
    EXPECT(remote_push(page, blocks[10], blocks[count - 1], count - 10) == REMOTE_LAST);
}

TEST(remote_push_takes_chains) { IN_CHILD(chain()); }

// --- rules, broken on purpose --------------------------------------------------------------------

// The word as remote.h describes it.
enum { NUMBER_ONE = 1 << 13, PARKED = 1 << 26, LISTED = 1 << 27, LARGE = 1 << 28 };

// Three blocks on the remote list.
static struct page *pushed_page(bool is_parked)
{
    unsigned count;
    struct page *page = full_page(&count);
    if (is_parked) EXPECT(remote_try_park(page));
    for (unsigned i = 0; i < 3; i++)
        EXPECT(remote_push(page, blocks[i], blocks[i], 1) != REMOTE_LAST);
    EXPECT_TEXT(remote_broken_rule(page), NULL);
    return page;
}

static void change_word(struct page *page, uint32_t amount)
{
    atomic_fetch_add_explicit(&page->remote, amount, memory_order_relaxed);
}

static void owned_number(void)
{
    struct page *page = pushed_page(false);
    change_word(page, NUMBER_ONE);
    EXPECT_TEXT(remote_broken_rule(page), "R1: the remote list is not as long as its number");
}

static void owned_list(struct block *next)
{
    struct page *page = pushed_page(false);
    block_set_next(blocks[1], next, &page->key);
    EXPECT_TEXT(remote_broken_rule(page), "R1: the remote list is not as long as its number");
}

static void owned_head(void)
{
    struct page *page = pushed_page(false);
    change_word(page, page->reserved);
    EXPECT_TEXT(remote_broken_rule(page), "R1: the remote list begins nowhere");
}

static void parked_out(void)
{
    struct page *page = pushed_page(true);
    page->out--;
    EXPECT_TEXT(remote_broken_rule(page), "R2: blocks lost or doubled while parked");
    page->out = 1;
    EXPECT_TEXT(remote_broken_rule(page), "R2: parked with no block out");
}

static void parked_number(void)
{
    struct page *page = pushed_page(true);
    change_word(page, NUMBER_ONE);
    EXPECT_TEXT(remote_broken_rule(page), "R2: blocks lost or doubled while parked");
    change_word(page, 0u - (page->out - 2u) * NUMBER_ONE);
    EXPECT_TEXT(remote_broken_rule(page), "R2: parked with no block out");
}

static void listed_or_large(void)
{
    struct page *page = pushed_page(false);
    change_word(page, LISTED);
    EXPECT_TEXT(remote_broken_rule(page), "R5: listed or large, but not parked");
    change_word(page, LARGE - LISTED);
    EXPECT_TEXT(remote_broken_rule(page), "R5: listed or large, but not parked");
    page = pushed_page(true);
    change_word(page, LARGE);
    EXPECT_TEXT(remote_broken_rule(page), "R5: parked as the other kind");
}

TEST(remote_R1_notices_a_wrong_number) { IN_CHILD(owned_number()); }
TEST(remote_R1_notices_a_list_that_ends_early_or_loops)
{
    IN_CHILD(owned_list(NULL));
    IN_CHILD(owned_list(blocks[2]));
    IN_CHILD(owned_list((struct block *)(uintptr_t)0x10));
}
TEST(remote_R1_notices_a_head_beyond_the_page) { IN_CHILD(owned_head()); }
TEST(remote_P4_notices_counts_that_changed_while_the_page_was_parked) { IN_CHILD(parked_out()); }
TEST(remote_R2_notices_a_parked_page_that_miscounts_what_is_out) { IN_CHILD(parked_number()); }
TEST(remote_R5_notices_flags_of_a_page_that_is_not_parked_or_of_the_other_kind)
{
    IN_CHILD(listed_or_large());
}

// --- many threads: two free blocks while the owner takes, parks and claims; each block comes back
// once -----------------------

enum { FREERS = 3, ROUNDS = 400 };
static struct page *shared;
static ATOMIC(unsigned) last_claims, lists;
static pthread_barrier_t gate;

static void *freer(void *number)
{
    unsigned self = (unsigned)(uintptr_t)number;
    for (unsigned round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&gate);
        for (unsigned i = self; i < shared->reserved; i += FREERS) {
            switch (remote_push(shared, blocks[i], blocks[i], 1)) {
            case REMOTE_LAST:
                atomic_fetch_add_explicit(&last_claims, 1, memory_order_relaxed);
                break;
            case REMOTE_LISTED: atomic_fetch_add_explicit(&lists, 1, memory_order_relaxed); break;
            case REMOTE_DONE: break;
            }
        }
        pthread_barrier_wait(&gate);
    }
    return NULL;
}

static void *parker(void *unused)
{
    (void)unused;
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned count = take_every_block(shared, blocks);
        EXPECT_EQ(count, shared->reserved);
        bool is_parked = round % 2 == 0 && remote_try_park(shared);
        pthread_barrier_wait(&gate);
        for (int i = 0; i < 20; i++) {
            if (!is_parked) {
                refill_from_remote(shared);
                if (shared->out == 0) break;
                is_parked = remote_try_park(shared);
            } else if (refill_claim(shared)) {
                is_parked = false;
            }
            if (i % 4 == 0) sched_yield();
        }
        pthread_barrier_wait(&gate);
        unsigned claims = atomic_exchange_explicit(&last_claims, 0, memory_order_relaxed);
        EXPECT_EQ(claims, is_parked); // exactly one of them has the page at the end
        if (claims == 1) {
            shared->free = shared->local_free = NULL;
            shared->out = shared->free_count = shared->capacity = 0;
            continue;
        }
        refill_from_remote(shared);
        EXPECT_EQ(shared->out, 0);
        EXPECT_TEXT(page_broken_rule(shared), NULL);
        EXPECT_TEXT(remote_broken_rule(shared), NULL);
    }
    return NULL;
}

static void *freer_or_parker(void *number)
{
    return (uintptr_t)number == FREERS ? parker(NULL) : freer(number);
}

static void hammer(void)
{
    unsigned count;
    shared = full_page(&count);
    shared->out = shared->capacity = 0;
    pthread_barrier_init(&gate, NULL, FREERS + 1);
    run_threads(FREERS + 1, freer_or_parker);
}

TEST(remote_word_loses_no_block_between_threads_that_free_park_and_claim) { IN_CHILD(hammer()); }
