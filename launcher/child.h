/* The child stage: what the new process does to itself between clone and exec. */
#ifndef TWINHULL_CHILD_H
#define TWINHULL_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "plan.h"
#include "spawn.h"

#define MAX_KEPT_FDS (MAX_CHILD_FDS + 8)
#define MAX_TREES 8
/* Bits of root-bind's mode and of bind's recursive. */
enum { ROOT_READONLY = 1, ROOT_OWNERS = 2, BIND_ALL = 1, BIND_PEERS = 2, BIND_MAPS_ALL = 4, BIND_INSIDE = 8 };
#define TOOL_FREEZES 65536 /* tool op, a bit of its flags: nothing of the workload runs until it has ended */
enum { HOOK_AT_ONCE, HOOK_BEFORE_EXEC, HOOK_AS_PROCESS }; /* hook op: when; the last has the process's environment */

/* What a plan's child stage says about the clone, read by both sides before it. */
struct shape {
	size_t first, count;   /* the child stage is ops[first .. first+count) */
	uint64_t flags;        /* CLONE_NEW*, of the namespaces op */
	const struct op *maps; /* id-maps, or NULL */
	const struct op *user; /* or NULL */
	bool joins, terminal;
	bool foreign;          /* the mount namespace is not the workload's own */
	const struct op *tool; /* or NULL */
	bool runtime;          /* a process of another's making takes the place of ours */
	unsigned stdin_mode;
};

/* What the child tells its parent, one datagram each on the status socket. */
enum report_kind {
	REPORT_FAILED = 1,
	REPORT_READY,
	REPORT_INNER,
	REPORT_TERMINAL,
	REPORT_HOOKS,
	REPORT_MADE,
	REPORT_MAP
};

struct report {
	enum report_kind kind;
	pid_t pid;    /* INNER, MADE: its pidfd comes along. TERMINAL: the master does. HOOKS: a byte answers */
	size_t index; /* MAP: of a bind-idmapped op, whose source comes along; its tree answers, or an errno */
	struct failure failure; /* FAILED */
};

/* The child's ends of what its parent made. */
struct ends {
	int status, start, io[3];
};

/* What the ops of the child stage share. Ops that must wait for the last moment are kept here. */
struct setup {
	const struct host *host;
	const struct plan *plan;
	const struct plan *done; /* what a child made ahead has performed, or NULL */
	const struct shape *shape;
	struct ends ends;
	int root;     /* where paths of the root begin: "/", or the mount that enter-root will make "/" */
	int outer;    /* ahead of the plan: what root was before the scaffold, or -1 */
	int procfs;   /* a procfs of our own that no path leads to, or -1 */
	int empty;    /* a mounted empty read-only tmpfs, or -1 */
	bool private; /* the mounts no longer reach the host */
	bool shared;  /* except those that are the host's peers' still */
	bool made;    /* overlay or root-bind was performed */
	bool entered; /* and enter-root */
	bool init;    /* the program gets a first process of ours */
	mode_t umask;
	const char *blame;         /* what failed, where it is not the op's own target */
	char interpreter[192];     /* a program and what it names to run it, which is not there; or "" */
	char ended[248];           /* a hook, how it ended, and what it said */
	const struct op *current;  /* what is being performed; NULL: what comes before or after the ops */
	bool grafts;               /* the plan asks for all that is on the scaffold */
	int trees[MAX_TREES];      /* the mounts at the top of the scaffold, in the order of their ops; -1 terminated */
	int lower;                 /* of a tool: what its root is compared with, or -1 */
	int prepared[MAX_OPS];     /* with a user namespace: the mount of an op, made on the host, or -1 */
	const struct op *terminal; /* for another runtime, or NULL */
	const struct op *user, *capabilities, *no_new_privileges, *seccomp, *root_readonly, *imprint;
	size_t argc, envc;
	const char *argv[MAX_OPS + 1], *envp[MAX_OPS + 1];
};

struct shape shape_of(const struct plan *plan);

/* Run the child: never returns. main_pid is the process to join, or 0. */
_Noreturn void child_run(const struct host *host, const struct plan *plan, const struct shape *shape, pid_t main_pid,
                         const struct ends *ends);

/* The same for a child ahead of its plan: performs this one, reports READY, and goes on with the plan in bytes. */
_Noreturn void child_run_ahead(const struct host *host, const struct plan *plan, const struct shape *shape,
                               const struct ends *ends, const void *bytes);

/* True if one of the first `count` ops is this one, with the same arguments. */
bool ops_contain(const struct op *ops, size_t count, const struct op *op);

