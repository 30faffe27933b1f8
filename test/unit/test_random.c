#include "core/random.h"
#include "core/hooks.h"
#include "core/options.h"
#include "core/report.h"
#include "../support/fake_prim.h"
#include "../support/test.h"
#include <errno.h>

TEST(random_generators_differ_from_each_other)
{
    struct chacha a, b;
    random_init(&a);
    random_init(&b);
    EXPECT(chacha_next64(&a) != chacha_next64(&b));
    EXPECT(a.state[14] != b.state[14]); // told apart by the counter even if the seeds were the same
}

TEST(random_without_the_os_still_gives_generators_that_differ_and_says_so_when_asked)
{
    struct chacha a, b;
    fake_prim_reset();
    fake_prim_catch_errors();
    fake_prim_fail_from(FAKE_PRIM_random, 1, EIO);
    random_init(&a);
    EXPECT_TEXT(fake_prim_caught(), "");
    options_set(OPTION_verbose, 1);
    random_init(&b);
    EXPECT_TEXT(fake_prim_caught(), ""); // this may be in the midst of malloc
    report_if_text_waits();
    EXPECT_TEXT(fake_prim_caught(),
                "mimalloc: the system gives no random numbers: seeded from clock and addresses\n");
    EXPECT(chacha_next64(&a) != chacha_next64(&b));
    options_set(OPTION_verbose, 0);
    fake_prim_reset();
}
