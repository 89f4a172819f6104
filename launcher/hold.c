/* `launcher hold`: keeps the memory of a template, and lends it to those who start guests.
 *
 *	hold DIGEST IDLE_SECONDS WANTED   descriptors: 3 the memory file, 4 a listening socket, 5 the directory it is in
 *	hold --digest                     3 the memory file: print its digest
 *
 * The file is copied into a memfd that nobody can change any more. A client of root's sends one message: `m` and gets
 * the memory; `k` with the name of a guest in waiting and what belongs to it, which are kept while there are fewer
 * than are wanted (one at least); `s` and gets those of the last, and nobody else does; `c` and gets their number as
 * a byte, and another that is 1 with an imprint; `w` with a byte, so many are wanted from now on, and those that are
 * more go. With `I` comes an imprint (imprint.h) of a guest of this template, `i` gets the memory and that, `d` has
 * it forgotten. An answer is one byte, or three with a number, or the name, with SCM_RIGHTS. A file that is not what
 * DIGEST says is never lent: its client finds the end of the stream, as does one that asks for what is not there. A
 * client that is served has used the template, which the time of the file's last change tells from then on. Ends
 * after so many seconds without a client, unless guests are wanted, or when the machine is short of memory; unlinks
 * the socket (`sock`) before. A guest in waiting ends with its conversation, which then is nobody's. `holder` in the
 * directory holds our process number, and stays locked while we live. */
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "connection.h"
#include "descriptor.h"
#include "digest.h"
#include "modes.h"

#define FILE_FD 3
#define LISTEN_FD 4
#define DIRECTORY_FD 5

#define PAGE_BYTES 4096u
#define CHUNK_BYTES (1u << 20)
/* Tasks stalled on memory for 0.2 s of 2 s: what we hold is wanted elsewhere (Documentation/accounting/psi.rst). */
#define PRESSURE "some 200000 2000000"
#define PRESSURE_US 200000u

struct copy {
	int from, to; /* to is -1 when only the digest is wanted */
	struct digest digest;
};

/* The place belongs to the digest: a page that moved is damage too. Pages of zeroes stay holes. */
static int copy_page(struct copy *copy, const uint8_t *page, off_t offset)
{
	static const uint8_t zeroes[PAGE_BYTES];
	uint64_t place[DIGEST_BLOCK_BYTES / sizeof(uint64_t)] = {(uint64_t)offset};
	if (!memcmp(page, zeroes, PAGE_BYTES))
		return 0;
	digest_update(&copy->digest, place, sizeof(place));
	digest_update(&copy->digest, page, PAGE_BYTES);
	if (copy->to >= 0 && pwrite(copy->to, page, PAGE_BYTES, offset) != PAGE_BYTES)
		return -EIO;
	return 0;
}

static int copy_extent(struct copy *copy, off_t start, off_t end)
{
	static uint8_t chunk[CHUNK_BYTES];
	for (off_t at = start; at < end;) {
		size_t wanted = end - at < CHUNK_BYTES ? (size_t)(end - at) : CHUNK_BYTES;
		ssize_t got = pread(copy->from, chunk, wanted, at);
		if (got <= 0 || got % PAGE_BYTES)
			return got < 0 ? -errno : -EIO;
		for (ssize_t page = 0; page < got; page += PAGE_BYTES) {
			int error = copy_page(copy, chunk + page, at + page);
			if (error)
				return error;
		}
		at += got;
	}
	return 0;
}

/* By extents: most of a guest's memory was never touched. */
static int copy_file(struct copy *copy)
{
	struct stat status;
	if (fstat(copy->from, &status) < 0)
		return -errno;
	if (status.st_size % PAGE_BYTES || (copy->to >= 0 && ftruncate(copy->to, status.st_size) < 0))
		return -EINVAL;
	digest_init(&copy->digest);
	for (off_t at = 0; at < status.st_size;) {
		off_t start = lseek(copy->from, at, SEEK_DATA);
		if (start < 0)
			return errno == ENXIO ? 0 : -errno;
		off_t end = lseek(copy->from, start, SEEK_HOLE);
		if (end < 0)
			return -errno;
		start -= start % PAGE_BYTES;
		end += (PAGE_BYTES - end % PAGE_BYTES) % PAGE_BYTES;
		int error = copy_extent(copy, start, end);
		if (error)
			return error;
		at = end;
	}
	return 0;
}

/* The memory as a memfd that can be read and mapped privately, and changed by nobody. QEMU opens it for writing,
 * as a user without rights: hence the mode. Returns a descriptor or -errno. */
