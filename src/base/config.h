/* config.h: every build option as a number that is always defined.
 *
 * The build system defines MI_DEBUG, MI_SECURE and so on; everything else tests these constants
 * with a plain `if`, so that each branch compiles in each build and none can rot.
 */
#ifndef BASE_CONFIG_H
#define BASE_CONFIG_H

#ifndef MI_DEBUG
#define MI_DEBUG 0
#endif
#ifndef MI_SECURE
#define MI_SECURE 0
#endif
#ifndef MI_OVERRIDE
#define MI_OVERRIDE 0
#endif
#ifndef MI_STATIC_OBJECT // 1: an object to link into programs: mimalloc-override.o, the archive
#define MI_STATIC_OBJECT 0
#endif
#ifndef MI_LOCAL_DYNAMIC_TLS
#define MI_LOCAL_DYNAMIC_TLS 0
#endif
#ifndef MI_SHORT_LIST // a test in which all lists are short has 0
#define MI_SHORT_LIST 8
#endif

#ifndef MI_OWNED_BYTES // 256 or 1024; both work in every build
#define MI_OWNED_BYTES (MI_DEBUG > 0 || MI_SECURE > 0 ? 1024 : 256)
#endif

enum {
    // 0 release; 1 fills, padding, cheap checks; 2 walks every structure too
    CFG_DEBUG      = MI_DEBUG,
    CFG_SECURE     = MI_SECURE, // 0 normal; 1 guards, encoded links, random order, block states
    CFG_OVERRIDE   = MI_OVERRIDE, // malloc and its kin are these functions
    CFG_LATE_TLS   = MI_LOCAL_DYNAMIC_TLS, // the thread pointer is reached through __tls_get_addr
    CFG_STATES     = (MI_DEBUG > 0 || MI_SECURE > 0), // the state of each block, out of line
    CFG_PADDING    = (MI_DEBUG > 0),                  // a canary after each block's requested bytes
    CFG_STAT_BLOCKS = (MI_DEBUG > 0),                 // count each block per class
    // a walk over so many free blocks costs less than another slow path of malloc
    CFG_SHORT_LIST = MI_SHORT_LIST,
    // The largest blocks of pages that one thread owns. In builds with states it costs more to take
    // blocks of any page (doc/decisions.md 38).
    CFG_OWNED_BYTES = MI_OWNED_BYTES
};

#endif
