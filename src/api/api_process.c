// Start and end of process and threads, collecting, and memory reserved on request.
#include <errno.h>
#include "alloc/alloc.h"
#include "base/text.h"
#include "core/options.h"
#include "core/report.h"
#include "core/stats.h"
#include "heap/walk.h"
#include "os/os.h"
#include "page/retire.h"
#include "region/purger.h"
#include "api/api_report.h"

static const size_t api_gib = (size_t)1 << 30;

static void api_reserve_on_request(void)
{
    size_t bytes = options_get_bytes(OPTION_reserve_os_memory);
    if (bytes != 0 && !arena_reserve(bytes))
        report_warning("cannot reserve what reserve_os_memory asks for", NULL);
    long pages = options_get(OPTION_reserve_huge_os_pages);
    if (pages > 0) (void)mi_reserve_huge_os_pages((size_t)pages, 0.5 * (double)pages, NULL);
    arena_end_reservations();
}

void mi_process_init(void) { thread_start_process(); }

void mi_thread_init(void)
{
    // an ended thread has no heap that lasts
    if (thread_heap() != &thread_ended_heap) (void)thread_ready(thread_heap());
}

void mi_thread_done(void) { thread_done(); }
bool mi_is_redirected(void) { return false; } // only Windows redirects

void mi_collect(bool force)
{
    thread_collect(thread_heap(), force);
    if (force) retire_give_back_holes();
    const struct local_heap *main = thread_heap()->main; // NULL: the thread has none
    check_rules(main == NULL ? NULL : walk_broken_rule(main));
}

// Huge pages are taken one by one, until one is refused or the time is up.
cold int mi_reserve_huge_os_pages(size_t pages, double max_secs, size_t *pages_reserved)
{
    thread_start_process();
    uint64_t start_ms = prim_clock_ms();
    size_t have = 0;
    long node = options_get(OPTION_reserve_huge_os_pages_at);
    int error = 0;
    while (have < pages && error == 0) {
        if (max_secs > 0 && (double)(prim_clock_ms() - start_ms) > max_secs * 1000.0) {
            error = ETIMEDOUT;
            break;
        }
        if (arena_add_large(api_gib, api_gib, (int)node)) have++;
        else error = ENOMEM;
    }
    if (error != 0)
        report_verbose("huge OS pages were refused or took too long; going on without", NULL);
    if (pages_reserved != NULL) *pages_reserved = have;
    return error;
}

// MIMALLOC_VERBOSE=1 says what was chosen.
static void api_say_choices(void)
{
    char buffer[32];
    struct text text;
    if (!options_is_on(OPTION_verbose)) return;
    options_print();
    text_init(&text, buffer, sizeof(buffer));
    text_add_unsigned(&text, arena_main.capacity >> (30 - SLICE_SHIFT));
    text_add(&text, " GiB");
    report_verbose("address window: ", buffer);
    text_init(&text, buffer, sizeof(buffer));
    text_add_unsigned(&text, os_page_bytes());
    report_verbose("bytes in an OS page: ", buffer);
    report_verbose("build: ", CFG_DEBUG >= 1 ? "debug" : CFG_SECURE ? "secure" : "release");
}

run_at_start static void api_at_start(void)
{
    thread_start_process();
    options_init(); // the environment may not have been there at the first allocation
    report_keep_error();
    api_say_choices();
    api_reserve_on_request();
}

// Where malloc is ours the C library goes on using blocks after the last destructor: it writes what
// is left in the buffers of streams, and has lists of the libraries that were loaded.
static void api_unmap_on_request(void)
{
    if (!options_is_on(OPTION_destroy_on_exit)) return;
    if (CFG_OVERRIDE) {
        report_always("destroy_on_exit has no effect where malloc is replaced: the C library uses "
                      "its blocks to the very end", NULL);
    } else {
        arena_unmap_all();
    }
}

run_at_exit static void api_at_exit(void)
{
    report_statistics_at_exit();
    thread_end_process();
    purger_end(); // this code may be unmapped next
    report_if_left();
    api_unmap_on_request();
}
