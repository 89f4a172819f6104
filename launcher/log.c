#define _GNU_SOURCE
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ring.h"

#define RECORD_BYTES (16u << 10)  /* of output in one record */
#define ESCAPE_BYTES 6u           /* the longest form of one byte */
#define FRAME_BYTES 96u           /* of a record besides its text */
#define BUFFER_BYTES (256u << 10) /* several records a system call */

static const char REPLACEMENT[] = "\xef\xbf\xbd"; /* U+FFFD */

void log_init(struct log *log, int directory_fd, uint64_t max_bytes)
{
	*log = (struct log){.directory_fd = directory_fd, .fd = -1, .max_bytes = max_bytes};
}

void time_text(char out[TIME_TEXT_BYTES], const struct timespec *time)
{
	struct tm parts;
	gmtime_r(&time->tv_sec, &parts);
	size_t length = strftime(out, TIME_TEXT_BYTES, "%Y-%m-%dT%H:%M:%S", &parts);
	snprintf(out + length, TIME_TEXT_BYTES - length, ".%09ldZ", time->tv_nsec);
}

static void open_file(struct log *log)
{
	struct stat status;
	log->fd = openat(log->directory_fd, "log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	log->size = log->fd >= 0 && fstat(log->fd, &status) == 0 ? (uint64_t)status.st_size : 0;
}

static void rotate(struct log *log)
{
	close(log->fd);
	log->fd = -1;
	int dropped = openat(log->directory_fd, "log.1", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (dropped >= 0) { /* engine/logs.py tells its readers */
		close(dropped);
		close(openat(log->directory_fd, "log.lost", O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
	}
	renameat(log->directory_fd, "log", log->directory_fd, "log.1");
	open_file(log);
}

/* Write the first length bytes of the buffer. */
static void flush(struct log *log, size_t length)
{
	log->used -= length;
	if (log->fd < 0 || !length)
		return;
	if (log->max_bytes && log->size && log->size + length > log->max_bytes)
		rotate(log);
	if (log->fd < 0)
		return;
	ssize_t written = write(log->fd, log->buffer, length);
	if (written == (ssize_t)length)
		log->size += length;
	else if (written > 0)
		(void)!ftruncate(log->fd, (off_t)log->size); /* half a record would spoil the next one */
}

/* Bytes of the character that data begins with; 0: its end has not come yet; -1: not UTF-8. RFC 3629. */
static int character(const uint8_t *data, size_t length)
{
	uint8_t first = data[0];
	int size = first < 0x80 ? 1 : first < 0xc2 ? -1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : -1;
	uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
	uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
	for (int i = 1; i < size; i++) {
		if ((size_t)i >= length)
			return 0;
		if (data[i] < low || data[i] > high)
			return -1;
		low = 0x80;
		high = 0xbf;
	}
	return size;
}

/* Copy bytes that JSON takes as they are, printable ASCII but '"' and '\\', up to the first other one; eight at a
 * time, in one pass. How many. */
static size_t copy_plain(char *out, const uint8_t *data, size_t length)
{
	const uint64_t ones = 0x0101010101010101, tops = 0x8080808080808080;
	size_t i = 0;
	for (; i + 8 <= length; i += 8) {
		uint64_t word;
		memcpy(&word, data + i, sizeof(word));
		uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
		uint64_t special = (word - ones * 0x20) | (quote - ones) | (backslash - ones) | word;
		if (special & tops)
			break;
		memcpy(out + i, &word, sizeof(word));
	}
	for (; i < length && data[i] >= 0x20 && data[i] < 0x80 && data[i] != '"' && data[i] != '\\'; i++)
		out[i] = (char)data[i];
	return i;
}

static void append(struct log *log, const void *data, size_t length)
{
	memcpy(log->buffer + log->used, data, length);
	log->used += length;
}

static void append_control(struct log *log, uint8_t byte)
{
	static const char SHORT[] = "\bb\tt\nn\ff\rr\"\"\\\\";
	for (size_t i = 0; SHORT[i]; i += 2) {
		if ((uint8_t)SHORT[i] != byte)
			continue;
		append(log, (char[]){'\\', SHORT[i + 1]}, 2);
		return;
	}
	static const char HEX[] = "0123456789abcdef"; /* not snprintf: a stream of zeroes is full of them */
	append(log, (char[]){'\\', 'u', '0', '0', HEX[byte >> 4], HEX[byte & 15]}, ESCAPE_BYTES);
}

/* The text of one record; whatever it is, what is written is UTF-8. */
static void append_escaped(struct log *log, const uint8_t *data, size_t length)
{
	size_t i = 0;
	while (i < length) {
		size_t run = copy_plain(log->buffer + log->used, data + i, length - i);
		log->used += run;
		i += run;
		if (i == length)
			return;
		int size = character(data + i, length - i);
		if (size == 1) {
			append_control(log, data[i]);
		} else if (size > 1) {
			append(log, data + i, (size_t)size);
		} else {
			append(log, REPLACEMENT, sizeof(REPLACEMENT) - 1);
		}
		i += size > 1 ? (size_t)size : 1;
	}
}

/* What ends each record of one piece of output. */
struct ending {
	char text[FRAME_BYTES];
	size_t length;
};

static struct ending ending_now(int stream)
{
	static const char *const NAMES[LOG_STREAMS] = {"stdout", "stderr"};
	struct ending ending;
	struct timespec now;
	char time[TIME_TEXT_BYTES];
	clock_gettime(CLOCK_REALTIME, &now);
	time_text(time, &now);
	ending.length = (size_t)snprintf(ending.text, sizeof(ending.text), "\",\"stream\":\"%s\",\"time\":\"%s\"}\n",
	                                 NAMES[stream], time);
	return ending;
}

static void append_record(struct log *log, const struct ending *ending, const uint8_t *data, size_t length)
{
	if (log->used + length * ESCAPE_BYTES + FRAME_BYTES > BUFFER_BYTES)
		flush(log, log->used);
	size_t before = log->used;
	append(log, "{\"log\":\"", 8);
	append_escaped(log, data, length);
	append(log, ending->text, ending->length);
	if (!before || !log->max_bytes || log->size + log->used <= log->max_bytes)
		return;
	size_t size = log->used - before; /* this record begins a new file */
	flush(log, before);
	memmove(log->buffer, log->buffer + before, size);
}

/* The longest beginning of data that ends with a line, or fits into a record without cutting a character. */
static size_t record_length(const uint8_t *data, size_t length)
{
	size_t limit = length < RECORD_BYTES ? length : RECORD_BYTES;
	const uint8_t *end = memchr(data, '\n', limit);
	if (end)
		return (size_t)(end - data) + 1;
	for (size_t back = 1; limit < length && back <= 3 && back < limit; back++)
		if (data[limit - back] >= 0xc0)
			return character(data + limit - back, back) == 0 ? limit - back : limit;
	return limit;
}

/* How many bytes at the end of data begin a character that is not all there. */
static size_t unfinished(const uint8_t *data, size_t length)
{
	for (size_t back = 1; back <= 3 && back <= length; back++)
		if (data[length - back] >= 0xc0)
			return character(data + length - back, back) == 0 ? back : 0;
	return 0;
}

/* Complete the held character with the first bytes of data; how many of them it took. */
static size_t complete(struct log *log, int stream, const struct ending *ending, const uint8_t *data, size_t length)
{
	uint8_t *held = log->held[stream].bytes;
	size_t have = log->held[stream].length, taken = 0;
	while (have && taken < length && character(held, have) == 0)
		held[have++] = data[taken++];
	if (have && character(held, have) == 0) {
		log->held[stream].length = have;
		return taken;
	}
	if (have && character(held, have) < 0 && taken) { /* the last byte did not belong to it */
		have--;
		taken--;
	}
	log->held[stream].length = 0;
	if (have)
		append_record(log, ending, held, have);
	return taken;
}

void log_write(struct log *log, int stream, const uint8_t *data, size_t length)
{
	if (!length || (!log->buffer && !(log->buffer = map_memory(BUFFER_BYTES))))
		return;
	if (log->fd < 0)
		open_file(log);
	struct ending ending = ending_now(stream);
	size_t at = complete(log, stream, &ending, data, length);
	size_t tail = unfinished(data + at, length - at);
	while (at < length - tail) {
		size_t size = record_length(data + at, length - tail - at);
		append_record(log, &ending, data + at, size);
		at += size;
	}
	if (tail) {
		memcpy(log->held[stream].bytes, data + at, tail);
		log->held[stream].length = tail;
	}
	flush(log, log->used);
}

void log_rest(struct log *log)
{
	unmap_memory(log->buffer, BUFFER_BYTES);
	log->buffer = NULL;
}

void log_finish(struct log *log)
{
	for (int stream = 0; stream < LOG_STREAMS; stream++) {
		struct ending ending = ending_now(stream);
		if (log->held[stream].length && (log->buffer || (log->buffer = map_memory(BUFFER_BYTES))))
			append_record(log, &ending, log->held[stream].bytes, log->held[stream].length);
		log->held[stream].length = 0;
	}
	flush(log, log->used);
	log_rest(log);
}
