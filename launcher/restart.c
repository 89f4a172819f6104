#define _GNU_SOURCE
#include "restart.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "descriptor.h"
#include "kernel.h"

/* As Docker's: doubled from one to the next, and from the beginning after a run that was long enough. */
#define FIRST_DELAY_MS 100
#define LAST_DELAY_MS 60000
#define LONG_RUN_MS 10000
#define POLICY_BYTES 16384 /* what a command's configuration may take */
#define MAX_WORDS 16
#define LOCK_FD 3
#define LOCK_WAIT_MS 2

struct policy {
	char text[POLICY_BYTES];
	const char *words[MAX_WORDS + 1]; /* NULL-terminated */
	size_t count;
};

enum { POLICY, MOST, PATH, PROGRAM, ARGUMENTS };

static bool read_policy(int directory_fd, struct policy *policy)
{
	int length = file_read(directory_fd, "restart", policy->text, sizeof(policy->text));
	policy->count = 0;
	for (char *at = policy->text; length > 0 && at < policy->text + length; at += strlen(at) + 1) {
		if (policy->count == MAX_WORDS)
			return false;
		policy->words[policy->count++] = at;
	}
	policy->words[policy->count] = NULL;
	return policy->count > ARGUMENTS;
}

static bool is_wanted(const struct policy *policy, const struct exit_status *status, unsigned count)
{
	unsigned long most = strtoul(policy->words[MOST], NULL, 10);
	if (strcmp(policy->words[POLICY], "on-failure") == 0)
		return status->code != 0 && (most == 0 || count < most);
	return true;
}

/* What came of the policy so far: `restarts`. */
struct state {
	unsigned count;
	long delay_ms;
	bool waiting; /* false: it is over, or a user has said so */
	pid_t pid;    /* of whom to kill to take it back, once that does no harm */
};

static struct state read_state(int directory_fd)
{
	char text[64], *rest = text;
	struct state state = {0};
	if (file_read(directory_fd, "restarts", text, sizeof(text)) < 0)
		return state;
	state.count = (unsigned)strtoul(rest, &rest, 10);
	state.delay_ms = strtol(rest, &rest, 10);
	state.waiting = strtol(rest, &rest, 10) == 1;
	return state;
}

static int write_state(int directory_fd, const struct state *state)
{
	char text[64];
	int length = snprintf(text, sizeof(text), "%u %ld %d %d\n", state->count, state->delay_ms, state->waiting,
	                      state->pid);
	CLEANUP_FD int fd =
		openat(directory_fd, "restarts.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	int error = fd_write_all(fd, text, (size_t)length);
	return error ? error : renameat(directory_fd, "restarts.new", directory_fd, "restarts") < 0 ? -errno : 0;
}

int restart_decide(int directory_fd, const struct exit_status *status, int64_t ran_ms)
{
	struct policy policy;
	if (!read_policy(directory_fd, &policy))
		return -1;
	struct state state = read_state(directory_fd);
	state.pid = 0;
	state.waiting = is_wanted(&policy, status, state.count) && faccessat(directory_fd, "stopped", F_OK, 0) < 0;
	state.count += state.waiting;
	if (ran_ms >= LONG_RUN_MS || state.delay_ms <= 0)
		state.delay_ms = FIRST_DELAY_MS;
	else
		state.delay_ms = state.delay_ms > LAST_DELAY_MS / 2 ? LAST_DELAY_MS : state.delay_ms * 2;
	/* What cannot be written cannot be taken back either: nothing starts by itself. */
	return write_state(directory_fd, &state) == 0 && state.waiting ? (int)state.delay_ms : -1;
}

static _Noreturn void become(int directory_fd, int lock)
{
	static struct policy policy;
	char path[POLICY_BYTES + sizeof("PATH=")];
	sigset_t none;
	if (!read_policy(directory_fd, &policy) || dup2(lock, LOCK_FD) < 0)
		_exit(125);
	snprintf(path, sizeof(path), "PATH=%s", policy.words[PATH]);
	char *environment[] = {path, NULL};
	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(policy.words[PROGRAM], (char *const *)(uintptr_t)(policy.words + ARGUMENTS), environment);
	_exit(127);
}

static bool is_due(int directory_fd)
{
	return read_state(directory_fd).waiting && faccessat(directory_fd, "restart", F_OK, 0) == 0 &&
	       faccessat(directory_fd, "stopped", F_OK, 0) < 0;
}

/* The directory's lock. Whoever holds it may be waiting for us to see what it has written: then -ECANCELED. */
static int take_lock(int directory_fd)
{
	CLEANUP_FD int lock = fd_high(result(openat(directory_fd, "lock", O_RDWR | O_CLOEXEC | O_NOFOLLOW)));
	if (lock < 0)
		return lock;
	while (flock(lock, LOCK_EX | LOCK_NB) < 0) {
		if (!is_due(directory_fd))
			return -ECANCELED;
		poll(NULL, 0, LOCK_WAIT_MS);
	}
	return is_due(directory_fd) ? fd_take(&lock) : -ECANCELED;
}

/* Nothing is left to do but to wait: from now on we may be killed. */
static int offer_life(int directory_fd)
{
	CLEANUP_FD int lock = take_lock(directory_fd);
	struct state state = read_state(directory_fd);
	state.pid = getpid();
	return lock < 0 ? lock : write_state(directory_fd, &state);
}

void restart_later(int directory_fd, int delay_ms)
{
	if (offer_life(directory_fd) < 0)
		return;
	poll(NULL, 0, delay_ms);
	CLEANUP_FD int lock = take_lock(directory_fd);
	if (lock >= 0 && fork() == 0)
		become(directory_fd, lock);
}
