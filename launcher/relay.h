/* The unprivileged half of a VM's shim: it alone reads what the guest sends, and serves the workload's socket. */
#ifndef TWINHULL_RELAY_H
#define TWINHULL_RELAY_H

#include <stdbool.h>
#include <stdint.h>

struct relay {
	int client_fd;  /* the starting client, after its STARTED on NO_STREAM; lossless */
	int listen_fd;  /* `sock` of the instance directory, listening */
	int channel_fd; /* the guest agent's socketpair */
	int keeper_fd;  /* frames to the keeper, see below */
	/* QEMU's stdout (the guest's console) and stderr. The keeper takes them out of its own loop before it forks
	 * (fd_take of main.child.io[1] and [2], main.open[] = false): it never reads a byte that a guest wrote. */
	int console_fds[2];
	int log_directory_fd; /* the instance directory, for the workload's log and the file `console` */
	uint64_t log_max_bytes;
	bool starter_is_vital; /* the workload ends with the starting client */
};

/* Runs in a process of its own that the keeper forked, all signals blocked, PDEATHSIG set; drops every privilege
 * and never returns. To the keeper it is a client of a server whose main process is QEMU, on stream NO_STREAM:
 *	EXIT on stream 0     how the guest's workload ended; goes into the exit record
 *	SIGNAL (NO_STREAM)   to QEMU: KILL once the workload is over
 *	PAUSE, STATS, PING   of QEMU's cgroup, answered
 * and from it comes EXIT on NO_STREAM once the record is written and everything is undone: only then does the
 * relay send EXIT to its own clients. The keeper's end: the relay ends. The relay's end: QEMU is killed. */
_Noreturn void relay_run(const struct relay *relay);

#endif
