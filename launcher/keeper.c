#define _GNU_SOURCE
#include "keeper.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "descriptor.h"
#include "relay.h"

/* A guest that went away without a word (it crashed, or QEMU was killed) counts as killed. */
#define LOST_CODE 137

static _Noreturn void run_relay(const struct relay *relay, pid_t parent)
{
	prctl(PR_SET_NAME, "twinhull-relay");
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(125);
	relay_run(relay);
}

/* What the relay serves from now on leaves our loop. */
static struct relay take_over(struct server *server, uint64_t log_max_bytes)
{
	struct process *qemu = &server->main;
	struct relay relay = {
		.client_fd = server->starter ? server_release(server, server->starter) : -1,
		.listen_fd = fd_take(&server->listen_fd),
		.channel_fd = fd_take(&server->host->channel_fd),
		.keeper_fd = -1,
		.console_fds = {fd_take(&qemu->child.io[1]), fd_take(&qemu->child.io[2])},
		.log_directory_fd = server->host->instance_fd,
		.log_max_bytes = log_max_bytes,
	};
	qemu->open[0] = qemu->open[1] = false;
	return relay;
}

int keeper_start_relay(struct keeper *keeper, struct server *server, uint64_t log_max_bytes, bool vital)
{
	int ends[2];
	int error = fd_socketpair(SOCK_STREAM, ends);
	if (error)
		return error;
	struct relay relay = take_over(server, log_max_bytes);
	relay.keeper_fd = ends[1];
	relay.starter_is_vital = vital;
	pid_t self = getpid();
	keeper->relay = fork();
	if (keeper->relay == 0)
		run_relay(&relay, self);
	error = keeper->relay < 0 ? -errno : 0;
	fd_close(&relay.client_fd);
	fd_close(&relay.listen_fd);
	fd_close(&relay.channel_fd);
	fd_close(&relay.keeper_fd);
	fd_close(&relay.console_fds[0]);
	fd_close(&relay.console_fds[1]);
	server->starter = server_adopt(server, ends[0], false);
	server->starter->waiting = true;
	server->starter_is_vital = true;
	return error;
}

int keeper_request(struct keeper *keeper, const struct frame *frame)
{
	if (frame->kind != FRAME_EXIT || keeper->has_status)
		return -EPROTO;
	keeper->has_status = true;
	keeper->status.code = frame_u32(frame, 0) & 0xff;
	keeper->status.signal = frame_u32(frame, 1) & 0x7f;
	keeper->status.oom = frame_u32(frame, 2) != 0;
	return 0;
}

void keeper_settle(const struct keeper *keeper, struct exit_status *status)
{
	if (keeper->has_status)
		*status = keeper->status;
	else if (keeper->relay && !status->signal)
		*status = (struct exit_status){.code = LOST_CODE, .signal = SIGKILL};
}

void keeper_wait(const struct keeper *keeper)
{
	if (keeper->relay > 0)
		while (waitpid(keeper->relay, NULL, 0) < 0 && errno == EINTR)
			;
}
