/* The host stage: what the shim makes before the workload exists, and what it can do to it afterwards. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "address.h"
#include "cgroup.h"
#include "child.h"
#include "descriptor.h"
#include "fault.h"
#include "kernel.h"
#include "netlink.h"
#include "proxy.h"
#include "spawn.h"

#define LISTEN_BACKLOG 16
#define FIRST_USER_NAMESPACE 0xEFFFFFFDU /* linux/proc_ns.h: PROC_USER_INIT_INO */

typedef int host_op(struct host *host, const struct op *op);

void host_init(struct host *host, int instance_fd)
{
	*host = (struct host){.instance_fd = instance_fd,
	                      .cgroup2_fd = -1,
	                      .netns_fd = -1,
	                      .route_fd = -1,
	                      .channel_fd = -1,
	                      .userns_fd = -1,
	                      .mounts_fd = -1,
	                      .userns_network_fd = -1,
	                      .client_fd = -1,
	                      .lock_fd = -1,
	                      .wait_fd = -1};
	memset(host->streams, 0xff, sizeof(host->streams));
	memset(host->child_fds, 0xff, sizeof(host->child_fds));
	memset(host->cgroup1_fds, 0xff, sizeof(host->cgroup1_fds));
	memset(host->held_ports, 0xff, sizeof(host->held_ports));
}

/* Put a descriptor into the first free place of a list that -1 ends. */
static int keep(int *list, size_t size, int fd)
{
	if (fd < 0)
		return fd;
	for (size_t i = 0; i < size; i++)
		if (list[i] < 0) {
			list[i] = fd;
			return 0;
		}
	close(fd);
	return -ENOSPC;
}

static int give(struct host *host, uint64_t number, int fd)
{
	if (fd < 0)
		return fd;
	fd_close(&host->child_fds[number]);
	host->child_fds[number] = fd;
	return 0;
}

static int op_cgroup2(struct host *host, const struct op *op)
{
	int group = cgroup_make(op->args[0].text, !host->joins);
	if (group < 0)
		return group;
	/* The last one is the leaf; those before it are its ancestors. */
	fd_close(&host->cgroup2_fd);
	host->cgroup2_fd = group;
	return 0;
}

static int op_cgroup1(struct host *host, const struct op *op)
{
	return keep(host->cgroup1_fds, MAX_CGROUP1, cgroup_make(op->args[0].text, !host->joins));
}

static int op_write(struct host *host, const struct op *op)
{
	(void)host;
	return file_write(AT_FDCWD, op->args[0].text, op->args[1].text, op->args[1].length);
}

/* Children have it from us, until the cpuset of their groups. */
static int op_first_affinity(struct host *host, const struct op *op)
{
	return host->orphans ? affinity_set(&op->args[0]) : -EINVAL;
}

static int op_device_policy(struct host *host, const struct op *op)
{
	if (host->cgroup2_fd < 0)
		return -EINVAL;
	return cgroup_device_policy(host->cgroup2_fd, op->args[0].text, op->args[0].length);
}

