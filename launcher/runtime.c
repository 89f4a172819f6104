/* An OCI runtime of another's makes the process. We mount what the bundle needs, run `create`, and hand the process to
 * our parent, whose child it has become; `start` is a late hook. Nobody else sees these mounts. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "child.h"
#include "connection.h"
#include "descriptor.h"
#include "fault.h"
#include "hook.h"
#include "kernel.h"

#define CONSOLE "console"

/* The network namespace under a name: the runtime's own would be taken for the host's. */
static int name_network(const struct setup *setup, int bundle)
{
	if (setup->host->netns_fd < 0)
		return 0;
	CLEANUP_FD int name = result(openat(bundle, "netns", O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
	if (name < 0)
		return name;
	CLEANUP_FD int tree =
		sys_open_tree(setup->host->netns_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	return tree < 0 ? tree : sys_move_mount(tree, name);
}

int op_runtime(struct setup *setup, const struct op *op)
{
	if (!setup->private || !setup->made || setup->entered)
		return -EINVAL;
	CLEANUP_FD int bundle = result(open(op->args[1].text, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	if (bundle < 0)
		return bundle;
	CLEANUP_FD int root = result(openat(bundle, "rootfs", O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
	int error = root < 0 ? root : sys_move_mount(setup->root, root);
	return error ? error : name_network(setup, bundle);
}

static _Noreturn void become(const struct op *op, const char *console)
{
	const char *arguments[MAX_WORDS + 2], *environment[MAX_WORDS];
	int count = words_split(&op->args[2], arguments);
	if (count <= 0 || words_split(&op->args[3], environment) < 0)
		_exit(125);
	if (console) { /* the last word is the container's name */
		const char *last = arguments[count - 1];
		arguments[count - 1] = "--console-socket";
		arguments[count] = console;
		arguments[count + 1] = last;
		arguments[count + 2] = NULL;
	}
	execve(op->args[0].text, (char *const *)(uintptr_t)arguments, (char *const *)(uintptr_t)environment);
	_exit(errno == ENOENT ? 127 : 126);
}

/* Its own words are in its log. */
static int run(const struct op *op, const char *console)
{
	int status;
	pid_t pid = fork();
	if (pid == 0)
		become(op, console);
	if (pid < 0)
		return -errno;
	CLEANUP_FD int pidfd = sys_pidfd_open(pid);
	return program_await(pid, pidfd, op->args[4].number, &status);
}

static int hand_over(const struct setup *setup, int bundle)
{
	char text[16];
	int length = file_read(bundle, "pid", text, sizeof(text));
	if (length < 0)
		return length;
	struct report report = {.kind = REPORT_MADE, .pid = (pid_t)strtol(text, NULL, 10)};
	if (report.pid <= 0)
		return -EPROTO;
	CLEANUP_FD int pidfd = sys_pidfd_open(report.pid);
	return pidfd < 0 ? pidfd : report_send(setup->ends.status, &report, pidfd);
}

/* The runtime has sent the master already, or never will. */
static int receive_master(int socket)
{
	CLEANUP_FD int peer = accept_trusted(socket);
	return peer < 0 ? peer : fd_receive(peer);
}

static int hand_over_terminal(const struct setup *setup, int socket)
{
	struct winsize size = {
		.ws_row = (unsigned short)setup->terminal->args[0].number,
		.ws_col = (unsigned short)setup->terminal->args[1].number,
	};
	struct report report = {.kind = REPORT_TERMINAL};
	CLEANUP_FD int master = receive_master(socket);
	if (master < 0)
		return master;
	if (ioctl(master, TIOCSWINSZ, &size) < 0)
		return -errno;
	return report_send(setup->ends.status, &report, master);
}

/* With a terminal the streams are the container's affair: the runtime has none. */
static int close_streams(void)
{
	CLEANUP_FD int null = result(open("/dev/null", O_RDWR | O_CLOEXEC));
	for (int i = 0; i < 3 && null >= 0; i++)
		if (dup2(null, i) < 0)
			return -errno;
	return null < 0 ? null : 0;
}

int runtime_create(struct setup *setup, const struct op *op)
{
	char path[64];
	CLEANUP_FD int bundle = result(open(op->args[1].text, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	if (bundle < 0)
		return bundle;
	CLEANUP_FD int console = setup->terminal ? listen_at(bundle, CONSOLE) : -1;
	snprintf(path, sizeof(path), "/proc/%d/fd/%d/" CONSOLE, getpid(), bundle);
	int error = setup->terminal && console < 0 ? console : setup->terminal ? close_streams() : 0;
	if (!error)
		error = run(op, setup->terminal ? path : NULL);
	FAULT("runtime-created");
	if (!error)
		error = hand_over(setup, bundle);
	FAULT("runtime-handed");
	if (!error && setup->terminal)
		error = hand_over_terminal(setup, console);
	if (setup->terminal)
		unlinkat(bundle, CONSOLE, 0);
	return error;
}
