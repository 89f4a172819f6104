/* Ways that lead through sockets. Connections are made and closed; not a byte is sent. */
#define _GNU_SOURCE
#include "escape.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECT_MS 300

/* Own process: a socket that is closed again. */
static int socket_of(int domain, int type, int protocol)
{
	int fd = socket(domain, type | SOCK_CLOEXEC, protocol);
	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static int connect_within(int fd, const struct sockaddr *address, socklen_t size)
{
	int error = 0;
	socklen_t length = sizeof error;
	if (connect(fd, address, size) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return errno;
	struct pollfd wait = {.fd = fd, .events = POLLOUT};
	int ready = poll(&wait, 1, CONNECT_MS);
	if (ready == 0)
		return ETIMEDOUT;
	return ready < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 ? errno : error;
}

static int reach(const char *address, int port, char *detail)
{
	struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	if (inet_pton(AF_INET, address, &where.sin_addr) != 1)
		return NOT_TRIED;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno;
	int error = connect_within(fd, (const struct sockaddr *)&where, sizeof where);
	close(fd);
	say(detail, "%s port %d", address, port);
	return error;
}

static int metadata(const struct host *host, char *detail)
{
	(void)host;
	return reach("169.254.169.254", 80, detail);
}

static int host_service(const struct host *host, char *detail)
{
	if (host->address)
		return reach(host->address, host->port, detail);
	say(detail, "no service to reach");
	return NOT_TRIED;
}

static int engine_socket(const struct host *host, char *detail)
{
	(void)host;
	static const char *const paths[] = {"/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock",
	                                    "/run/containerd/containerd.sock", "/run/crio/crio.sock"};
	int error = ENOENT;
	for (size_t i = 0; error && i < sizeof paths / sizeof *paths; i++) {
		struct sockaddr_un where = {.sun_family = AF_UNIX};
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (fd < 0)
			return errno;
		snprintf(where.sun_path, sizeof where.sun_path, "%s", paths[i]);
		int found = connect_within(fd, (const struct sockaddr *)&where, sizeof where);
		error = found == ENOENT ? error : found;
		close(fd);
		if (found == 0)
			say(detail, "connected to %s", paths[i]);
	}
	return error;
}

/* Look: abstract names belong to the network namespace, and are listed for it. */
static int abstract_socket(const struct host *host, char *detail)
{
	(void)host;
	char line[512];
	FILE *file = fopen("/proc/net/unix", "re");
	if (!file)
		return errno;
	int error = ENOENT;
	while (error && fgets(line, sizeof line, file)) {
		char *name = strchr(line, '@');
		if (name) {
			name[strcspn(name, "\n")] = '\0';
			say(detail, "%.60s", name);
			error = 0;
		}
	}
	fclose(file);
	return error;
}

static int vsock(const struct host *host, char *detail)
{
	(void)host;
	(void)detail;
	return socket_of(AF_VSOCK, SOCK_STREAM, 0);
}

static int raw_packets(const struct host *host, char *detail)
{
	(void)host;
	(void)detail;
	return socket_of(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
}

const struct trial network_trials[] = {
	{"engine-socket", engine_socket},
	{"abstract-socket", abstract_socket},
	{"vsock", vsock},
	{"raw-packets", raw_packets},
	{"metadata", metadata},
	{"host-service", host_service},
	{NULL, NULL},
};
