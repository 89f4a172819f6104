/* `launcher keep [COVER GROUP]`: the namespaces in which the commands of a user without root do their work.
 *
 * It makes a user namespace, says so over the socket at KEEP_FD, and gets a byte when its maps are written; then it
 * makes a mount namespace and a network namespace, says how that went, and does nothing any more: who joins finds it by
 * its pid, and that it lives by the lock of the file at LOCK_FD. It hides the control groups of the host, which the
 * user may not change, under a mount that is named MARK; GROUP, one that he may, takes their place. Without arguments
 * it keeps the namespaces that it was started in. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "descriptor.h"
#include "kernel.h"
#include "modes.h"
#include "mounts.h"

#define KEEP_FD 3
#define LOCK_FD 4
#define END_FD 5               /* of a pipe: who reads it is told that we have ended */
#define MARK "twinhull-keeper" /* host/facts.py looks for it */

/* Returns true if whoever made us is still there. */
static bool say(int error)
{
	int32_t code = error < 0 ? -error : 0;
	return send(KEEP_FD, &code, sizeof(code), MSG_NOSIGNAL) == sizeof(code) && !error;
}

/* The mount table is read from its top: some kernels order it by when a mount was made, others by when it was put
 * into its place. */
static int cover(const char *place, const char *group)
{
	CLEANUP_FD int mount = mount_filesystem("tmpfs", MARK, "mode=755", MOUNT_ATTR_RDONLY);
	CLEANUP_FD int tree = *group ? mount_clone(AT_FDCWD, group, false, 0) : -1;
	if (*group && tree < 0)
		return tree;
	CLEANUP_FD int at = open(place, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (mount < 0 || at < 0)
		return mount < 0 ? mount : -errno;
	int error = sys_move_mount(mount, at);
	return error || tree < 0 ? error : sys_move_mount(tree, mount);
}

static int loopback_up(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	CLEANUP_FD int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

static int make(const char *place, const char *group)
{
	if (unshare(CLONE_NEWNS | CLONE_NEWNET) < 0)
		return -errno;
	int error = sys_mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL);
	if (!error)
		error = loopback_up();
	return error || !*place ? error : cover(place, group);
}

static bool make_all(const char *place, const char *group)
{
	char byte;
	return say(unshare(CLONE_NEWUSER) < 0 ? -errno : 0) && recv(KEEP_FD, &byte, 1, 0) == 1 &&
	       say(make(place, group));
}

int keep_main(int argc, char **argv)
{
	int kept[] = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO, KEEP_FD, LOCK_FD, END_FD};
	sigset_t every;
	if ((argc != 2 && argc != 4) || fd_keep_only(kept, 6) < 0)
		return 1;
	sigfillset(&every);
	sigprocmask(SIG_SETMASK, &every, NULL);
	setsid();
	if (!(argc == 4 ? make_all(argv[2], argv[3]) : say(0)) || chdir("/") < 0)
		return 1;
	close(KEEP_FD);
	for (;;)
		pause();
}
