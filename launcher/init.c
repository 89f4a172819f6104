/* `launcher init`: a container without a shim. The plan is performed, its process becomes a child of our caller's and
 * has our caller's streams, and waits until `start` writes to a FIFO of the container's directory; with a process to
 * join it is one more of a container and starts at once. Then we end.
 *
 * Frames on CLIENT_FD: PLAN, u32 the process to join or 0, with descriptors: the plan, the container's directory, and
 * its lock if it is held: we hold it, too, for the client may die while we work.
 * From us MAPS where ours are to be written, and READY where the plan awaits hooks, each answered by START;
 * DESCRIPTOR; STARTED or ERROR last. START answers STARTED, too, once the client has written down who the process of a
 * container is: without that nobody could find it again, and it is ended. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "descriptor.h"
#include "fault.h"
#include "frames.h"
#include "kernel.h"
#include "modes.h"
#include "seal.h"
#include "spawn.h"

/* Below what the plan's `inherit` ops may name, which begin with 3. */
#define CLIENT_FD 58
#define PLAN_FRAME_BYTES (FRAME_HEADER_BYTES + 4)

struct order {
	int plan, directory, lock;
	pid_t main_pid; /* to join, or 0 */
};

static int send_frame(int client, uint16_t kind, const void *payload, uint32_t length, int fd)
{
	uint8_t bytes[FRAME_HEADER_BYTES + 12 + sizeof(((struct failure *)0)->text)];
	frame_header(bytes, 0, kind, 0, length);
	memcpy(bytes + FRAME_HEADER_BYTES, payload, length);
	return fd_send(client, bytes, FRAME_HEADER_BYTES + length, fd);
}

static int send_started(int client, const struct child *child)
{
	uint8_t payload[8];
	put_u32(payload, (uint32_t)child->pid);
	put_u32(payload + 4, (uint32_t)child->maker);
	return send_frame(client, FRAME_STARTED, payload, sizeof(payload), -1);
}

static int send_number(int client, uint16_t kind, uint32_t number, int fd)
{
	uint8_t payload[4];
	put_u32(payload, number);
	return send_frame(client, kind, payload, sizeof(payload), fd);
}

static int complain(int client, const struct failure *why)
{
	uint8_t payload[12 + sizeof(why->text)];
	size_t length = strnlen(why->text, sizeof(why->text));
	put_u32(payload, why->index);
	put_u32(payload + 4, (uint32_t)why->error);
	put_u32(payload + 8, why->exit_code);
	memcpy(payload + 12, why->text, length);
	send_frame(client, FRAME_ERROR, payload, (uint32_t)(12 + length), -1);
	return (int)why->exit_code;
}

/* What the client does may take as long as it likes; one that is gone ends the container. */
static int await_answer(int client)
{
	uint8_t bytes[FRAME_HEADER_BYTES];
	struct frame frame;
	if (recv(client, bytes, sizeof(bytes), MSG_WAITALL) != sizeof(bytes))
		return -ECANCELED;
	return frame_parse(bytes, sizeof(bytes), &frame) > 0 && frame.kind == FRAME_START ? 0 : -ECANCELED;
}

static int ask(const struct host *host, uint16_t kind, pid_t pid)
{
	int error = send_number(host->client_fd, kind, (uint32_t)pid, -1);
	return error ? error : await_answer(host->client_fd);
}

static int on_hooks(const struct host *host, pid_t pid)
{
	return ask(host, FRAME_READY, pid);
}

static int on_maps(const struct host *host)
{
	return ask(host, FRAME_MAPS, getpid());
}

static int on_listener(const struct host *host, pid_t pid, int listener)
{
	uint8_t payload[8];
	put_u32(payload, 1);
	put_u32(payload + 4, (uint32_t)pid);
	return send_frame(host->client_fd, FRAME_DESCRIPTOR, payload, sizeof(payload), listener);
}

static bool listens(const struct plan *plan)
{
	for (size_t i = 0; i < plan->count; i++)
		if (plan->ops[i].code == OP_SECCOMP_FLAGS &&
		    (plan->ops[i].args[1].number & SECCOMP_FILTER_FLAG_NEW_LISTENER))
			return true;
	return false;
}

