/* The workload's log: one JSON object a line, {"log","stream","time"}, as Docker's json-file writes it. */
#ifndef TWINHULL_LOG_H
#define TWINHULL_LOG_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define LOG_STREAMS 2 /* stdout, stderr */
#define TIME_TEXT_BYTES sizeof("2026-01-01T00:00:00.000000000Z")

struct log {
	int directory_fd;
	int fd; /* -1 until the first byte of output */
	uint64_t size;
	uint64_t max_bytes; /* 0: never rotated */
	struct {
		uint8_t bytes[4];
		size_t length;
	} held[LOG_STREAMS]; /* the beginning of a character whose rest has not come yet */
	char *buffer;        /* mapped while output flows */
	size_t used;
};

void log_init(struct log *log, int directory_fd, uint64_t max_bytes);
/* Output as it comes: a record for each line, and one for what comes without an end of line (at most 16 KiB).
 * A full disk loses records, never the workload. */
void log_write(struct log *log, int stream, const uint8_t *data, size_t length);
/* Give the buffer back until more output comes. */
void log_rest(struct log *log);
/* As log_rest, and write what is held back. */
void log_finish(struct log *log);

/* RFC 3339 with nanoseconds, UTC. */
void time_text(char out[TIME_TEXT_BYTES], const struct timespec *time);

#endif
