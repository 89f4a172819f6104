#define _GNU_SOURCE
#include "netlink.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "descriptor.h"

#define ANSWER_BYTES 16384
#define ANSWER_TIMEOUT_S 5 /* the kernel answers at once; a lost answer must not hang the shim */
#define SEND_BUFFER_BYTES (4 << 20)

int netlink_open(int family)
{
	CLEANUP_FD int fd = fd_high(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, family));
	struct timeval timeout = {.tv_sec = ANSWER_TIMEOUT_S};
	int one = 1;
	if (fd < 0)
		return -errno;
	/* An error's answer then holds the header of the message, not the whole of it. */
	setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0)
		return -errno;
	return fd_take(&fd);
}

static int send_all(int fd, const void *messages, size_t length)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	ssize_t sent = sendto(fd, messages, length, 0, (struct sockaddr *)&kernel, sizeof(kernel));
	if (sent < 0 && errno == EMSGSIZE) {
		int size = SEND_BUFFER_BYTES;
		if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
			return -errno;
		sent = sendto(fd, messages, length, 0, (struct sockaddr *)&kernel, sizeof(kernel));
	}
	if (sent < 0)
		return -errno;
	return (size_t)sent == length ? 0 : -EIO;
}

/* Count the acknowledgements in one datagram. Returns how many, or the error that one carries. */
static int count_acks(const char *answer, size_t length)
{
	int acks = 0;
	while (length >= sizeof(struct nlmsghdr)) {
		struct nlmsghdr header;
		int error;
		memcpy(&header, answer, sizeof(header));
		if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > length)
			return -EBADMSG;
		if (header.nlmsg_type == NLMSG_ERROR) {
			if (header.nlmsg_len < sizeof(header) + sizeof(error))
				return -EBADMSG;
			memcpy(&error, answer + sizeof(header), sizeof(error));
			if (error)
				return error;
			acks++;
		}
		size_t step = NLMSG_ALIGN((size_t)header.nlmsg_len);
		answer += step < length ? step : length;
		length -= step < length ? step : length;
	}
	return acks;
}

int netlink_exchange(int fd, const void *messages, size_t length, uint64_t acks)
{
	int error = send_all(fd, messages, length);
	while (!error && acks > 0) {
		char answer[ANSWER_BYTES];
		ssize_t got = recv(fd, answer, sizeof(answer), 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		int found = count_acks(answer, (size_t)got);
		if (found < 0)
			return found;
		acks -= (uint64_t)found < acks ? (uint64_t)found : acks;
	}
	return error;
}

int netlink_talk(int family, const void *messages, size_t length, uint64_t acks)
{
	CLEANUP_FD int fd = netlink_open(family);
	return fd < 0 ? fd : netlink_exchange(fd, messages, length, acks);
}
