/* PID 1 of a guest: gets the machine ready, then serves the workload over the agent's port. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cgroup.h"
#include "child.h"
#include "counter.h"
#include "descriptor.h"
#include "frames.h"
#include "guest.h"
#include "memory.h"
#include "modes.h"
#include "netlink.h"
#include "server.h"

#define PORT_NAME "agent"
#define HELLO_BYTES 20 /* plan/frames.py: version, and two moments */
#define NOBODYS_GROUP "/sys/fs/cgroup/twinhull/nobody"
#define REHEARSAL_GROUP "/sys/fs/cgroup/twinhull/rehearsal" /* plan/guest.py */
#define GROUP_RELEASE_US 150000                             /* the kernel gives a group back in the background */

struct agent {
	struct host host;
	struct server *server;
	int random;        /* where a seed goes */
	int source;        /* of entropy, or -1 */
	bool has_scratch;  /* the plan mounts a disk that is written to */
	bool shares_pids;  /* the workload's processes do not end with its first */
	int namespaces[4]; /* of the child made ahead, held */
	uint64_t began;    /* by the machine's counter */

	/* What CONFIG had us do before a template was saved: a plan that most workloads' plans begin like. */
	uint8_t bytes[MAX_PAYLOAD];
	struct plan *plan; /* NULL: nothing was done ahead */
	struct plan *part; /* of a plan, the ops that are performed together */
	struct ahead ahead;
	const struct op *policy_op;
	int policy; /* its program, loaded, or -1 */
};

/* Perform the host stage without its device policy, or that alone. */
static int perform_part(struct agent *agent, const struct plan *plan, bool policy, struct failure *why)
{
	agent->part->count = 0;
	for (size_t i = 0; i < plan->count; i++)
		if ((plan->ops[i].code == OP_DEVICE_POLICY) == policy)
			agent->part->ops[agent->part->count++] = plan->ops[i];
	return host_perform(&agent->host, agent->part, why);
}

static int on_plan(void *context, const struct plan *plan, struct failure *why)
{
	struct agent *agent = context;
	for (size_t i = 0; i < plan->count; i++)
		if (plan->ops[i].code == OP_STAGE && !strcmp(plan->ops[i].args[0].text, "ext4"))
			agent->has_scratch = true;
	agent->shares_pids = !(shape_of(plan).flags & CLONE_NEWPID);
	return perform_part(agent, plan, false, why);
}

/* The child has mounted the disks, which the policy keeps from the workload. */
static int on_prepared(void *context, const struct plan *plan, struct failure *why)
{
	struct agent *agent = context;
	for (size_t i = 0; i < plan->count && agent->policy >= 0; i++)
		if (ops_contain(agent->policy_op, 1, &plan->ops[i]))
			return cgroup_policy_attach(agent->host.cgroup2_fd, agent->policy);
	return perform_part(agent, plan, true, why);
}

/* A namespace that we hold is not taken apart when the workload ends, which its exit would wait for: the machine is
 * cut off a moment later. */
static void hold_namespaces(struct agent *agent)
{
	static const char *const NAMES[] = {"mnt", "ipc", "uts", "cgroup"};
	for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
		char path[64];
		snprintf(path, sizeof(path), "/proc/%d/ns/%s", agent->ahead.child.pid, NAMES[i]);
		agent->namespaces[i] = fd_high(open(path, O_RDONLY | O_CLOEXEC));
	}
}

/* The kernel's first attachment of a device policy patches its own code; a group that nobody enters pays for it. */
static void prepare_policy(struct agent *agent)
{
	for (size_t i = 0; i < agent->plan->count; i++)
		if (agent->plan->ops[i].code == OP_DEVICE_POLICY)
			agent->policy_op = &agent->plan->ops[i];
	if (!agent->policy_op)
		return;
	agent->policy = cgroup_policy_load(agent->policy_op->args[0].text, agent->policy_op->args[0].length);
	CLEANUP_FD int nobodys = cgroup_make(NOBODYS_GROUP, false);
	if (nobodys >= 0 && agent->policy >= 0)
		cgroup_policy_attach(nobodys, agent->policy);
}

