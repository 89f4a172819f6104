#ifndef TWINHULL_COPY_H
#define TWINHULL_COPY_H

#include <stdbool.h>

/* Copy what is in a directory into an empty one, both open for reading; as_top: and its own owner, mode and times.
 * Returns 0 or -errno. */
int copy_tree(int from, int to, bool as_top);

#endif
