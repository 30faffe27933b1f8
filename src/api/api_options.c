// The options API, over the table in core/options.h.
#include "base/base.h"
#include "core/options.h"
#include "mimalloc.h"
#include "api/api_report.h"

#define X(name, value, unit, old_name) \
    static_assert((int)mi_option_##name == (int)OPTION_##name, "mi_option_t is in this order");
OPTIONS_LIST(X)
#undef X
static_assert((int)_mi_option_last == (int)OPTION_COUNT, "mi_option_t names every option");

static bool option_is_valid(mi_option_t option)
{
    return (int)option >= 0 && (int)option < (int)OPTION_COUNT;
}

long mi_option_get(mi_option_t option)
{
    if (!option_is_valid(option)) return 0;
    options_init();
    return options_get((enum option)option);
}

long mi_option_get_clamp(mi_option_t option, long min, long max)
{
    long value = mi_option_get(option);
    if (value < min) return min;
    return value > max ? max : value;
}

size_t mi_option_get_size(mi_option_t option)
{
    if (!option_is_valid(option)) return 0;
    options_init();
    return options_get_bytes((enum option)option);
}

void mi_option_set(mi_option_t option, long value)
{
    if (!option_is_valid(option)) return;
    options_init();
    options_set((enum option)option, value);
    report_keep_error();
}

void mi_option_set_default(mi_option_t option, long value)
{
    if (!option_is_valid(option)) return;
    options_init();
    options_set_default((enum option)option, value);
    report_keep_error();
}

bool mi_option_is_enabled(mi_option_t option) { return mi_option_get(option) != 0; }
void mi_option_enable(mi_option_t option) { mi_option_set(option, 1); }
void mi_option_disable(mi_option_t option) { mi_option_set(option, 0); }
void mi_option_set_enabled(mi_option_t option, bool enable)
{
    mi_option_set(option, enable ? 1 : 0);
}

void mi_option_set_enabled_default(mi_option_t option, bool enable)
{
    mi_option_set_default(option, enable ? 1 : 0);
}

void mi_options_print(void)
{
    options_init();
    options_print();
}
