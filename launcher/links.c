/* A table with open addressing, at most half full. It ends with its process. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "links.h"

#define FIRST_SIZE 64
#define MAX_SIZE (1 << 20)

struct link_name {
	uint64_t device, inode;
	char *name;
};

static struct link_name *slot_of(const struct links *links, uint64_t device, uint64_t inode)
{
	size_t at = (size_t)((inode ^ device << 32) * 0x9E3779B97F4A7C15ULL >> 20);
	for (;; at++) {
		struct link_name *slot = &links->slots[at & (links->size - 1)];
		if (!slot->name || (slot->inode == inode && slot->device == device))
			return slot;
	}
}

static int grow(struct links *links)
{
	struct links larger = {.size = links->size ? links->size * 2 : FIRST_SIZE, .used = links->used};
	larger.slots = larger.size <= MAX_SIZE ? calloc(larger.size, sizeof(*larger.slots)) : NULL;
	if (!larger.slots)
		return -1;
	for (size_t i = 0; i < links->size; i++) {
		const struct link_name *old = &links->slots[i];
		if (old->name)
			*slot_of(&larger, old->device, old->inode) = *old;
	}
	free(links->slots);
	*links = larger;
	return 0;
}

const char *links_first(struct links *links, uint64_t device, uint64_t inode, const char *name)
{
	if (links->size) {
		const struct link_name *known = slot_of(links, device, inode);
		if (known->name)
			return known->name;
	}
	if (links->used * 2 >= links->size && grow(links) < 0)
		return NULL;
	struct link_name *slot = slot_of(links, device, inode);
	*slot = (struct link_name){device, inode, strdup(name)};
	links->used += slot->name != NULL;
	return NULL;
}