/* A socket, a tap and a netlink answer belong to the namespace they were made in: go there, do it, come back. */
static int own_netns(void)
{
	int fd = fd_high(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
	return fd < 0 ? -errno : fd;
}

/* In the network of the host, which only its root may enter: who leaves it does not come back. */
static bool is_in_hosts(int home)
{
	struct stat own;
	bool first = stat("/proc/self/ns/user", &own) < 0 || own.st_ino == FIRST_USER_NAMESPACE;
	return !first && setns(home, CLONE_NEWNET) < 0;
}

static int netns_of_child(void)
{
	int ends[2], fd = -1;
	int error = fd_socketpair(SOCK_STREAM, ends);
	if (error)
		return error;
	pid_t pid = fork();
	if (pid == 0) {
		int made = unshare(CLONE_NEWNET) < 0 ? -1 : own_netns();
		_exit(made < 0 || fd_send(ends[1], "", 1, made) < 0);
	}
	fd_close(&ends[1]);
	if (pid > 0)
		fd = fd_receive(ends[0]);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	fd_close(&ends[0]);
	return fd < 0 ? -EPERM : fd_high(fd);
}

static int op_netns(struct host *host, const struct op *op)
{
	(void)op;
	if (host->netns_fd >= 0)
		return -EEXIST;
	int refused = host->userns_fd >= 0 && host->userns_network_fd < 0 ? userns_visit(host, true) : 0;
	host->netns_fd = fd_take(&host->userns_network_fd);
	if (refused || host->netns_fd >= 0)
		return refused;
	CLEANUP_FD int home = own_netns();
	if (home < 0)
		return home;
	if (is_in_hosts(home)) {
		int apart = netns_of_child();
		host->netns_fd = apart;
		return apart < 0 ? apart : 0;
	}
	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	int made = own_netns();
	if (setns(home, CLONE_NEWNET) < 0) {
		int error = -errno;
		fd_close(&made);
		return error;
	}
	host->netns_fd = made;
	return made < 0 ? made : 0;
}

static int in_netns(const struct host *host, int (*act)(const struct host *, const struct op *), const struct op *op)
{
	CLEANUP_FD int home = own_netns();
	if (home < 0 || host->netns_fd < 0)
		return home < 0 ? home : -EINVAL;
	if (setns(host->netns_fd, CLONE_NEWNET) < 0)
		return -errno;
	int error = act(host, op);
	return setns(home, CLONE_NEWNET) < 0 ? -errno : error;
}

/* Messages name the workload's namespace by a number that is its descriptor only while they are sent. */
static int talk(const struct host *host, int family, const struct op *op)
{
	CLEANUP_FD int named = -1;
	if (host->netns_fd >= 0) {
		named = dup3(host->netns_fd, NETNS_FD, O_CLOEXEC);
		if (named < 0)
			return -errno;
	}
	return netlink_talk(family, op->args[0].text, op->args[0].length, op->args[1].number);
}

static int talk_route(const struct host *host, const struct op *op)
{
	return talk(host, NETLINK_ROUTE, op);
}

static int op_netlink(struct host *host, const struct op *op)
{
	return talk_route(host, op);
}

/* A process of ours says it there, and ends. */
static int in_child(const struct host *host, const struct op *op)
{
	int status = 0;
	pid_t pid = fork();
	if (pid == 0)
		_exit(setns(host->netns_fd, CLONE_NEWNET) < 0 ? errno : -talk_route(host, op));
	if (pid < 0)
		return -errno;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EPROTO;
}

static int op_netlink_inside(struct host *host, const struct op *op)
{
	CLEANUP_FD int home = own_netns();
	if (home >= 0 && host->netns_fd >= 0 && is_in_hosts(home))
		return in_child(host, op);
	return in_netns(host, talk_route, op);
}

static int op_nftables(struct host *host, const struct op *op)
{
	return talk(host, NETLINK_NETFILTER, op);
}

/* The port is busy, or only remembered by connections in TIME_WAIT, which SO_REUSEADDR passes over. A moment of
 * listening tells the two apart: it fails beside any other socket of the port. With the option taken back nobody
 * can listen there while we hold it. */
static int bind_over_time_wait(int fd, const struct address *address)
{
	int on = 1, off = 0;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(fd, (const struct sockaddr *)&address->storage, address->length) < 0)
		return -errno;
	if (listen(fd, 0) < 0 || shutdown(fd, SHUT_RDWR) < 0)
		return -errno;
	return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &off, sizeof(off)) < 0 ? -errno : 0;
}

static int op_hold_port(struct host *host, const struct op *op)
{
	struct address address;
	int one = 1;
	bool tcp = strcmp(op->args[0].text, "tcp") == 0;
	int error = address_parse(op->args[1].text, (uint16_t)op->args[2].number, &address);
	if (error || (!tcp && strcmp(op->args[0].text, "udp") != 0))
		return -EINVAL;
	CLEANUP_FD int fd = fd_high(socket(address.family, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0));
	if (fd < 0)
		return -errno;
	if (address.family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0)
		return -errno;
	error = bind(fd, (struct sockaddr *)&address.storage, address.length) < 0 ? -errno : 0;
	if (error == -EADDRINUSE && tcp)
		error = bind_over_time_wait(fd, &address);
	return error ? error : keep(host->held_ports, MAX_HELD_PORTS, fd_take(&fd));
}

