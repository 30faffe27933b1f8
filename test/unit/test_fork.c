#include <sys/wait.h>
#include "os/fork.h"
#include "unit_test.h"

static void start(void)
{
    fake_prim_reset();
    os_init();
}

static void one_child(void)
{
    start();
    EXPECT(!fork_is_watched() && !fork_is_fresh() && !fork_take());
    EXPECT(fork_watch() == 0 && fork_watch() == 0 && fork_is_watched());
    EXPECT_EQ(fake_prim_count(FAKE_PRIM_map), 1);
    EXPECT(!fork_is_fresh() && !fork_take());
    if (test_fork()) {
        EXPECT(fork_is_fresh());
        EXPECT(fork_take() && !fork_take()); // once
        EXPECT(fork_is_fresh());             // until all is mended
        fork_settle();
        EXPECT(!fork_is_fresh() && !fork_take() && fork_is_watched());
        test_child_end();
    }
    test_expect_stderr(__FILE__, __LINE__, "");
    EXPECT(!fork_is_fresh() && !fork_take()); // the parent is none
}

TEST(fork_child_is_fresh_until_one_thread_has_settled_it) { IN_CHILD(one_child()); }

static void grandchild(void)
{
    start();
    EXPECT_EQ(fork_watch(), 0);
    if (test_fork()) {
        EXPECT(fork_take());
        if (test_fork()) { // in the middle of it
            EXPECT(fork_is_fresh() && fork_take());
            test_child_end();
        }
        test_expect_stderr(__FILE__, __LINE__, "");
        test_child_end();
    }
    test_expect_stderr(__FILE__, __LINE__, "");
}

TEST(fork_child_of_a_fresh_child_is_recognised_too) { IN_CHILD(grandchild()); }

static void refused(enum fake_prim_call call)
{
    start();
    size_t before = fake_prim_mapped_bytes();
    fake_prim_fail_once(call, 1, EINVAL);
    EXPECT_EQ(fork_watch(), call == FAKE_PRIM_map ? ENOMEM : EINVAL);
    EXPECT(!fork_is_watched() && !fork_take());
    EXPECT_EQ(fake_prim_mapped_bytes(), before);
    EXPECT_EQ(fork_watch(), 0); // it may be tried again
}

TEST(fork_is_not_watched_where_the_system_cannot)
{
    IN_CHILD(refused(FAKE_PRIM_map));
    IN_CHILD(refused(FAKE_PRIM_wipe_on_fork));
}
