#include "shared_test.h"
#include "core/hooks.h"
#include "mimalloc.h"
#include <unistd.h>
#include "heap/ring.h"
#include "os/fork.h"

enum { SMALL = 48, LONG = 5000, COUNT = 39, NOW_MS = 1000 }; // LONG: full pages
static void *blocks[COUNT];
static struct local_heap *ended; // of the thread that ended last

static struct local_heap *start(void)
{
    start_quietly();
    fake_prim_set_clock_ms(NOW_MS);
    struct local_heap *main = thread_ready(thread_heap())->main;
    idle_end_all();
    return main;
}

// Half of the blocks stay in use.
static void *work(void *bytes)
{
    for (unsigned i = 0; i < COUNT; i++) blocks[i] = mi_malloc(*(const size_t *)bytes);
    for (unsigned i = 0; i < COUNT; i += 2) mi_free(blocks[i]);
    ended = thread_heap()->main;
    return NULL;
}

static void run_short_thread(size_t bytes) { run_thread(work, &bytes); }

static void expect_idle(unsigned count)
{
    struct local_heap *idle[IDLE_SLOTS];
    unsigned found = 0;
    EXPECT_TEXT(idle_broken_rule(), NULL);
    EXPECT(idle_has_any() == (count != 0));
    while (found < IDLE_SLOTS && (idle[found] = idle_take()) != NULL) found++;
    EXPECT_EQ(found, count);
    EXPECT(!idle_has_any());
    while (found > 0) idle_put(idle[--found]);
}

static void taken_over(void)
{
    start();
    run_short_thread(SMALL);
    expect_idle(1);
    const struct local_heap *first = ended;
    int64_t pages = level_now(STAT_pages), parked = level_now(STAT_pages_parked);
    for (unsigned i = 0; i < 20; i++) {
        run_short_thread(SMALL);
        EXPECT(ended == first);
        EXPECT_EQ(level_now(STAT_threads), 1);
    }
    EXPECT_EQ(level_now(STAT_pages), pages);
    EXPECT_EQ(level_now(STAT_pages_parked), parked);
    expect_idle(1);
}

TEST(idle_heap_is_the_next_threads_with_its_pages) { IN_CHILD(taken_over()); }

static void *look_at_new_heap(void *unused)
{
    const struct local_heap *main = thread_ready(thread_heap())->main;
    EXPECT(main == ended && main->main == main);
    EXPECT(main->heartbeat == 0 && main->ring.chains == 0 && main->ring.chain_blocks == 0);
    EXPECT(main->claims == 0 && main->free_turns == 0 && !main->is_in_hook);
    EXPECT(main->backing.state == HEAP_BACKING && main->backing.local == main);
    EXPECT_EQ(atomic_load(&main->is_used), 1);
    EXPECT_EQ(atomic_load(&main->collect_asked), 0);
    expect_rules(main);
    return unused;
}

static void begins_anew(void)
{
    start();
    run_short_thread(LONG);
    EXPECT(ended->heartbeat > 0);
    atomic_store(&ended->collect_asked, 2);
    ended->ring.chains = ended->ring.chain_blocks = 3;
    ended->claims = ended->free_turns = 3;
    ended->is_in_hook = HOOKS_NEVER;
    run_thread(look_at_new_heap, NULL);
}

TEST(idle_heap_counts_anew_for_its_next_thread) { IN_CHILD(begins_anew()); }

// Both of a page that was its own, and of a shared one.
static void ends_before_a_page_is_made(size_t bytes)
{
    start();
    run_short_thread(bytes);
    int64_t pages = level_now(STAT_pages);
    (void)mi_malloc(bytes);
    EXPECT_EQ(level_now(STAT_pages), pages);
    if (!class_is_shared(class_of_request(bytes))) expect_idle(0);
}

static void ends_for_another_class(void)
{
    start();
    run_short_thread(SMALL);
    int64_t pages = level_now(STAT_pages);
    (void)mi_malloc(LONG);
    expect_idle(0);
    EXPECT_EQ(level_now(STAT_pages), pages + 1);
}

TEST(idle_heap_is_ended_before_another_thread_makes_a_page)
{
    IN_CHILD(ends_before_a_page_is_made(SMALL));
    IN_CHILD(ends_before_a_page_is_made(LONG));
    IN_CHILD(ends_for_another_class());
}

static void reviewed(void)
{
    start();
    run_short_thread(SMALL);
    idle_review(NOW_MS + IDLE_MS - 1);
    expect_idle(1);
    idle_review(NOW_MS + IDLE_MS);
    expect_idle(0);
    idle_review(NOW_MS + IDLE_MS);
    expect_idle(0);
}