/* Memory that the plan will need, in place before the guest is saved: a fault costs more than what it is for. */
static int prepare_memory(struct agent *agent, struct connection *from)
{
	void *shared = mmap(NULL, MAX_PLAN_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return -errno;
	memory_populate(shared, PREPARED_PLAN_BYTES, true);
	from->plan = shared;
	agent->server->plan = map_memory(sizeof(struct plan));
	agent->server->chunk = map_memory(MAX_PAYLOAD);
	return 0;
}

/* Whatever runs before the template is saved costs its guests nothing. The plan will lie where the child sees it. */
static int work_ahead(struct agent *agent, struct connection *from, struct failure *why)
{
	guest_simplify();
	prepare_policy(agent);
	agent->host.route_fd = netlink_open(NETLINK_ROUTE);
	int error = perform_part(agent, agent->plan, false, why);
	if (!error)
		error = from->plan ? -EPROTO : prepare_memory(agent, from);
	if (!error)
		error = spawn_ahead(&agent->host, agent->plan, from->plan, &agent->ahead, why);
	if (!error)
		hold_namespaces(agent);
	memory_prefault();
	return error;
}

/* The copy: a child ahead of a plan like ours, in a group that goes afterwards; and the socket takes the port's place,
 * so that what we are called from goes on with what comes over it. */
static int become_copy(struct agent *agent, struct connection *from, int socket)
{
	struct failure why = {.index = UINT32_MAX};
	from->plan = NULL;
	agent->host.cgroup2_fd = cgroup_make(REHEARSAL_GROUP, false);
	int error = agent->host.cgroup2_fd < 0 ? agent->host.cgroup2_fd : prepare_memory(agent, from);
	if (!error)
		error = spawn_ahead(&agent->host, agent->plan, from->plan, &agent->ahead, &why);
	if (error || dup2(socket, from->fd) < 0)
		_exit(1);
	return 0;
}

/* A workload's life, played to a copy of ourselves by these frames: under TCG it is this machine's first run of the
 * code that costs most of a start. */
static int rehearse(struct agent *agent, struct connection *from, const struct frame *frame)
{
	static uint8_t heard[MAX_PAYLOAD];
	int ends[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	pid_t copy = fork();
	if (copy == 0) {
		close(ends[0]);
		fcntl(ends[1], F_SETFL, O_NONBLOCK);
		return become_copy(agent, from, ends[1]);
	}
	close(ends[1]);
	if (copy > 0 && fd_write_all(ends[0], frame->payload, frame->length) == 0)
		while (read(ends[0], heard, sizeof(heard)) > 0)
			;
	close(ends[0]);
	while (copy > 0 && waitpid(copy, NULL, 0) < 0 && errno == EINTR)
		;
	rmdir(REHEARSAL_GROUP);
	usleep(GROUP_RELEASE_US);
	memory_renew();
	return 0;
}

/* First a plan to work ahead with, then a rehearsal. A guest that could not do it is a slower one, no worse. */
static int on_config(struct agent *agent, struct connection *from, const struct frame *frame)
{
	struct failure why = {.index = UINT32_MAX};
	if (agent->plan)
		return rehearse(agent, from, frame);
	if (!(agent->plan = map_memory(sizeof(*agent->plan))))
		return -EPROTO;
	memcpy(agent->bytes, frame->payload, frame->length);
	int error = plan_decode(agent->bytes, frame->length, agent->plan, &why);
	if (!error)
		error = work_ahead(agent, from, &why);
	if (error)
		fprintf(stderr, "twinhull: working ahead: %s: %s\n", why.text, strerror(-error));
	return 0;
}

static uint64_t payload_u64(const struct frame *frame, size_t index)
{
	return frame_u32(frame, index) | (uint64_t)frame_u32(frame, index + 1) << 32;
}

/* A restored guest has another's clock and random state: the host sends its own before the workload starts. */
static int on_request(void *context, struct connection *from, const struct frame *frame)
{
	struct agent *agent = context;
	struct timespec now = {.tv_sec = (time_t)payload_u64(frame, 0), .tv_nsec = (long)frame_u32(frame, 2)};
	switch (frame->kind) {
	case FRAME_CONFIG: return on_config(context, from, frame);
	case FRAME_TIME: clock_settime(CLOCK_REALTIME, &now); return 0;
	case FRAME_SEED: seed_forget(agent->source); return seed_add(agent->random, frame->payload, frame->length);
	default: return -EPROTO;
	}
}

/* The scratch disk must be complete before anybody hears of the end: the machine is cut off right after it. */
static void settle(void *context, struct outcome *outcome)
{
	struct agent *agent = context;
	(void)outcome;
	if (agent->shares_pids)
		host_kill(&agent->host);
	if (agent->has_scratch)
		sync();
}

static void put_u64(uint8_t *out, uint64_t value)
{
	put_u32(out, (uint32_t)value);
	put_u32(out + 4, (uint32_t)(value >> 32));
}

/* HELLO with two moments of this guest's boot, which nobody can see from the host. The counter begins with the
 * processor, the kernel's clocks only when it has set them up. */
static void greet(void *context, struct connection *client)
{
	struct agent *agent = context;
	uint8_t payload[HELLO_BYTES];
	put_u32(payload, PROTOCOL_VERSION);
	put_u64(payload + 4, agent->began);
	put_u64(payload + 12, counter_now());
	connection_send(client, 0, FRAME_HELLO, payload, sizeof(payload));
}

static void block_signals(void)
{
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static _Noreturn void serve(int port, uint64_t began)
{
	static struct server server;
	static struct agent agent;
	struct server_hooks hooks = {
		.context = &agent,
		.greet = greet,
		.plan = on_plan,
		.prepared = on_prepared,
		.settle = settle,
		.request = on_request,
	};
	host_init(&agent.host, -1);
	agent.policy = -1;
	agent.began = began;
	agent.server = &server;
	agent.part = map_memory(sizeof(*agent.part));
	agent.random = fd_high(open("/dev/urandom", O_RDWR | O_CLOEXEC));
	agent.source = fd_high(open("/dev/hwrng", O_RDONLY | O_NONBLOCK | O_CLOEXEC));
	server_init(&server, &agent.host, &hooks);
	server.accepts_plan = true;
	server.starter_is_vital = true;
	server_adopt(&server, port, true);
	server_run(&server);
	if (getpid() != 1) /* a rehearsal's copy */
		_exit(0);
	guest_power_off();
}

int agent_main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[argc - 1], GUEST_WARM_UP))
		return 0;
	if (getpid() != 1) {
		fprintf(stderr, "twinhull: the agent is for the first process of a guest\n");
		return 125;
	}
	uint64_t began = counter_now();
	block_signals();
	int port = guest_prepare() < 0 ? -1 : guest_open_port(PORT_NAME);
	if (port < 0)
		guest_power_off();
	guest_warm_up();
	serve(port, began);
}
