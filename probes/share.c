/* What a program shares with the host through a volume: "share-NAME yes|no" a line.
 * The other side holds a lock, listens, and changes a file and a page of memory again and again meanwhile. */
#define _GNU_SOURCE
#include "escape.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE_MS 1500
#define STEP_MS 20

static int sees_lock(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return errno;
	int error = flock(fd, LOCK_EX | LOCK_NB) < 0 ? errno : ENOLCK; /* taken, though the host holds it */
	close(fd);
	return error == EWOULDBLOCK ? 0 : error;
}

static int reaches_socket(const char *path)
{
	struct sockaddr_un where = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno;
	snprintf(where.sun_path, sizeof where.sun_path, "%s", path);
	int error = connect(fd, (const struct sockaddr *)&where, sizeof where) < 0 ? errno : 0;
	close(fd);
	return error;
}

static int is_notified(const char *path)
{
	int fd = inotify_init1(IN_CLOEXEC);
	if (fd < 0 || inotify_add_watch(fd, path, IN_MODIFY) < 0)
		return errno;
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	int error = poll(&wait, 1, PATIENCE_MS) > 0 ? 0 : ETIMEDOUT;
	close(fd);
	return error;
}

static int sees_memory(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return errno;
	volatile const char *page = mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0);
	int error = page == MAP_FAILED ? errno : ETIMEDOUT;
	close(fd);
	if (page == MAP_FAILED)
		return error;
	char first = *page;
	for (int waited = 0; error && waited < PATIENCE_MS; waited += STEP_MS) {
		poll(NULL, 0, STEP_MS);
		error = *page == first ? ETIMEDOUT : 0;
	}
	return error;
}

void report_sharing(const char *directory)
{
	static const struct {
		const char *name;
		int (*run)(const char *path);
	} ways[] = {{"lock", sees_lock}, {"socket", reaches_socket}, {"notify", is_notified}, {"memory", sees_memory}};
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
		char path[256];
		snprintf(path, sizeof path, "%s/%s", directory, ways[i].name);
		int error = ways[i].run(path);
		const char *reason = error == ENOLCK ? "taken, though the host holds it" : error ? strerror(error) : "";
		printf("share-%s %s %s\n", ways[i].name, error ? "no" : "yes", reason);
	}
}
