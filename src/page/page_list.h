/* page_list.h: pages in a row. A list begins with the page that came first; its `prev` is the one
 * that came last. Owner only.
 */
#ifndef PAGE_PAGE_LIST_H
#define PAGE_PAGE_LIST_H
#include "page/page.h"

// At the end.
static inline void page_list_add(struct page **first, struct page *page)
{
    struct page *last = *first == NULL ? page : (*first)->prev;
    if (*first == NULL) *first = page;
    else last->next = page;
    (*first)->prev = page;
    page->prev = last;
    page->next = NULL;
}

static inline void page_list_remove(struct page **first, struct page *page)
{
    if (page == *first) *first = page->next;
    else page->prev->next = page->next;
    if (page->next != NULL) page->next->prev = page->prev;
    else if (*first != NULL) (*first)->prev = page->prev;
    page->next = page->prev = NULL;
}

// For walks from `first` on: the page is linked with the one before (NULL: it is the first). A walk
// whose every step is comes to an end, whatever it meets.
static inline bool page_list_is_linked(const struct page *first, const struct page *page,
                                       const struct page *before)
{
    if (!page_is_descriptor(page) || (page == first) != (before == NULL)) return false;
    return (before == NULL || page->prev == before) && (page->next != NULL || first->prev == page);
}

#endif
