"""A program that speaks to NOTIFY_SOCKET, for busybox has none that sends datagrams to a path."""

from __future__ import annotations

import subprocess
from pathlib import Path

_SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	strncpy(to.sun_path, getenv("NOTIFY_SOCKET"), sizeof(to.sun_path) - 1);
	for (int i = 1; i < argc; i++)
		if (sendto(fd, argv[i], strlen(argv[i]), 0, (struct sockaddr *)&to, sizeof(to)) < 0)
			return perror("sendto"), 1;
	return sleep(1000);
}
"""


def compile_notifier(program: Path) -> None:
    """Make the program: it sends each of its arguments, and stays."""
    subprocess.run(["cc", "-static", "-x", "c", "-o", str(program), "-"], input=_SOURCE, text=True, check=True)
