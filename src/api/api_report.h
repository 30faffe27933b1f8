/* api_report.h: the statistics that are printed when the process ends. */
#ifndef API_API_REPORT_H
#define API_API_REPORT_H
#include "base/base.h"

// Prints statistics where MIMALLOC_SHOW_STATS or MIMALLOC_SHOW_STATS_JSON asks for them.
INTERNAL void report_statistics_at_exit(void);
// Where they have just been asked for: a program that closes stderr before its end gets them too.
INTERNAL void report_keep_error(void);

#endif
