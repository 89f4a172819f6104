/* `launcher unpublish DIRECTORY ID...`: ask slirp4netns, whose socket lies there, to close ports of the host. That it
 * is gone, or knows a number no more, is fine: then the port is closed. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "descriptor.h"
#include "modes.h"

#define SOCKET "uplink.sock" /* network/uplink.py */
#define PATIENCE_S 5

static void ask(long id)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = SOCKET};
	struct timeval patience = {.tv_sec = PATIENCE_S};
	char text[96], answer[256];
	CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return;
	int length = snprintf(text, sizeof(text), "{\"execute\":\"remove_hostfwd\",\"arguments\":{\"id\":%ld}}", id);
	if (fd_write_all(fd, text, (size_t)length) < 0 || shutdown(fd, SHUT_WR) < 0)
		return;
	while (read(fd, answer, sizeof(answer)) > 0) /* it has done it when it answers */
		;
}

int unpublish_main(int argc, char **argv)
{
	if (argc < 3 || chdir(argv[2]) < 0) /* the name of a socket is shorter than a path may be */
		return 0;
	for (int i = 3; i < argc; i++)
		ask(strtol(argv[i], NULL, 10));
	return 0;
}
