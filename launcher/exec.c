/* The last steps: descriptors in their places, then the program. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"
#include "descriptor.h"
#include "kernel.h"

#define PASSWD_BYTES 65536
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* A pipe belongs to who opened it: without this /dev/stdout could not be opened by the workload's user. */
static int give_to_user(const struct setup *setup, int fd)
{
	struct stat found;
	if (!setup->user || fstat(fd, &found) < 0 || !S_ISFIFO(found.st_mode))
		return 0;
	uid_t uid = (uid_t)setup->user->args[0].number;
	/* Refused where our user namespace does not know its owner, as a user may have it from his caller, or uid. */
	return found.st_uid == uid || fchown(fd, uid, (gid_t)-1) == 0 || errno == EPERM || errno == EINVAL ? 0 : -errno;
}

bool descriptor_given(const struct setup *setup, int number)
{
	bool beside = setup->shape->joins || setup->shape->tool;
	for (size_t i = 0; beside && i < setup->plan->count; i++) {
		const struct op *op = &setup->plan->ops[i];
		if (op->code == OP_INHERIT && op->args[0].number == (uint64_t)number)
			beside = false;
	}
	return !beside && setup->host->child_fds[number] >= 0;
}

int descriptors_arrange(const struct setup *setup)
{
	int keep[MAX_KEPT_FDS] = {0, 1, 2, setup->ends.status, setup->ends.start};
	size_t kept = 5;
	for (int i = 0; i < 3; i++) {
		int error = setup->ends.io[i] < 0 ? 0 : give_to_user(setup, setup->ends.io[i]);
		if (error)
			return error;
		if (setup->ends.io[i] >= 0 && dup2(setup->ends.io[i], i) < 0)
			return -errno;
	}
	for (int number = 3; number < MAX_CHILD_FDS; number++) {
		if (!descriptor_given(setup, number))
			continue;
		if (dup2(setup->host->child_fds[number], number) < 0)
			return -errno;
		keep[kept++] = number;
	}
	if (setup->shape->tool) {
		keep[kept++] = setup->host->cgroup2_fd;
		keep[kept++] = setup->lower;
	}
	return fd_keep_only(keep, kept);
}

/* The directory in a line of passwd(5), if that is of the user; NULL if not. */
static char *home_in(char *line, uid_t uid)
{
	char *fields[7] = {0}, *end;
	for (size_t i = 0; i < 7 && line; i++)
		fields[i] = strsep(&line, ":");
	if (!fields[5] || !*fields[2] || strtoul(fields[2], &end, 10) != uid || *end)
		return NULL;
	return fields[5];
}

void home_add(struct setup *setup)
{
	static char text[PASSWD_BYTES], variable[PATH_MAX];
	struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC,
	                       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	struct stat found;
	const char *home = NULL;
	size_t place = 0; /* of one that is empty, else of one more */
	while (place < setup->envc && strncmp(setup->envp[place], "HOME=", 5) != 0)
		place++;
	if (place < setup->envc && setup->envp[place][5] != '\0')
		return;
	CLEANUP_FD int fd = sys_openat2(setup->root, "etc/passwd", &how);
	ssize_t length =
		fd >= 0 && fstat(fd, &found) == 0 && S_ISREG(found.st_mode) ? read(fd, text, sizeof(text) - 1) : 0;
	char *rest = length > 0 ? text : NULL;
	for (char *line; !home && (line = strsep(&rest, "\n"));)
		home = home_in(line, setup->user ? (uid_t)setup->user->args[0].number : 0);
	snprintf(variable, sizeof(variable), "HOME=%s", home && *home ? home : "/");
	setup->envp[place] = variable;
	setup->envc += place == setup->envc;
}

static const char *search_path(const struct setup *setup)
{
	const char *found = DEFAULT_PATH;
	for (size_t i = 0; i < setup->envc; i++)
		if (strncmp(setup->envp[i], "PATH=", 5) == 0)
			found = setup->envp[i] + 5;
	return found;
}

/* A file that is there and still "not there" when it is executed: what it names to run it is missing. */
static void name_interpreter(struct setup *setup, const char *path)
{
	char head[128] = "";
	CLEANUP_FD int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || read(fd, head, sizeof(head) - 1) < 0)
		return;
	char *name = head + 2 + strspn(head + 2, " \t");
	name[strcspn(name, " \t\n")] = 0;
	snprintf(setup->interpreter, sizeof(setup->interpreter), "%s: its interpreter %s", path,
	         strncmp(head, "#!", 2) == 0 ? name : "(the dynamic linker)");
}

static int try_exec(struct setup *setup, const char *path)
{
	struct stat found;
	execve(path, (char *const *)(uintptr_t)setup->argv, (char *const *)(uintptr_t)setup->envp);
	int error = -errno;
	/* A script whose interpreter is missing also says ENOENT, a directory EACCES: both are there. */
	if (error == -EACCES && stat(path, &found) == 0 && S_ISDIR(found.st_mode))
		return -EISDIR;
	if (error == -ENOENT && stat(path, &found) == 0)
		name_interpreter(setup, path);
	return error;
}

/* Root may run what has any bit of execution. */
static int look_exec(struct setup *setup, const char *path)
{
	struct stat found;
	(void)setup;
	if (stat(path, &found) < 0)
		return -errno;
	if (S_ISDIR(found.st_mode))
		return -EISDIR;
	return found.st_mode & 0111 ? 0 : -EACCES;
}

static int search(struct setup *setup, const char *path, int (*attempt)(struct setup *, const char *))
{
	int answer = -ENOENT;
	if (strchr(path, '/'))
		return attempt(setup, path);
	for (const char *at = search_path(setup), *end; *path && *at; at = *end ? end + 1 : end) {
		char candidate[PATH_MAX];
		end = at + strcspn(at, ":");
		/* A relative directory would make the working directory part of the search. */
		if (*at != '/')
			continue;
		int length = snprintf(candidate, sizeof(candidate), "%.*s/%s", (int)(end - at), at, path);
		if ((size_t)length >= sizeof(candidate))
			continue;
		int error = attempt(setup, candidate);
		if (error != -ENOENT && error != -ENOTDIR && error != -EISDIR && error != -EACCES)
			return error;
		if (error == -EACCES)
			answer = error;
	}
	return answer;
}

int exec_program(struct setup *setup, const char *path)
{
	return search(setup, path, try_exec);
}

int exec_possible(struct setup *setup, const char *path)
{
	return search(setup, path, look_exec);
}
