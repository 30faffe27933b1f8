/* idle_threads.c: detached threads that allocate nothing, of stacks that the C library does not
 * keep (glibc keeps 40 MiB): a thread that ends frees what belongs to the stacks of those before
 * it, when all destructors have run. The statistics at the exit tell whether it left a heap.
 */
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>

enum { THREADS = 40, STACK_BYTES = 16 << 20 };
static pthread_barrier_t all_run;
static _Atomic int running = THREADS;

static void *compute(void *unused)
{
    (void)unused;
    pthread_barrier_wait(&all_run);
    running--;
    return NULL;
}

static void *do_nothing(void *unused) { return unused; }

int main(void)
{
    pthread_attr_t attributes;
    pthread_t last;
    pthread_barrier_init(&all_run, NULL, THREADS);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread;
        if (pthread_create(&thread, &attributes, compute, NULL) != 0) abort();
    }
    // until all are done, and a while for those that are still on their way out
    for (int after = 0; after < 100; after += running == 0) {
        if (pthread_create(&last, NULL, do_nothing, NULL) != 0) abort();
        pthread_join(last, NULL);
    }
    return 0;
}