static int fill(const char *wanted)
{
	struct copy copy = {.from = FILE_FD};
	CLEANUP_FD int memory = memfd_create("template", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (memory < 0)
		return -errno;
	copy.to = memory;
	int error = copy_file(&copy);
	if (error)
		return error;
	if (digest_value(&copy.digest) != strtoull(wanted, NULL, 16))
		return -EBADMSG;
	int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	if (fchmod(memory, 0666) < 0 || fcntl(memory, F_ADD_SEALS, seals) < 0)
		return -errno;
	return fd_take(&memory);
}

#define NAME_BYTES 64
#define SPARE_FDS 3
#define MAX_SPARES 64
#define CLIENT_TIMEOUT_MS 1000

/* A guest in waiting: its name, its first client's end of the conversation, and what else whoever takes it needs. */
struct spare {
	char name[NAME_BYTES];
	int fds[SPARE_FDS]; /* the conversation first */
};

struct pool {
	struct spare spares[MAX_SPARES];
	size_t count, wanted;
	int imprint; /* or -1 */
};

union control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(SPARE_FDS * sizeof(int))];
};

static void send_fds(int client, const void *data, size_t length, const int *fds, unsigned count)
{
	union control control = {0};
	struct iovec part = {.iov_base = (void *)data, .iov_len = length};
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = (socklen_t)CMSG_LEN(count * sizeof(int)),
	};
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = (socklen_t)CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
	sendmsg(client, &message, MSG_NOSIGNAL);
}

/* The bytes of a request, at most size, and the descriptors with it: SPARE_FDS of them or none. */
static ssize_t receive_fds(int client, char *data, size_t size, int *fds)
{
	union control control;
	struct iovec part = {.iov_base = data, .iov_len = size};
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = CMSG_LEN(SPARE_FDS * sizeof(int)), /* not its SPACE, which may hold one more */
	};
	struct pollfd waiting = {.fd = client, .events = POLLIN};
	for (size_t i = 0; i < SPARE_FDS; i++)
		fds[i] = -1;
	if (poll(&waiting, 1, CLIENT_TIMEOUT_MS) <= 0)
		return -1;
	ssize_t got = recvmsg(client, &message, MSG_CMSG_CLOEXEC);
	struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
		memcpy(fds, CMSG_DATA(header), header->cmsg_len - CMSG_LEN(0));
	return got;
}

static void drop(struct spare *spare)
{
	for (size_t i = 0; i < SPARE_FDS; i++)
		fd_close(&spare->fds[i]);
}

static void drop_above(struct pool *pool, size_t count)
{
	while (pool->count > count)
		drop(&pool->spares[--pool->count]);
}

static bool has_room(const struct pool *pool)
{
	return pool->count < (pool->wanted ? pool->wanted : 1);
}

/* Requests about how many there are. */
static void serve_number(int client, struct pool *pool, const char *request, ssize_t length)
{
	if (length == 2 && request[0] == 'w' && (uint8_t)request[1] <= MAX_SPARES) {
		pool->wanted = (uint8_t)request[1];
		drop_above(pool, pool->wanted);
		send(client, "w", 1, MSG_NOSIGNAL);
	}
	if (length == 1 && request[0] == 'c') {
		char answer[] = {'c', (char)pool->count, pool->imprint >= 0};
		send(client, answer, sizeof(answer), MSG_NOSIGNAL);
	}
}

/* Requests about the imprint: one is kept, the first, until it is found not to start. */
static void serve_imprint(int client, int memory, struct pool *pool, char request, int given)
{
	if (request == 'i' && pool->imprint >= 0)
		send_fds(client, "i", 1, (int[]){memory, pool->imprint}, 2);
	if (request == 'd')
		fd_close(&pool->imprint);
	if (request == 'I' && given >= 0 && pool->imprint < 0)
		pool->imprint = dup(given);
	if (request == 'I' && given >= 0 && pool->imprint >= 0)
		send(client, "I", 1, MSG_NOSIGNAL);
}

static void serve_client(int memory, struct pool *pool)
{
	struct spare given;
	char request[1 + NAME_BYTES];
	CLEANUP_FD int client = accept_trusted(LISTEN_FD);
	if (client < 0)
		return;
	ssize_t length = receive_fds(client, request, sizeof(request), given.fds);
	if (length == 1 && request[0] != 'c')
		futimens(FILE_FD, NULL);
	serve_number(client, pool, request, length);
	if (length == 1)
		serve_imprint(client, memory, pool, request[0], given.fds[0]);
	if (length == 1 && request[0] == 'm')
		send_fds(client, "m", 1, &memory, 1);
	if (length == 1 && request[0] == 's' && pool->count) {
		const struct spare *last = &pool->spares[pool->count - 1];
		send_fds(client, last->name, NAME_BYTES, last->fds, SPARE_FDS);
		drop_above(pool, pool->count - 1);
	}
	if (length == sizeof(request) && request[0] == 'k' && given.fds[SPARE_FDS - 1] >= 0 && has_room(pool)) {
		memcpy(given.name, request + 1, NAME_BYTES);
		if (send(client, "k", 1, MSG_NOSIGNAL) == 1) { /* or its maker has given up, and waits for the end */
			pool->spares[pool->count++] = given;
			return;
		}
	}
	drop(&given);
}

