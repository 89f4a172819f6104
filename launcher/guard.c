/* `launcher guard`: lets a machine go on that is about to be stopped, if whoever stops it dies meanwhile.
 *
 * Descriptors: 3 a socket, 4 the instance directory. It says over the socket that it is there, and reads. A byte is the
 * word that all is done. The end of the stream without one is the end of its maker: it tells QEMU's monitor to let the
 * processors go on, which does no harm where they do. The monitor serves one client at a time, so this one waits until
 * the kernel has closed the other's connection. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "descriptor.h"
#include "modes.h"

#define MAKER_FD 3
#define DIRECTORY_FD 4
#define MONITOR "qmp" /* runtime/qmp.py */
#define COMMANDS "{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"cont\",\"id\":\"guard\"}\n"
#define ANSWER "\"guard\"" /* by our name: the last answers to the other client come to us, too */
#define PATIENCE_S 30

/* Until QEMU has answered: it forgets what a client wrote that has gone before. */
static void await_answers(int fd)
{
	char text[4096];
	for (size_t filled = 0; filled < sizeof(text) - 1;) {
		ssize_t got = read(fd, text + filled, sizeof(text) - 1 - filled);
		if (got <= 0)
			return;
		filled += (size_t)got;
		text[filled] = '\0';
		if (strstr(text, ANSWER))
			return;
	}
}

static void let_go_on(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = PATIENCE_S};
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/" MONITOR, DIRECTORY_FD);
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return;
	if (!fd_write_all(fd, COMMANDS, strlen(COMMANDS)))
		await_answers(fd);
}

/* Whatever ends its maker is not meant for it: it has a session of its own and takes no signal that can be blocked. */
int guard_main(int argc, char **argv)
{
	(void)argc, (void)argv;
	int kept[] = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO, MAKER_FD, DIRECTORY_FD};
	sigset_t every;
	char byte = 0;
	if (fd_keep_only(kept, 5) < 0)
		return 1;
	sigfillset(&every);
	sigprocmask(SIG_SETMASK, &every, NULL);
	setsid();
	if (send(MAKER_FD, &byte, 1, MSG_NOSIGNAL) != 1)
		return 1;
	if (recv(MAKER_FD, &byte, 1, 0) != 1)
		let_go_on();
	return 0;
}
