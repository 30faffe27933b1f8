/* check.h: our own mistakes. They stop a debug build at once and cost nothing in a release build.
 *
 *   check(c)         O(1); what the code around it guarantees
 *   check_rules(r)   r is a call of some `..._broken_rule`, which walks data; NULL means all rules
 *                    hold
 *
 * A user's mistakes are not checks: they go to the error report (core/report.h) in every build.
 */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H
#include "base/config.h"
#include "base/compiler.h"
#include <stddef.h>

// Writes "mimalloc: <file>:<line>: <text>" to stderr and aborts.
INTERNAL __attribute__((noreturn)) cold void check_failed(const char *file, int line,
                                                          const char *text);

#define check(condition) \
    do { \
        if (CFG_DEBUG >= 1 && !(condition)) check_failed(__FILE__, __LINE__, #condition); \
    } while (0)

#define check_rules(call) \
    do { \
        if (CFG_DEBUG >= 2) { \
            const char *broken = (call); \
            if (broken != NULL) check_failed(__FILE__, __LINE__, broken); \
        } \
    } while (0)

#endif
