/* cache_thrash.c: cache_lines.h for active false sharing; what it models, differs in and counts
 * is said there.
 */
#include "cache_lines.h"

int main(int argc, char **argv) { return lines_main(argc, argv, "cache-thrash", false); }
