/* Performing plans. Owned by the plan side (plan.c, ops_*.c, netlink.c, cgroup.c, spawn.c). */
#ifndef TWINHULL_SPAWN_H
#define TWINHULL_SPAWN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "plan.h"

#define MAX_CGROUP1 16
#define MAX_HELD_PORTS 256
#define MAX_PROXIES 16
#define MAX_JOINED 8
#define ID_MAP_BYTES 4096 /* the kernel takes no larger map */

/* Of a plan that comes later: what is in place before it does. By far the most plans are smaller. */
#define PREPARED_PLAN_BYTES 65536

struct ahead;

/* What the host stage made; the owner keeps it until the undo stage. Zero-initialise with -1 fds by host_init. */
struct host {
	int instance_fd;              /* the instance directory, O_PATH or O_DIRECTORY */
	int cgroup2_fd;               /* leaf for CLONE_INTO_CGROUP, or -1 */
	bool joins;                   /* the plan joins a process: its groups may be frozen */
	int netns_fd;                 /* also dup'ed at NETNS_FD while netlink ops run, or -1 */
	int userns_fd;                /* of a plan with id-maps, or joined, or -1 */
	char maps[2][ID_MAP_BYTES];   /* of one that is joined: of users and of groups, as we see them */
	int mounts_fd;                /* the mount namespace that the child goes on in, or -1: its own */
	int userns_network_fd;        /* the network namespace that it owns, until the netns op takes it, or -1 */
	int channel_fd;               /* our end of the agent's socketpair, or -1 */
	int streams[3];               /* what each child has as its standard streams; -1: pipes of its own */
	int child_fds[MAX_CHILD_FDS]; /* index = the number in the main process, value = ours or -1 */
	struct {
		int fd;
		unsigned kind;          /* CLONE_NEW* */
	} joined[MAX_JOINED];           /* namespaces of the host's to enter; kind 0 ends the list */
	int cgroup1_fds[MAX_CGROUP1];   /* the directory of each v1 group, -1 terminated */
	int held_ports[MAX_HELD_PORTS]; /* -1 terminated */
	pid_t proxies[MAX_PROXIES];     /* processes of the proxy op, 0 terminated; they end with their parent */
	int route_fd;                   /* rtnetlink, for the network op of a child in our own namespace, or -1 */
	struct ahead *ahead;            /* a child that waits for its plan, or NULL */
	bool orphans;                   /* children are our parent's, and outlive us (init.c; all below too) */
	int client_fd;                  /* who asked for the container, or -1 */
	int lock_fd;   /* of the container's directory, held until we end; the child does not keep it; or -1 */
	int wait_fd;   /* what the main process waits at before exec, and writes its failure to, or -1 */
	int *listener; /* shared memory: the child's number of a seccomp listener, once it has one */
	int (*on_hooks)(const struct host *host, pid_t pid);
	int (*on_maps)(const struct host *host); /* who has ours written, or NULL */
	int (*on_listener)(const struct host *host, pid_t pid, int listener);
};

struct child {
	pid_t pid;
	pid_t helper; /* which made pid by another runtime and starts it, or 0 */
	pid_t maker;  /* which ended when it had made pid, or 0; an orphan's is not ours to reap */
	int pidfd;
	int start_fd;     /* write one byte: exec. close: the child ends */
	int status_fd;    /* struct failure on failure; EOF after a successful exec */
	int io[3];        /* our ends of stdin, stdout, stderr pipes; -1 where there is none */
	int tty;          /* pty master, or -1; then io[] are -1 */
	bool stdin_open;  /* the plan's stdin op was 1 or 2 */
	bool stdin_keeps; /* it was 2 */
};

/* A main process that was cloned before its plan is known: in its cgroup and namespaces it waits for the plan. */
struct ahead {
	const void *bytes;       /* memory that it shares with us; the plan will lie there. NULL: taken over */
	const struct plan *plan; /* what it has performed already */
	struct child child;
};

void host_init(struct host *host, int instance_fd);

/* Host-stage ops of the plan, in order. Child-stage ops are skipped. Returns 0 or -errno with *why filled in. */
int host_perform(struct host *host, const struct plan *plan, struct failure *why);

/* Clone a child and perform the child-stage ops; returns once they are all performed and the child waits for its
 * start byte (or failed). main_pid is the process to join for plans with a `join` op, else 0. */
int spawn_child(const struct host *host, const struct plan *plan, pid_t main_pid, struct child *child,
                struct failure *why);

/* Make a child ahead of its plan, which performs the child stage of this one (without exec) and waits. The next
 * spawn_child with the same namespaces takes it over: what it has performed is not performed again, and must do no
 * harm where the later plan does not ask for it. plan and bytes must outlive that. */
int spawn_ahead(struct host *host, const struct plan *plan, const void *bytes, struct ahead *ahead,
                struct failure *why);

/* Let the child exec. Returns 0 once exec has succeeded, or -errno with *why (126, 127 decided here). */
int spawn_start(struct child *child, struct failure *why);

/* Close our descriptors of a child; whether it runs is not asked. */
void child_close(struct child *child);

/* Undo-stage ops, all of them, going on after failures. Returns the first failure. spares: all processes of ours have
 * ended, and a group that still has some is left to them. */
int undo_perform(int instance_fd, const struct plan *plan, bool spares, struct failure *why);

/* Freeze or thaw, kill: by the v2 leaf. */
int host_freeze(const struct host *host, bool frozen);
int host_kill(const struct host *host);
/* 1 if the kernel's OOM killer struck in the workload's cgroups, else 0. */
int host_oom(const struct host *host);

#endif
