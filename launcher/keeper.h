/* The privileged half of a VM's shim: it keeps the lock and the namespace, reaps QEMU, and parses nothing of a guest's.
 */
#ifndef TWINHULL_KEEPER_H
#define TWINHULL_KEEPER_H

#include "server.h"

struct keeper {
	pid_t relay; /* 0: not started */
	bool has_status;
	struct exit_status status; /* of the guest's workload, as the relay told it */
};

/* QEMU runs: hand the starting client, the socket, the console and the guest's channel to a relay, and become its
 * server. vital: the workload ends with that client. 0 or -errno. */
int keeper_start_relay(struct keeper *keeper, struct server *server, uint64_t log_max_bytes, bool vital);
/* EXIT from the relay; any other frame is a breach. */
int keeper_request(struct keeper *keeper, const struct frame *frame);
/* How the workload ended, given how QEMU did. */
void keeper_settle(const struct keeper *keeper, struct exit_status *status);
/* The relay ends once its clients have everything. */
void keeper_wait(const struct keeper *keeper);

#endif
