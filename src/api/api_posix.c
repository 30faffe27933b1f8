// The allocation functions of POSIX, BSD, glibc, macOS and Windows, and the sized forms of free.
#include <errno.h>
#include "alloc/free.h"
#include "base/base.h"
#include "core/report.h"
#include "mimalloc.h"
#include "os/os.h"

size_t mi_malloc_size(const void *p) { return mi_usable_size(p); }
size_t mi_malloc_usable_size(const void *p) { return mi_usable_size(p); }
size_t mi_malloc_good_size(size_t size) { return mi_good_size(size); }

void mi_cfree(void *p)
{
    if (mi_is_in_heap_region(p)) mi_free(p);
}

void *mi__expand(void *p, size_t newsize)
{
    void *block = mi_expand(p, newsize);
    if (block == NULL) errno = ENOMEM;
    return block;
}

static void *posix_invalid_alignment(void)
{
    errno = EINVAL;
    return NULL;
}

int mi_posix_memalign(void **p, size_t alignment, size_t size)
{
    if (p == NULL || !bits_is_power_of_two(alignment) || alignment < sizeof(void *)) return EINVAL;
    int error = errno;
    void *block = mi_malloc_aligned(size, alignment);
    errno = error;
    if (block == NULL) return ENOMEM;
    *p = block;
    return 0;
}

void *mi_memalign(size_t alignment, size_t size)
{
    if (unlikely(!bits_is_power_of_two(alignment))) {
        if (alignment > SIZE_MAX / 2 + 1) return posix_invalid_alignment();
        alignment = alignment == 0 ? 1 : (size_t)1 << (bits_highest(alignment) + 1);
    }
    return mi_malloc_aligned(size, alignment);
}

void *mi_aligned_alloc(size_t alignment, size_t size)
{
    if (unlikely(!bits_is_power_of_two(alignment))) return posix_invalid_alignment();
    return mi_malloc_aligned(size, alignment);
}

// The OS page is known once the process has started, and this may be its first call.
static size_t posix_page_bytes(void)
{
    mi_process_init();
    return os_page_bytes();
}

void *mi_valloc(size_t size) { return mi_malloc_aligned(size, posix_page_bytes()); }

void *mi_pvalloc(size_t size)
{
    size_t page_bytes = posix_page_bytes();
    if (unlikely(size > SIZE_MAX - page_bytes)) return report_no_memory(size, true);
    return mi_malloc_aligned(bits_align_up(size, page_bytes), page_bytes);
}

void *mi_reallocarray(void *p, size_t count, size_t size) { return mi_reallocn(p, count, size); }

void *mi_aligned_recalloc(void *p, size_t newcount, size_t size, size_t alignment)
{
    return mi_recalloc_aligned(p, newcount, size, alignment);
}

void *mi_aligned_offset_recalloc(void *p, size_t newcount, size_t size, size_t alignment,
                                 size_t offset)
{
    return mi_recalloc_aligned_at(p, newcount, size, alignment, offset);
}

// Where blocks carry padding their exact size is known; else it may be anything that fits. false:
// it is wrong, or the pointer is, and that was reported.
static bool posix_size_may_be(const void *p, size_t size)
{
    if (p == NULL || likely(free_size_fits_near(p, size))) return true;
    struct free_place place;
    if (!free_find(p, "free_size", &place)) return false;
    size_t usable = free_usable_bytes(&place, p);
    if (CFG_PADDING ? size == usable : size <= usable) return true;
    report_fault(FAULT_SIZE, "free_size", p, usable);
    return false;
}

static bool posix_alignment_is_wrong(const void *p, size_t alignment)
{
    if (p == NULL) return false; // freeing it does nothing, whatever else is said
    return !bits_is_power_of_two(alignment) || !bits_is_aligned(p, alignment);
}

void mi_free_size(void *p, size_t size)
{
    if (!CFG_STATES || posix_size_may_be(p, size)) mi_free(p);
}

void mi_free_aligned(void *p, size_t alignment)
{
    if (CFG_STATES && posix_alignment_is_wrong(p, alignment)) {
        report_fault(FAULT_SIZE, "free_aligned", p, 0);
        return;
    }
    mi_free(p);
}

void mi_free_size_aligned(void *p, size_t size, size_t alignment)
{
    if (CFG_STATES && posix_alignment_is_wrong(p, alignment)) {
        report_fault(FAULT_SIZE, "free_size_aligned", p, 0);
        return;
    }
    mi_free_size(p, size);
}
