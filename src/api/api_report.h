/* api_report.h: what the process's end asks of the statistics. */
#ifndef API_API_REPORT_H
#define API_API_REPORT_H
#include "base/base.h"

// Prints statistics where MIMALLOC_SHOW_STATS or MIMALLOC_SHOW_STATS_JSON asks for them.
INTERNAL void report_statistics_at_exit(void);

#endif
