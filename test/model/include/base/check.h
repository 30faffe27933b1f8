/* check.h: stands in for src/base/check.h in the model check: all checks are on, whatever the
 * build, and end the schedule that is being tried. */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H
#include <stddef.h>
#include "model.h"

#define check(condition) \
    do { \
        if (!(condition)) model_fail(#condition); \
    } while (0)

#define check_rules(call) \
    do { \
        const char *broken_rule = (call); \
        if (broken_rule != NULL) model_fail(broken_rule); \
    } while (0)

#endif
