/* Memory by the page. */
#ifndef TWINHULL_MEMORY_H
#define TWINHULL_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* Anonymous memory that costs nothing until it is touched; NULL without memory. */
void *map_memory(size_t length);
void unmap_memory(void *memory, size_t length);

/* Have pages in place, for reading or for writing. */
void memory_populate(void *memory, size_t length, bool write);
/* Have every private page of ours that may be written in place, of large maps the first: our own copy of a fork's. */
void memory_prefault(void);
/* Have the kernel clear the pages that were given back last. Under TCG a page that held code is slow to write to for
 * as long as a translation of it is kept: whoever gets it next would pay for that. */
void memory_renew(void);

#endif
