/* fork.h: how the child of a fork is recognised: by a word in memory that the system wipes there.
 *
 *               fork_watch              a fork, in the child           fork_take
 *   no word ------------------> WATCHED --------------------> 0 (wiped) ---------> TAKEN
 *                                  ^                                                 |
 *                                  `-------------------- fork_settle ----------------'
 *
 * It costs an OS page, so it is made when there is something to tell a child: from the second
 * thread that calls us on, before a helper starts (purger.h), and now and then on slow paths where
 * the C library knows of a second thread. Works for every kind of fork, with handlers and
 * without; where the system has no such memory, no child is recognised.
 */
#ifndef OS_FORK_H
#define OS_FORK_H
#include "base/base.h"

enum { FORK_PATIENCE_MS = 100 };

// From now on children can be recognised. 0, or ENOMEM, or the error of a system that cannot do it.
INTERNAL must_use int fork_watch(void);
INTERNAL bool fork_is_watched(void);
// In a child that nobody has recognised yet, or whose state is still being mended.
INTERNAL bool fork_is_fresh(void);
// true for one thread, once, in a child; it calls fork_settle when the state is mended. Others that
// come before that wait for it, but no longer than FORK_PATIENCE_MS: a signal may have led this
// very thread here.
INTERNAL bool fork_take(void);
INTERNAL void fork_settle(void);

#endif
