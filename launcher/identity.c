/* Giving up privilege, in the one order that the kernel's rules allow. */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "child.h"
#include "kernel.h"

#define CAPABILITY_BITS 64
#define LAST_CHANGE_OF_CREDENTIALS 3 /* its place among the steps of identity_assume */

/* The bounding set while it may still be cut; the permitted set shall survive the change of user. */
static int keep_permitted(const struct setup *setup, const struct op *op)
{
	(void)setup;
	uint64_t wanted = op->args[0].number;
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return -errno;
	for (unsigned long bit = 0; bit < CAPABILITY_BITS; bit++) {
		int held = prctl(PR_CAPBSET_READ, bit, 0, 0, 0);
		if (held < 0)
			return 0; /* past the kernel's last capability */
		if (held && !(wanted >> bit & 1) && prctl(PR_CAPBSET_DROP, bit, 0, 0, 0) < 0)
			return -errno;
	}
	return 0;
}

/* Who has the capability is refused only where the namespace denies it to everybody: groups of a user's are his. */
static bool are_groups_kept(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];
	return syscall(SYS_capget, &header, data) == 0 && (data[0].effective >> CAP_SETGID & 1);
}

bool keeps_groups(const struct op *user)
{
	return user && user->args[2].length == 1;
}

static int set_user(const struct setup *setup, const struct op *op)
{
	(void)setup;
	size_t count = op->args[2].length / sizeof(gid_t);
	gid_t gid = (gid_t)op->args[1].number;
	uid_t uid = (uid_t)op->args[0].number;
	bool keeps = keeps_groups(op);
	if (op->args[2].length % sizeof(gid_t) != 0 && !keeps)
		return -EINVAL;
	/* The kernel copies the groups itself: no alignment needed, as the C library's declaration would have. */
	if (!keeps && syscall(SYS_setgroups, count, op->args[2].text) < 0 && (count > 0 || !are_groups_kept()))
		return -EPERM;
	if (setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return -errno;
	return 0;
}

static int raise_ambient(uint64_t ambient)
{
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return -errno;
	for (unsigned long bit = 0; bit < CAPABILITY_BITS; bit++)
		if ((ambient >> bit & 1) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, bit, 0, 0) < 0)
			return -errno;
	return 0;
}

static int set_capabilities(const struct setup *setup, const struct op *op)
{
	(void)setup;
	uint64_t effective = op->args[1].number, permitted = op->args[2].number;
	uint64_t inheritable = op->args[3].number, ambient = op->args[4].number;
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[] = {
		{(uint32_t)effective, (uint32_t)permitted, (uint32_t)inheritable},
		{(uint32_t)(effective >> 32), (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32)},
	};
	int error = sys_capset(&header, data);
	return error ? error : raise_ambient(ambient);
}

static int forbid_privileges(const struct setup *setup, const struct op *op)
{
	(void)setup;
	(void)op;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

static int load_seccomp(const struct setup *setup, const struct op *op)
{
	unsigned flags = (unsigned)op->args[1].number; /* none in a seccomp op */
	size_t length = op->args[0].length;
	if (length % sizeof(struct sock_filter) != 0 || length / sizeof(struct sock_filter) > BPF_MAXINSNS)
		return -EINVAL;
	struct sock_fprog program = {
		.len = (unsigned short)(length / sizeof(struct sock_filter)),
		.filter = (struct sock_filter *)(uintptr_t)op->args[0].text,
	};
	int listener = sys_seccomp(SECCOMP_SET_MODE_FILTER, flags, &program);
	if (listener > 0 && setup->host->listener) /* no system call may follow before somebody listens */
		__atomic_store_n(setup->host->listener, listener, __ATOMIC_RELEASE);
	return listener < 0 ? listener : 0;
}

/* Loading a filter takes no_new_privs or CAP_SYS_ADMIN. With the first it goes in last, so that it need not allow
 * what is done before the program; without, while the capability is still there. One with a listener goes in while our
 * parent watches, who fetches that. */
static bool is_loaded_last(const struct setup *setup)
{
	const struct op *op = setup->seccomp;
	return op && setup->no_new_privileges && !(op->args[1].number & SECCOMP_FILTER_FLAG_NEW_LISTENER);
}

int filter_load_last(struct setup *setup)
{
	setup->current = setup->seccomp;
	int error = is_loaded_last(setup) ? load_seccomp(setup, setup->seccomp) : 0;
	if (!error)
		setup->current = NULL;
	return error;
}

int identity_assume(struct setup *setup)
{
	const struct {
		const struct op *op;
		int (*set)(const struct setup *setup, const struct op *op);
	} steps[] = {
		{setup->capabilities, keep_permitted},
		{setup->no_new_privileges ? NULL : setup->seccomp, load_seccomp},
		{setup->user, set_user},
		{setup->capabilities, set_capabilities},
		{setup->no_new_privileges, forbid_privileges},
		{setup->no_new_privileges && !is_loaded_last(setup) ? setup->seccomp : NULL, load_seccomp},
	};
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		setup->current = steps[i].op;
		int error = steps[i].op ? steps[i].set(setup, steps[i].op) : 0;
		/* Every change of credentials clears it, so it follows the last. */
		if (!error && i == LAST_CHANGE_OF_CREDENTIALS && !setup->host->orphans &&
		    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
			error = -errno;
		if (error)
			return error;
	}
	setup->current = NULL;
	return 0;
}
