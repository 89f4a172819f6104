#define _GNU_SOURCE
#include "proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "address.h"
#include "descriptor.h"

#define BACKLOG 128
#define MAX_CONNECTIONS 128 /* two small processes each; more callers wait in the backlog */
#define COPY_BYTES 65536
#define NOBODY 65534

/* Whoever we are forked from, we end with it. */
static void end_with(pid_t parent)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent)
		_exit(1);
}

/* One direction of a connection. The end of the input becomes the end of the output; an error ends both ways. */
static void copy(int from, int to)
{
	char buffer[COPY_BYTES];
	ssize_t got;
	while ((got = read(from, buffer, sizeof(buffer))) > 0)
		if (fd_write_all(to, buffer, (size_t)got) < 0)
			break;
	if (got == 0) {
		shutdown(to, SHUT_WR);
		return;
	}
	shutdown(from, SHUT_RDWR);
	shutdown(to, SHUT_RDWR);
}

/* A process for each direction, so that a peer that does not read holds up nobody but itself. */
static _Noreturn void serve(int client, const struct address *to)
{
	int server = socket(to->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (server < 0 || connect(server, (const struct sockaddr *)&to->storage, to->length) < 0)
		_exit(1);
	pid_t self = getpid();
	pid_t back = fork();
	if (back < 0)
		_exit(1);
	if (back == 0) {
		end_with(self);
		copy(server, client);
		_exit(0);
	}
	copy(client, server);
	waitpid(back, NULL, 0);
	_exit(0);
}

static _Noreturn void listen_for(int listener, const struct address *to)
{
	pid_t self = getpid();
	for (int active = 0;;) {
		while (active > 0 && waitpid(-1, NULL, active < MAX_CONNECTIONS ? WNOHANG : 0) > 0)
			active--;
		CLEANUP_FD int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (client < 0)
			continue;
		pid_t child = fork();
		if (child == 0) {
			end_with(self);
			close(listener);
			serve(client, to);
		}
		active += child > 0;
	}
}

static void forget_everything_but(int listener)
{
	struct sigaction standard = {.sa_handler = SIG_DFL}, ignored = {.sa_handler = SIG_IGN};
	sigset_t none;
	sigaction(SIGCHLD, &standard, NULL);
	sigaction(SIGPIPE, &ignored, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid(); /* no terminal's signals reach it */
	if (fd_keep_only(&listener, 1) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_setgroups, 0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) < 0)
		_exit(1);
}

pid_t proxy_start(const char *address, uint16_t port, const char *to, uint16_t to_port)
{
	struct address from, target;
	int one = 1, error = address_parse(address, port, &from);
	if (!error)
		error = address_parse(to, to_port, &target);
	if (error)
		return error;
	CLEANUP_FD int listener = fd_high(socket(from.family, SOCK_STREAM | SOCK_CLOEXEC, 0));
	if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
		return -errno;
	if (from.family == AF_INET6 && setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0)
		return -errno;
	if (bind(listener, (struct sockaddr *)&from.storage, from.length) < 0 || listen(listener, BACKLOG) < 0)
		return -errno;
	pid_t self = getpid(), child = fork();
	if (child < 0)
		return -errno;
	if (child > 0)
		return child;
	forget_everything_but(listener);
	end_with(self);
	listen_for(listener, &target);
}
