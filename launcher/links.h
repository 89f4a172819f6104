/* Which files of a walk have more names than one, and the first that was told of each. */
#ifndef TWINHULL_LINKS_H
#define TWINHULL_LINKS_H

#include <stddef.h>
#include <stdint.h>

struct link_name;

/* Zeroed, it knows none. `size` is a power of two. */
struct links {
	struct link_name *slots;
	size_t size, used;
};

/* The name that was told first of this file, or NULL, and then `name` is it from now on. What the memory does not
 * suffice for is told as a file of its own. */
const char *links_first(struct links *links, uint64_t device, uint64_t inode, const char *name);

#endif