TEST(idle_review_ends_what_has_waited_for_long) { IN_CHILD(reviewed()); }

static void reviewed_by_malloc(void)
{
    start();
    for (unsigned i = 0; i < COUNT; i++) (void)mi_malloc(LONG); // no page is made below
    run_short_thread(SMALL);
    fake_prim_set_clock_ms(NOW_MS + IDLE_MS);
    for (unsigned i = 0; idle_has_any() && i < 100000; i++)
        ignore_result(thread_housekeep(thread_heap()));
    expect_idle(0);
}

TEST(idle_heap_is_ended_by_some_slow_path_of_malloc) { IN_CHILD(reviewed_by_malloc()); }

static void collected(void)
{
    start();
    run_short_thread(SMALL);
    for (unsigned i = 1; i < COUNT; i += 2) mi_free(blocks[i]);
    mi_collect(false);
    expect_idle(1);
    mi_collect(true);
    expect_idle(0);
    expect_nothing_left();
}

TEST(idle_heaps_are_ended_by_collect) { IN_CHILD(collected()); }

static void wanted_back(void)
{
    start();
    run_short_thread(SMALL);
    options_set(OPTION_memory_limit, 1);
    idle_review(NOW_MS);
    expect_idle(0);
    run_short_thread(SMALL);
    EXPECT(!idle_has_any());
}

TEST(idle_heaps_are_none_while_the_user_wants_memory_back) { IN_CHILD(wanted_back()); }

static void *work_for_long(void *bytes)
{
    struct local_heap *main = thread_ready(thread_heap())->main;
    main->heartbeat = IDLE_SLOW_PATHS;
    return work(bytes);
}

static void leaves_none(void *(*run)(void *bytes))
{
    size_t bytes = SMALL;
    start();
    run_thread(run, &bytes);
    expect_idle(0);
}

TEST(idle_heaps_are_none_of_threads_that_did_much) { IN_CHILD(leaves_none(work_for_long)); }

static void *cache_much(void *unused)
{
    enum { BLOCKS = 300 };
    void *own[BLOCKS];
    stats_add(STAT_page_bytes, INT64_C(1) << 32); // a large heap
    for (unsigned i = 0; i < BLOCKS; i++) own[i] = mi_malloc(LONG);
    struct local_heap *main = thread_heap()->main;
    for (unsigned i = 0; i < BLOCKS; i++) {
        main->cache.limit = CACHE_MOST_BYTES;
        mi_free(own[i]);
    }
    EXPECT(cache_bytes(&main->cache, main->list) >= cached_bytes(main));
    EXPECT(cached_bytes(main) > IDLE_CACHE_BYTES);
    return unused;
}

TEST(idle_heaps_are_none_with_much_in_the_cache) { IN_CHILD(leaves_none(cache_much)); }

// What a bin held may have become a list.
static void lists_count(void)
{
    struct local_heap *main = start();
    size_t bytes = CFG_OWNED_BYTES + 1, size_class = class_of_request(bytes);
    if (size_class >= CLASS_BINNED_FIRST) return;
    for (unsigned i = 0; i < COUNT; i++) blocks[i] = mi_malloc(bytes);
    thread_collect(thread_heap(), true);
    for (unsigned i = 0; i < COUNT; i++) mi_free(blocks[i]);
    size_t before = cache_bytes(&main->cache, main->list);
    EXPECT_EQ(before, COUNT * class_block_bytes(size_class));
    (void)mi_malloc(bytes);
    EXPECT(main->list[size_class] != NULL && cache_bytes(&main->cache, main->list) == before);
    while (main->list[size_class] != NULL) (void)mi_malloc(bytes);
    EXPECT_EQ(cache_bytes(&main->cache, main->list), 0);
}

TEST(idle_heap_counts_what_is_on_loaded_lists) { IN_CHILD(lists_count()); }

static void *done(void *bytes)
{
    (void)work(bytes);
    mi_thread_done();
    EXPECT(!idle_has_any());
    return NULL;
}

TEST(idle_heaps_are_none_of_threads_that_said_so) { IN_CHILD(leaves_none(done)); }

enum { MANY = 5000 };
static void *many[MANY];
static void *allocate_many(void *unused)
{
    for (unsigned i = 0; i < MANY; i++) many[i] = mi_malloc(SMALL);
    return unused;
}

static void freed_by_others(void)
{
    start();
    run_thread(allocate_many, NULL);
    fake_prim_set_clock_ms(NOW_MS + IDLE_MS);
    EXPECT(idle_has_any());
    for (unsigned i = 0; i < MANY; i++) mi_free(many[i]);
    expect_idle(0);
}

TEST(idle_heap_is_ended_by_some_slow_path_of_free) { IN_CHILD(freed_by_others()); }

