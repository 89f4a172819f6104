/* A byte queue whose memory is mapped on first use and given back when it is empty and at rest. */
#ifndef TWINHULL_RING_H
#define TWINHULL_RING_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "memory.h"

struct ring {
	uint8_t *data; /* NULL until the first byte */
	size_t capacity;
	size_t start;
	size_t used;
};

void ring_init(struct ring *ring, size_t capacity);
void ring_release(struct ring *ring);
/* Give the memory of an empty ring back. */
void ring_rest(struct ring *ring);
size_t ring_room(const struct ring *ring);
/* 0, -ENOSPC or -ENOMEM: all of it, or nothing. */
int ring_put(struct ring *ring, const void *data, size_t length);
/* Copies the first length bytes, which must be there. */
void ring_peek(const struct ring *ring, void *out, size_t length);
void ring_take(struct ring *ring, size_t length);
/* Move the first length bytes, which must be there; as ring_put otherwise. */
int ring_move(struct ring *from, struct ring *to, size_t length);
/* Writes what is queued: bytes written, 0 if fd takes none now, -errno. */
ssize_t ring_write(struct ring *ring, int fd);

#endif