static int set_up(struct host *host, const struct plan *plan, const struct order *order)
{
	host_init(host, order->directory);
	host->client_fd = fd_high(CLIENT_FD);
	host->lock_fd = order->lock;
	host->orphans = true;
	host->on_hooks = on_hooks;
	host->on_maps = on_maps;
	host->on_listener = on_listener;
	if (listens(plan))
		host->listener = mmap(NULL, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (host->listener == MAP_FAILED)
		return -ENOMEM;
	for (int i = 0; i < 3; i++)
		host->streams[i] = fcntl(i, F_DUPFD_CLOEXEC, MAX_CHILD_FDS);
	if (order->main_pid)
		return 0;
	/* Open at both ends: its reader waits for a byte, never for a writer. */
	host->wait_fd = fd_high(openat(host->instance_fd, "exec.fifo", O_RDWR | O_CLOEXEC | O_NOFOLLOW));
	return host->wait_fd < 0 ? host->wait_fd : 0;
}

/* A process that joined is the business of who keeps the container. */
static int hand_over(const struct host *host, const struct child *child, bool joined)
{
	FAULT("started");
	int error = send_started(host->client_fd, child);
	if (!error && !joined)
		error = await_answer(host->client_fd);
	if (error && !joined)
		sys_pidfd_send_signal(child->pidfd, SIGKILL);
	return error;
}

static int run(struct host *host, const struct plan *plan, const struct order *order)
{
	struct child child;
	struct failure why = {.index = UINT32_MAX, .exit_code = 125, .text = "container directory"};
	why.error = -set_up(host, plan, order);
	if (why.error || host_perform(host, plan, &why) < 0 ||
	    spawn_child(host, plan, order->main_pid, &child, &why) < 0 ||
	    (order->main_pid && spawn_start(&child, &why) < 0))
		return complain(host->client_fd, &why);
	if (child.tty >= 0)
		send_number(host->client_fd, FRAME_DESCRIPTOR, 0, child.tty);
	return hand_over(host, &child, order->main_pid != 0) ? 125 : 0;
}

/* Wait for what there is to do. A client that ends without a word has nothing. */
static bool receive(struct order *order)
{
	uint8_t bytes[PLAN_FRAME_BYTES];
	struct frame frame;
	struct iovec part = {.iov_base = bytes, .iov_len = sizeof(bytes)};
	int descriptors[3] = {-1, -1, -1};
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(descriptors))];
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	if (recvmsg(CLIENT_FD, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL) != sizeof(bytes) ||
	    frame_parse(bytes, sizeof(bytes), &frame) <= 0 || frame.kind != FRAME_PLAN)
		return false;
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (!header || header->cmsg_type != SCM_RIGHTS || header->cmsg_len > CMSG_LEN(sizeof(descriptors)))
		return false;
	memcpy(descriptors, CMSG_DATA(header), header->cmsg_len - CMSG_LEN(0));
	order->plan = fd_high(descriptors[0]);
	order->directory = fd_high(descriptors[1]);
	order->lock = fd_high(descriptors[2]);
	order->main_pid = (pid_t)frame_u32(&frame, 0);
	return order->plan >= 0 && order->directory >= 0;
}

int init_main(int argc, char **argv)
{
	static struct plan plan;
	static struct host host;
	struct order order;
	struct failure why = {.index = UINT32_MAX, .exit_code = 125, .text = "read-only mount of the launcher"};
	if (argc > 2) {
		dprintf(STDERR_FILENO, "usage: launcher init\n");
		return 125;
	}
	why.error = -seal_launcher(argv);
	if (!receive(&order))
		return 125;
	if (why.error || plan_load(order.plan, &plan, &why) < 0)
		return complain(CLIENT_FD, &why);
	close(order.plan);
	return run(&host, &plan, &order);
}

int init_ahead(pid_t *pid)
{
	int ends[2];
	char name[] = "twinhull-init", mode[] = "init", *argv[] = {name, mode, NULL};
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
		return -errno;
	*pid = fork();
	if (*pid == 0) {
		close(ends[0]);
		if (dup2(ends[1], CLIENT_FD) < 0)
			_exit(125);
		if (ends[1] != CLIENT_FD)
			close(ends[1]);
		_exit(init_main(2, argv));
	}
	close(ends[1]);
	if (*pid < 0)
		close(ends[0]);
	return *pid < 0 ? -errno : ends[0];
}