// Else only every other one would look whether it is time to purge.
static void one_turn(void)
{
    struct local_heap *main = start();
    unsigned count = 0;
    do many[count++] = mi_malloc(2 * SMALL); // until no block is on the list
    while (main->list[class_of_request(2 * SMALL)] != NULL);
    run_short_thread(SMALL);
    unsigned before = main->free_turns;
    while (count > 1) mi_free(many[--count]);
    EXPECT_EQ(main->free_turns, before);
    mi_free(many[0]); // the last one of its page
    EXPECT_EQ(main->free_turns, before + 1);
    expect_idle(1);
}

TEST(idle_heap_costs_a_free_that_empties_a_page_no_second_turn) { IN_CHILD(one_turn()); }

static pthread_key_t late_key;
static void allocate_late(void *block)
{
    EXPECT(thread_heap() == &thread_ended_heap);
    for (unsigned i = 0; i < COUNT; i++) mi_free(mi_malloc(SMALL));
    mi_free(block);
    struct local_heap *own = idle_take(); // NULL: ended, for its page
    EXPECT(own == NULL || (own == ended && atomic_load(&own->is_used) == 0));
    if (own != NULL) idle_put(own);
}

static void *set_late(void *unused)
{
    pthread_setspecific(late_key, mi_malloc(SMALL));
    ended = thread_heap()->main;
    return unused;
}

static void late(void)
{
    start();
    pthread_key_create(&late_key, allocate_late);
    for (unsigned i = 0; i < 5; i++) run_thread(set_late, NULL);
    EXPECT_EQ(level_now(STAT_threads), 1);
    EXPECT_TEXT(idle_broken_rule(), NULL);
}

TEST(idle_heap_is_not_lent_to_a_thread_that_has_ended) { IN_CHILD(late()); }

// The current page is full, and parked when the heap is ended: its last thread's tally counts that.
static void *fill_page(void *unused)
{
    struct page *page = page_of(mi_malloc(SMALL));
    for (unsigned i = 1; i < page->reserved; i++) (void)mi_malloc(SMALL);
    EXPECT(!page_has_room(page));
    return unused;
}

static void tallied(void)
{
    start();
    run_thread(fill_page, NULL);
    expect_idle(1);
    int64_t parked = level_now(STAT_pages_parked);
    EXPECT(idle_end_one());
    EXPECT_EQ(level_now(STAT_pages_parked), parked + 1);
}

TEST(idle_heap_that_ends_counts_what_it_parks) { IN_CHILD(tallied()); }

static void *keep_empty_page(void *unused)
{
    void *block = mi_malloc(SMALL);
    thread_collect(thread_heap(), true);
    mi_free(block); // into a page that is queued then
    ended = thread_heap()->main;
    EXPECT(ended->kept_bytes > 0 && ended->own[class_of_request(SMALL)].queue != NULL);
    return unused;
}

static void keeps_nothing(void)
{
    start();
    run_thread(keep_empty_page, NULL);
    EXPECT_EQ(ended->kept_bytes, 0);
    expect_idle(1);
}

TEST(idle_heap_has_no_empty_page_that_waited_in_a_queue) { IN_CHILD(keeps_nothing()); }

// What others free into a page of an idle heap is there for its next thread.
static void *take_again(void *unused)
{
    for (unsigned i = 0; i < COUNT; i++) {
        void *block = mi_malloc(SMALL);
        EXPECT(page_of(block) == page_of(blocks[1]));
    }
    expect_rules(thread_heap()->main);
    return unused;
}

static void freed_meanwhile(void)
{
    start();
    run_thread(fill_page, NULL);
    idle_end_all();
    run_short_thread(SMALL);
    for (unsigned i = 1; i < COUNT; i += 2) mi_free(blocks[i]);
    ring_flush(&thread_heap()->main->ring);
    EXPECT_TEXT(idle_broken_rule(), NULL);
    run_thread(take_again, NULL);
    expect_idle(1);
}

TEST(idle_heap_takes_what_others_free_into_its_pages) { IN_CHILD(freed_meanwhile()); }

// All that such a thread does is to free: others' blocks, until it gets the heap, and what the
// heap's last thread has left in use.
static void *free_first(void *unused)
{
    for (int i = 0; i < THREAD_FEW_FREES; i++) mi_free(few_blocks[i]);
    EXPECT(!thread_is_ready(thread_heap()));
    struct page *page = page_of(blocks[1]);
    uint32_t out = page->out;
    mi_free(blocks[1]);
    struct local_heap *main = thread_heap()->main;
    EXPECT(main == ended && page == main->own[class_of_request(SMALL)].current);
    EXPECT_EQ(page->out, out - 1);
    EXPECT(!ring_has(&main->ring, page));
    expect_rules(main); // H4
    for (unsigned i = 3; i < COUNT; i += 2) mi_free(blocks[i]);
    expect_rules(main);
    return unused;
}

