#define _GNU_SOURCE
#include "ring.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

void ring_init(struct ring *ring, size_t capacity)
{
	*ring = (struct ring){.capacity = capacity};
}

void ring_release(struct ring *ring)
{
	unmap_memory(ring->data, ring->capacity);
	ring_init(ring, ring->capacity);
}

void ring_rest(struct ring *ring)
{
	if (!ring->used)
		ring_release(ring);
}

size_t ring_room(const struct ring *ring)
{
	return ring->capacity - ring->used;
}

/* The longest run of bytes from an offset of the queue on. */
static size_t run(const struct ring *ring, size_t offset, size_t length, size_t *place)
{
	size_t at = ring->start + offset;
	*place = at < ring->capacity ? at : at - ring->capacity;
	size_t left = ring->capacity - *place;
	return length < left ? length : left;
}

int ring_put(struct ring *ring, const void *data, size_t length)
{
	if (length > ring_room(ring))
		return -ENOSPC;
	if (!length)
		return 0; /* there may be no bytes to point to */
	if (!ring->data && !(ring->data = map_memory(ring->capacity)))
		return -ENOMEM;
	size_t place;
	size_t first = run(ring, ring->used, length, &place);
	memcpy(ring->data + place, data, first);
	memcpy(ring->data, (const uint8_t *)data + first, length - first);
	ring->used += length;
	return 0;
}

void ring_peek(const struct ring *ring, void *out, size_t length)
{
	size_t place;
	if (!length)
		return;
	size_t first = run(ring, 0, length, &place);
	memcpy(out, ring->data + place, first);
	memcpy((uint8_t *)out + first, ring->data, length - first);
}

void ring_take(struct ring *ring, size_t length)
{
	ring->used -= length;
	ring->start += length;
	if (ring->start >= ring->capacity)
		ring->start -= ring->capacity;
	if (!ring->used)
		ring->start = 0; /* a quiet ring touches its first page only */
}

int ring_move(struct ring *from, struct ring *to, size_t length)
{
	if (length > ring_room(to))
		return -ENOSPC;
	while (length) {
		size_t place;
		size_t part = run(from, 0, length, &place);
		int result = ring_put(to, from->data + place, part);
		if (result < 0)
			return result;
		ring_take(from, part);
		length -= part;
	}
	return 0;
}

ssize_t ring_write(struct ring *ring, int fd)
{
	if (!ring->used)
		return 0;
	size_t place;
	size_t first = run(ring, 0, ring->used, &place);
	struct iovec parts[2] = {{ring->data + place, first}, {ring->data, ring->used - first}};
	ssize_t written = writev(fd, parts, parts[1].iov_len ? 2 : 1);
	if (written < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	ring_take(ring, (size_t)written);
	return written;
}