struct pressure {
	int fd;              /* -1 where the kernel does not tell */
	uint64_t stalled_us; /* when last looked at */
};

static uint64_t stalled_us(void)
{
	char text[256];
	int length = file_read(AT_FDCWD, "/proc/pressure/memory", text, sizeof(text));
	const char *total = length > 0 ? strstr(text, "total=") : NULL; /* the first line is "some" */
	return total ? strtoull(total + strlen("total="), NULL, 10) : 0;
}

static struct pressure watch_pressure(void)
{
	int fd = open("/proc/pressure/memory", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0 && write(fd, PRESSURE, sizeof(PRESSURE)) != sizeof(PRESSURE)) {
		close(fd);
		fd = -1;
	}
	return (struct pressure){.fd = fd, .stalled_us = stalled_us()};
}

/* The first event of a trigger may count what was stalled before there was any: the totals decide. */
static bool is_short_of_memory(struct pressure *pressure)
{
	uint64_t before = pressure->stalled_us;
	pressure->stalled_us = stalled_us();
	return pressure->stalled_us - before >= PRESSURE_US;
}

/* A guest in waiting says nothing but that it has ended. */
static bool take_turn(int memory, struct pool *pool, struct pressure *pressure, int idle_ms)
{
	struct pollfd fds[2 + MAX_SPARES] = {
		{.fd = LISTEN_FD, .events = POLLIN},
		{.fd = pressure->fd, .events = POLLPRI},
	};
	for (size_t i = 0; i < pool->count; i++)
		fds[2 + i] = (struct pollfd){.fd = pool->spares[i].fds[0], .events = POLLIN};
	if (poll(fds, 2 + pool->count, pool->wanted ? -1 : idle_ms) <= 0 || fds[1].revents & POLLERR)
		return false;
	if (fds[1].revents && is_short_of_memory(pressure))
		return false;
	for (size_t i = pool->count; i-- > 0;) {
		if (!fds[2 + i].revents)
			continue;
		drop(&pool->spares[i]);
		pool->spares[i] = pool->spares[--pool->count];
	}
	if (fds[0].revents)
		serve_client(memory, pool);
	return true;
}

/* Whoever connected before the name went away is still served. */
static void serve_the_last(int memory, struct pool *pool)
{
	struct pollfd waiting = {.fd = LISTEN_FD, .events = POLLIN};
	unlinkat(DIRECTORY_FD, "sock", 0);
	while (poll(&waiting, 1, 0) > 0)
		serve_client(memory, pool);
}

/* Our number in a file that stays locked while we live: that is how we are found, and told to end. */
static int announce(void)
{
	char text[16];
	int fd = openat(DIRECTORY_FD, "holder", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int length = snprintf(text, sizeof(text), "%d\n", getpid());
	if (fd < 0 || flock(fd, LOCK_EX) < 0 || ftruncate(fd, 0) < 0)
		return -errno;
	return fd_write_all(fd, text, (size_t)length);
}

static int hold(const char *digest, int idle_ms, size_t wanted)
{
	static struct pool pool;
	int keep[] = {0, 1, 2, FILE_FD, LISTEN_FD, DIRECTORY_FD};
	int error = fd_keep_only(keep, sizeof(keep) / sizeof(keep[0]));
	fcntl(LISTEN_FD, F_SETFL, O_NONBLOCK);
	if (!error)
		error = announce();
	CLEANUP_FD int memory = error ? error : fill(digest);
	if (memory < 0) {
		unlinkat(DIRECTORY_FD, "sock", 0);
		return 1; /* with the socket, every client's wait ends */
	}
	struct pressure pressure = watch_pressure();
	pool.imprint = -1;
	pool.wanted = wanted < MAX_SPARES ? wanted : MAX_SPARES;
	while (take_turn(memory, &pool, &pressure, idle_ms))
		;
	serve_the_last(memory, &pool);
	return 0;
}

static int print_digest(void)
{
	struct copy copy = {.from = FILE_FD, .to = -1};
	int error = copy_file(&copy);
	if (error) {
		fprintf(stderr, "digest: %s\n", strerror(-error));
		return 1;
	}
	printf("%016llx\n", (unsigned long long)digest_value(&copy.digest));
	return 0;
}

int hold_main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[2], "--digest"))
		return print_digest();
	if (argc != 5) {
		fprintf(stderr, "usage: launcher hold DIGEST IDLE_SECONDS WANTED | --digest\n");
		return 125;
	}
	/* Nobody's child: whoever starts us goes on, and must not have to reap us. */
	pid_t child = fork();
	if (child)
		return child < 0;
	setsid();
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_NAME, "twinhull-hold");
	if (chdir("/") < 0)
		return 1;
	return hold(argv[2], atoi(argv[3]) * 1000, strtoul(argv[4], NULL, 10));
}