static int set_up(const char *name)
{
	struct ifreq request = {0};
	CLEANUP_FD int fd = fd_high(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	if (fd < 0)
		return -errno;
	memcpy(request.ifr_name, name, strlen(name));
	if (ioctl(fd, SIOCGIFFLAGS, &request) < 0)
		return -errno;
	request.ifr_flags |= IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

/* Whoever opens it finds the header's size as the kernel sets it: QEMU asks for its own. */
static int make_tap(const struct host *host, const struct op *op)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	unsigned index = (unsigned)op->args[2].number;
	(void)host;
	if (op->args[1].length >= IFNAMSIZ)
		return -EINVAL;
	CLEANUP_FD int fd = fd_high(open("/dev/net/tun", O_RDWR | O_CLOEXEC));
	if (fd < 0)
		return -errno;
	memcpy(request.ifr_name, op->args[1].text, op->args[1].length);
	if (ioctl(fd, TUNSETIFINDEX, &index) < 0 || ioctl(fd, TUNSETIFF, &request) < 0)
		return -errno;
	int error = set_up(op->args[1].text);
	return error ? error : fd_take(&fd);
}

static int op_tap(struct host *host, const struct op *op)
{
	return give(host, op->args[0].number, in_netns(host, make_tap, op));
}

static int op_proxy(struct host *host, const struct op *op)
{
	for (size_t i = 0; i < MAX_PROXIES; i++) {
		if (host->proxies[i] > 0)
			continue;
		pid_t pid = proxy_start(op->args[0].text, (uint16_t)op->args[1].number, op->args[2].text,
		                        (uint16_t)op->args[3].number);
		host->proxies[i] = pid > 0 ? pid : 0;
		return pid < 0 ? pid : 0;
	}
	return -ENOSPC;
}

static int op_open(struct host *host, const struct op *op)
{
	int flags = (int)op->args[2].number | O_CLOEXEC | O_NOCTTY;
	int fd = fd_high(open(op->args[1].text, flags & ~O_CREAT));
	return fd < 0 ? -errno : give(host, op->args[0].number, fd);
}

static int op_listen(struct host *host, const struct op *op)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strchr(op->args[1].text, '/'))
		return -EINVAL;
	/* Through a descriptor: a state directory's path may be longer than a socket's may be. */
	int length = snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", host->instance_fd,
	                      op->args[1].text);
	if ((size_t)length >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	CLEANUP_FD int fd = fd_high(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	if (fd < 0)
		return -errno;
	if (unlinkat(host->instance_fd, op->args[1].text, 0) < 0 && errno != ENOENT)
		return -errno;
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, LISTEN_BACKLOG) < 0)
		return -errno;
	return give(host, op->args[0].number, fd_take(&fd));
}

static int op_channel(struct host *host, const struct op *op)
{
	int ends[2];
	int error = fd_socketpair(SOCK_STREAM, ends);
	if (error)
		return error;
	fd_close(&host->channel_fd);
	host->channel_fd = ends[0];
	return give(host, op->args[0].number, ends[1]);
}

static int op_inherit(struct host *host, const struct op *op)
{
	int number = (int)op->args[0].number;
	int fd = result(fcntl(number, F_DUPFD_CLOEXEC, MAX_CHILD_FDS));
	if (fd >= 0)
		close(number);
	return give(host, op->args[0].number, fd);
}

static int op_join_namespace(struct host *host, const struct op *op)
{
	unsigned kind = (unsigned)op->args[0].number;
	int fd = fd_high(open(op->args[1].text, O_RDONLY | O_CLOEXEC));
	if (fd < 0)
		return -errno;
	if (kind == CLONE_NEWNET || kind == CLONE_NEWUSER || kind == CLONE_NEWNS) {
		int *own = kind == CLONE_NEWNET    ? &host->netns_fd
		           : kind == CLONE_NEWUSER ? &host->userns_fd
		                                   : &host->mounts_fd;
		fd_close(own);
		*own = fd;
		return kind == CLONE_NEWUSER ? userns_visit(host, false) : 0;
	}
	for (size_t i = 0; i + 1 < MAX_JOINED; i++)
		if (host->joined[i].kind == 0) {
			host->joined[i].fd = fd;
			host->joined[i].kind = kind;
			return 0;
		}
	close(fd);
	return -ENOSPC;
}