static void freed_by_next_thread(bool is_interior)
{
    size_t bytes = SMALL;
    start();
    allocate_few(&bytes);
    run_short_thread(SMALL);
    if (is_interior) page_mark_interior(page_of(blocks[1]));
    run_thread(free_first, NULL);
    expect_idle(1);
}

TEST(idle_heap_takes_back_what_its_next_threads_first_call_frees)
{
    IN_CHILD(freed_by_next_thread(false));
    IN_CHILD(freed_by_next_thread(true));
}

static void forked(void)
{
    start();
    run_short_thread(SMALL);
    EXPECT_EQ(fork_watch(), 0);
    if (test_fork()) {
        mi_free(mi_malloc(1000000)); // a slow path
        EXPECT_TEXT(idle_broken_rule(), NULL);
        EXPECT(idle_has_any() && idle_take() == ended && !idle_has_any());
        EXPECT_EQ(atomic_load(&ended->is_used), 0);
        test_child_end();
    }
    test_expect_stderr(__FILE__, __LINE__, "");
}

TEST(idle_heaps_are_there_in_the_child_of_a_fork) { IN_CHILD(forked()); }

static pthread_barrier_t all_there;
static void *wait_for_all(void *unused)
{
    (void)mi_malloc(SMALL);
    pthread_barrier_wait(&all_there);
    return unused;
}

static void too_many(void)
{
    enum { THREADS = IDLE_SLOTS + 5 };
    start();
    pthread_barrier_init(&all_there, NULL, THREADS);
    run_threads(THREADS, wait_for_all);
    expect_idle(IDLE_SLOTS);
    EXPECT_EQ(level_now(STAT_threads), 1);
}

TEST(idle_heaps_are_so_many_at_most) { IN_CHILD(too_many()); }

static void *exchange(void *number)
{
    uint64_t random = test_seed() + (uintptr_t)number;
    for (unsigned i = 0; i < 2000; i++) {
        void *block = mi_malloc(test_random(&random) % 2000);
        if (i % 3 != 0) mi_free(block);
        if (test_random(&random) % 8 == 0) {
            struct local_heap *main = idle_take();
            if (main != NULL) idle_put(main);
        }
        if (test_random(&random) % 64 == 0) (void)idle_end_one();
        idle_review(test_random(&random) % 2 == 0 ? NOW_MS : NOW_MS + IDLE_MS);
    }
    return NULL;
}

static void many_at_it(void)
{
    struct local_heap *main = start();
    run_threads(4, exchange);
    EXPECT_TEXT(idle_broken_rule(), NULL);
    idle_end_all();
    EXPECT(!idle_has_any()); // nothing was counted twice, or not
    EXPECT_EQ(level_now(STAT_threads), 1);
    expect_rules(main);
}

TEST(idle_heaps_change_hands_among_many_threads) { IN_CHILD(many_at_it()); }

// --- the rules, broken on purpose ----------------------------------------------------------------

static void expect_broken(const char *rule)
{
    EXPECT_TEXT(idle_broken_rule(), rule);
    _exit(0);
}

static void in_two_slots(void)
{
    start();
    run_short_thread(SMALL);
    idle_put(ended);
    expect_broken("I1: an idle heap is in two slots");
}

static void in_use(void)
{
    start();
    run_short_thread(SMALL);
    atomic_store(&ended->is_used, 1);
    expect_broken("I1: some thread uses an idle heap");
}

static void with_ring(void)
{
    start();
    run_short_thread(SMALL);
    ended->ring.bytes = SMALL;
    expect_broken("I2: an idle heap has a ring or parts");
}

static void with_queue(void)
{
    start();
    run_short_thread(SMALL);
    size_t size_class = class_of_request(SMALL);
    ended->own[size_class].queue = ended->own[size_class].current;
    expect_broken("I2: an idle heap has queued pages");
}

static void torn(void)
{
    start();
    run_short_thread(SMALL);
    ended->kept_bytes++;
    expect_broken("H5: the empty pages are not what is counted");
}

TEST(idle_I1_notices_a_heap_in_two_slots) { IN_CHILD(in_two_slots()); }
TEST(idle_I1_notices_a_heap_that_is_in_use) { IN_CHILD(in_use()); }
TEST(idle_I1_notices_a_heap_whose_rules_are_broken) { IN_CHILD(torn()); }
TEST(idle_I2_notices_a_ring) { IN_CHILD(with_ring()); }
TEST(idle_I2_notices_a_queue) { IN_CHILD(with_queue()); }
