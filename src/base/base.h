/* base.h: what every file may use: the compiler, the configuration, bits, atomics, checks. */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/config.h"
#include "base/compiler.h"
#include "base/bits.h"
#include "base/atomic.h"
#include "base/check.h"

#ifndef __cplusplus
#define static_assert _Static_assert
#endif

#endif
