/* api_json.h: the statistics as one JSON object, for programs to read.
 *
 * Names are those of core/stats.h. Where later versions of the interface have another name for the
 * same number it is there under that name as well. A level has "total" (all that was ever added),
 * "peak" and "current".
 */
#ifndef API_API_JSON_H
#define API_API_JSON_H
#include "api/api_lines.h"
#include "api/api_stats.h"

INTERNAL void json_write_statistics(struct lines *lines, const struct stats_numbers *numbers);

#endif
