/* cache_scratch.c: cache_lines.h for passive false sharing; what it models, differs in and counts
 * is said there.
 */
#include "cache_lines.h"

int main(int argc, char **argv) { return lines_main(argc, argv, "cache-scratch", true); }
