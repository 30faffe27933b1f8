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
    struct remote_list taken;
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
            } else if (remote_try_claim(shared, 0, &taken)) {
                page_put_list(shared, taken.first, taken.count);
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
