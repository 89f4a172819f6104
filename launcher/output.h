/* Writing to somebody else's stdout without waiting for its reader: it may be a full pipe, and O_NONBLOCK would hit
 * everyone who shares it. */
#ifndef TWINHULL_OUTPUT_H
#define TWINHULL_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct output {
	int fd;
	bool waits;     /* a pipe, socket or terminal; files and /dev/null never wait */
	bool by_pieces; /* the kernel has no non-blocking write for it */
	size_t piece;   /* then: what fits once poll says that there is room */
};

void output_init(struct output *output, int fd);
/* Bytes written, 0: it takes none now, -errno. */
ssize_t output_write(struct output *output, const void *data, size_t length);

#endif