/* Send a report, with a descriptor unless fd is -1. Returns 0 or -errno. */
int report_send(int socket, const struct report *report, int fd);

/* namespaces.c: before the ops. Each returns 0 or -errno. */
int namespaces_enter(struct setup *setup);
int namespaces_join(const struct setup *setup, pid_t main_pid);

/* For a tool: the mounts and the users of a workload's process, and its names where the plan says so; nothing else. */
int namespaces_visit(const struct setup *setup, pid_t main_pid);

/* userns.c: the same for a user namespace, as far as the mounts of the host and root's identity go. */
int userns_enter(struct setup *setup);
int userns_become_root(const struct shape *shape);
/* The groups of the caller stay: the user op has one byte instead of numbers. */
bool keeps_groups(const struct op *user);
/* The pipes were made by the host's root, whom nobody inside may speak for: give them to root by these maps. */
int userns_give_streams(const struct ends *ends, const char *uids, const char *gids);
int userns_make(struct host *host, const struct op *maps, bool network);
/* Go into one ourselves, as the own-users op says. */
int userns_own(const struct host *host, const struct op *op);
/* One that is joined: note its maps, and make a network namespace that belongs to it. */
int userns_visit(struct host *host, bool network);

/* Show a tree through the maps of a bind-idmapped op: its own, or those of the child's namespace. */
int userns_map(struct setup *setup, int tree, const struct op *op);
/* For a child that may not: what is at a descriptor of its mount namespace's, seen so. A detached tree, or -errno. */
int userns_map_for(const struct host *host, int child, const struct op *op, int source);

/* ops_process.c: a procfs that no path leads to, kept for all ops. Returns a descriptor or -errno. */
int own_procfs(struct setup *setup);

/* ops_process.c: the processors that we may run on, a bit each; no bytes are all. Returns 0 or -errno. */
int affinity_set(const struct argument *processors);

/* ops_process.c: set one limit. Returns 0 or -errno. */
int rlimit_set(const struct op *op);

/* reaper.c: become the first process, whose child goes on. Returns in the child alone: 0 or -errno. */
int reaper_fork(const struct setup *setup);

/* ops_root.c: the detached tree of a bind or bind-idmapped op. Returns a descriptor or -errno. */
int bind_tree(struct setup *setup, const struct op *op);

/* identity.c: after the ops. */
int identity_assume(struct setup *setup);
int filter_load_last(struct setup *setup); /* when all is said to our parent */

/* tool.c: before the workload's mounts are ours, and in place of exec. tool_prepare returns 0 or -errno. */
int tool_prepare(struct setup *setup, pid_t main_pid);
_Noreturn void tool_run(const struct setup *setup);

/* runtime.c: with the standard streams in place, have the process made that our parent goes on with. */
int runtime_create(struct setup *setup, const struct op *op);

/* exec.c: the last steps. exec_program returns only when it failed. */
/* Is this number given to the process? What the plan of the main process opened is not for those that join it. */
bool descriptor_given(const struct setup *setup, int number);
int descriptors_arrange(const struct setup *setup);
/* Add HOME, as the root's /etc/passwd has it, unless the plan gives one. */
void home_add(struct setup *setup);
int exec_program(struct setup *setup, const char *path);
/* 0, or what exec_program would say, as far as root can tell without doing it. */
int exec_possible(struct setup *setup, const char *path);

typedef int child_op(struct setup *setup, const struct op *op);
child_op op_init, op_runtime;
child_op op_private_mounts, op_overlay, op_root_bind, op_bind, op_filesystem, op_stage;
child_op op_mask, op_read_only, op_enter_root, op_foreign_mounts, op_scaffold;
/* Leave the scaffold as it is, and go on with the root from before it. */
void scaffold_leave(struct setup *setup);
int root_readonly(struct setup *setup);
/* A hook op, whenever it is due; how it ended is the blame. */
int hook_perform(struct setup *setup, const struct op *op);
child_op op_directory, op_device, op_symlink, op_file;
child_op op_hostname, op_domainname, op_sysctl, op_oom_score, op_umask, op_directory_of_work;
child_op op_terminal, op_network;
child_op op_await_hooks, op_hook, op_hook_directory, op_propagation, op_attributes, op_remount;
child_op op_affinity, op_scheduler, op_io_priority, op_personality, op_time_offsets, op_label;
/* Add entropy to the kernel's pool through an open /dev/urandom, and reseed. Returns 0 or -errno. */
int seed_add(int random, const void *entropy, size_t length);
/* Read away what the kernel's source of entropy (/dev/hwrng, not blocking) had ready before: others have that too. */
void seed_forget(int source);

#endif
