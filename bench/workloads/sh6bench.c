/* sh6bench.c: shbench.h where each thread keeps to its own blocks; what it models, differs in and
 * counts is said there.
 */
#include "shbench.h"

static void sh_keep(struct sh_table *table) { (void)table; }

int main(int argc, char **argv)
{
    bench_start(argc, argv, "sh6bench", 2);
    return bench_finish(sh_run_threads());
}