static host_op *const PERFORM[MAX_OP_CODE + 1] = {
	[OP_CGROUP2] = op_cgroup2,
	[OP_CGROUP1] = op_cgroup1,
	[OP_WRITE] = op_write,
	[OP_DEVICE_POLICY] = op_device_policy,
	[OP_FIRST_AFFINITY] = op_first_affinity,
	[OP_NETNS] = op_netns,
	[OP_NETLINK] = op_netlink,
	[OP_NETLINK_INSIDE] = op_netlink_inside,
	[OP_NFTABLES] = op_nftables,
	[OP_HOLD_PORT] = op_hold_port,
	[OP_TAP] = op_tap,
	[OP_PROXY] = op_proxy,
	[OP_OPEN] = op_open,
	[OP_LISTEN] = op_listen,
	[OP_CHANNEL] = op_channel,
	[OP_INHERIT] = op_inherit,
	[OP_JOIN_NAMESPACE] = op_join_namespace,
};

/* Before everything else, because what is made later belongs to the namespace that we are in. */
static int enter_own_users(struct host *host, const struct plan *plan, struct failure *why)
{
	for (size_t i = 0; i < plan->count; i++) {
		int error = plan->ops[i].code == OP_OWN_USERS ? userns_own(host, &plan->ops[i]) : 0;
		if (error) {
			failure_of_op(why, plan, i, -error, NULL);
			return error;
		}
		if (plan->ops[i].code == OP_OWN_USERS)
			FAULT("own-users");
	}
	return 0;
}

/* Then, because what the host stage makes belongs to the workload's user namespace. */
static int make_userns(struct host *host, const struct plan *plan, struct failure *why)
{
	const struct op *maps = NULL;
	bool network = false;
	for (size_t i = 0; i < plan->count; i++) {
		network |= plan->ops[i].code == OP_NETNS;
		if (plan->ops[i].code == OP_ID_MAPS)
			maps = &plan->ops[i];
	}
	int error = maps && host->userns_fd < 0 ? userns_make(host, maps, network) : 0;
	if (error)
		failure_of_op(why, plan, (size_t)(maps - plan->ops), -error, NULL);
	return error;
}

int host_perform(struct host *host, const struct plan *plan, struct failure *why)
{
	int error = enter_own_users(host, plan, why);
	host->joins = false; /* who joins finds a frozen group out by itself: a paused container's */
	for (size_t i = 0; i < plan->count; i++)
		host->joins |= plan->ops[i].code == OP_JOIN;
	if (!error)
		error = make_userns(host, plan, why);
	for (size_t i = 0; !error && i < plan->count; i++) {
		if (stage_of(plan->ops[i].code) != STAGE_HOST || plan->ops[i].code == OP_OWN_USERS)
			continue;
		host_op *perform = PERFORM[plan->ops[i].code];
		error = perform ? perform(host, &plan->ops[i]) : -ENOSYS;
		if (error)
			failure_of_op(why, plan, i, -error, NULL);
		FAULT(op_name(plan->ops[i].code));
	}
	return error;
}

int host_freeze(const struct host *host, bool frozen)
{
	return host->cgroup2_fd < 0 ? -ENOTSUP : cgroup_freeze(host->cgroup2_fd, frozen);
}

int host_kill(const struct host *host)
{
	return host->cgroup2_fd < 0 ? -ENOTSUP : cgroup_kill(host->cgroup2_fd);
}

int host_oom(const struct host *host)
{
	if (host->cgroup2_fd >= 0 && cgroup_value(host->cgroup2_fd, "memory.events", "oom_kill") > 0)
		return 1;
	for (size_t i = 0; i < MAX_CGROUP1 && host->cgroup1_fds[i] >= 0; i++)
		if (cgroup_value(host->cgroup1_fds[i], "memory.oom_control", "oom_kill") > 0)
			return 1;
	return 0;
}
