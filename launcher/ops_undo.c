/* The undo stage: every op is performed, whatever became of the others, and finds it well when nothing is left. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "cgroup.h"
#include "fault.h"
#include "hook.h"
#include "netlink.h"
#include "service.h"
#include "spawn.h"

typedef int undo_op(const struct op *op, bool spares);

static int op_kill_cgroup(const struct op *op, bool spares)
{
	return spares ? 0 : cgroup_kill_and_wait(op->args[0].text);
}

static int op_remove_cgroup(const struct op *op, bool spares)
{
	return cgroup_remove(op->args[0].text, spares);
}

static int op_nftables_delete(const struct op *op, bool spares)
{
	(void)spares;
	int error = netlink_talk(NETLINK_NETFILTER, op->args[0].text, op->args[0].length, op->args[1].number);
	return error == -ENOENT ? 0 : error;
}

static int op_remove_file(const struct op *op, bool spares)
{
	(void)spares;
	return unlink(op->args[0].text) == 0 || errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
}

static int op_end_service(const struct op *op, bool spares)
{
	(void)spares;
	return service_end(op->args[0].text, op->args[1].text);
}

static int op_end_runtime(const struct op *op, bool spares)
{
	(void)spares;
	int status;
	hook_run(op, NULL, NULL, &status);
	return 0; /* the cgroup is killed next, and what it says nobody can act upon */
}

static undo_op *const PERFORM[MAX_OP_CODE + 1] = {
	[OP_KILL_CGROUP] = op_kill_cgroup,         [OP_REMOVE_CGROUP] = op_remove_cgroup,
	[OP_NFTABLES_DELETE] = op_nftables_delete, [OP_REMOVE_FILE] = op_remove_file,
	[OP_END_SERVICE] = op_end_service,         [OP_END_RUNTIME] = op_end_runtime,
};

int undo_perform(int instance_fd, const struct plan *plan, bool spares, struct failure *why)
{
	int first = 0;
	(void)instance_fd; /* the paths of undo ops are absolute */
	for (size_t i = 0; i < plan->count; i++) {
		const struct op *op = &plan->ops[i];
		if (stage_of(op->code) != STAGE_UNDO)
			continue;
		int error = PERFORM[op->code] ? PERFORM[op->code](op, spares) : -ENOSYS;
		if (error && !first) {
			failure_of_op(why, plan, i, -error, NULL);
			first = error;
		}
		FAULT(op_name(op->code));
	}
	return first;
}
