/* `launcher imprint PID DESCRIPTOR`: save a process that stands still to a memfd, which nobody can change then.
 *
 * The process ends with us. What the kernel tells nobody but the process itself (signal handlers, where its numbers
 * lie) is asked in its name, by calls that are put into its stopped threads. What cannot be saved, shared memory for
 * example, is an error: one line on standard error. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "descriptor.h"
#include "directory.h"
#include "kernel.h"
#include "memory.h"
#include "modes.h"
#include "saver.h"

#ifdef __x86_64__

#define OWN_FILTERS 1 /* those that the plan loads come first */
#define ALL_OFFLOADS (TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_UFO)
enum { GET_FILTER = 0x420c };                  /* ptrace(2) */
enum { ASK_ETHTOOL = 0x8946, GET_TSO = 0x1e }; /* linux/sockios.h, linux/ethtool.h */

static unsigned long long info_value(const char *info, const char *key, int base)
{
	const char *found = strstr(info, key);
	return found ? strtoull(found + strlen(key), NULL, base) : 0;
}

/* What the kernel keeps of a tap for QEMU. Whether it cuts packets for the guest is asked of the link. */
static int save_tap(struct saver *saver, struct saved_descriptor *saved)
{
	struct ifreq request = {0};
	struct {
		uint32_t command, data;
	} question = {.command = GET_TSO};
	int header = 0;
	CLEANUP_FD int pidfd = sys_pidfd_open(saver->pid);
	CLEANUP_FD int tap = result(syscall(SYS_pidfd_getfd, pidfd, saved->number, 0));
	CLEANUP_FD int network = openat(saver->directory, "ns/net", O_RDONLY | O_CLOEXEC);
	if (tap < 0 || network < 0 || ioctl(tap, (int)TUNGETVNETHDRSZ, &header) < 0 ||
	    ioctl(tap, (int)TUNGETIFF, &request) < 0 || setns(network, CLONE_NEWNET) < 0)
		return -errno;
	CLEANUP_FD int inside = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	request.ifr_data = (char *)&question;
	if (inside < 0 || ioctl(inside, ASK_ETHTOOL, &request) < 0)
		return -errno;
	saved->tap = 1;
	saved->value = (uint64_t)header | (uint64_t)(question.data ? ALL_OFFLOADS : 0) << 32;
	return 0;
}

static int save_descriptor(struct saver *saver, struct saved_descriptor *saved)
{
	char link[64], path[64], target[256], info[4096];
	struct stat file;
	snprintf(link, sizeof(link), "fd/%d", saved->number);
	ssize_t length = readlinkat(saver->directory, link, target, sizeof(target) - 1);
	target[length > 0 ? length : 0] = '\0';
	snprintf(path, sizeof(path), "fdinfo/%d", saved->number);
	if (length <= 0 || file_read(saver->directory, path, info, sizeof(info)) < 0)
		return -EIO;
	saved->flags = (uint32_t)info_value(info, "flags:", 8);
	saved->kind = SAVED_GIVEN;
	if (!strcmp(target, "anon_inode:[eventpoll]")) {
		saved->kind = SAVED_EPOLL;
		return strstr(info, "tfd:") ? -ENOTSUP : 0;
	}
	if (!strcmp(target, "anon_inode:[eventfd]")) {
		saved->kind = SAVED_EVENT;
		saved->value = info_value(info, "eventfd-count:", 16);
	} else if (!strcmp(target, "anon_inode:[signalfd]")) {
		saved->kind = SAVED_SIGNAL;
		saved->value = info_value(info, "sigmask:", 16);
	} else if (!strcmp(target, "/dev/net/tun")) {
		return save_tap(saver, saved);
	} else if (!strncmp(target, SAVER_TEMPLATE, strlen(SAVER_TEMPLATE))) {
		saved->kind = saved->number == IMPRINT_MEMORY ? SAVED_GIVEN : SAVED_COPY;
		saved->value = IMPRINT_MEMORY;
	} else if (!strcmp(target, "/dev/urandom")) {
		saved->kind = SAVED_COPY; /* QEMU has copied what it was given, and closed that */
		saved->value = IMPRINT_ENTROPY;
	} else if (!strncmp(target, "anon_inode:", 11)) {
		return -ENOTSUP;
	} else if (fstatat(saver->directory, link, &file, 0) == 0 && S_ISDIR(file.st_mode)) {
		int name = saver_name(saver, target);
		saved->kind = SAVED_DIRECTORY;
		saved->value = (uint64_t)name;
		return name < 0 ? name : 0;
	}
	return 0;
}

static int save_descriptors(struct saver *saver)
{
	struct imprint *imprint = saver->imprint;
	CLEANUP_FD int names = openat(saver->directory, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct listing listing = {.fd = names};
	struct entry entry;
	int more;
	saver->what = "its descriptors";
	while ((more = listing_next(&listing, &entry)) > 0) {
		if (entry.name[0] == '.')
			continue;
		if (imprint->descriptors == IMPRINT_DESCRIPTORS)
			return -E2BIG;
		struct saved_descriptor *saved = &imprint->descriptor[imprint->descriptors++];
		saved->number = atoi(entry.name);
		int error = save_descriptor(saver, saved);
		if (error)
			return error;
	}
	return more;
}

/* The filter that the process has laid over itself, after those of the plan. */
static int save_filter(struct saver *saver)
{
	char status[8192];
	saver->what = "its filters";
	if (file_read(saver->directory, "status", status, sizeof(status)) < 0)
		return -EIO;
	unsigned long long filters = info_value(status, "Seccomp_filters:", 10);
	if (filters > OWN_FILTERS + 1)
		return -ENOTSUP;
	if (filters <= OWN_FILTERS)
		return 0;
	long count = ptrace((int)GET_FILTER, saver->pid, (void *)OWN_FILTERS, NULL);
	if (count < 0 || count > IMPRINT_FILTER)
		return count < 0 ? -errno : -E2BIG;
	saver->imprint->filter = (uint32_t)count;
	return ptrace((int)GET_FILTER, saver->pid, (void *)OWN_FILTERS, saver->imprint->instructions) < 0 ? -errno : 0;
}

/* proc(5), /proc/PID/stat: the fields after the name in parentheses. */
static int save_layout(struct saver *saver)
{
	struct saved_layout *layout = &saver->imprint->layout;
	struct imprint *imprint = saver->imprint;
	char stat[2048];
	saver->what = "its layout";
	if (file_read(saver->directory, "stat", stat, sizeof(stat)) < 0 ||
	    file_read(saver->directory, "comm", imprint->comm, sizeof(imprint->comm)) < 0)
		return -EIO;
	imprint->comm[strcspn(imprint->comm, "\n")] = '\0';
	char *at = strrchr(stat, ')');
	uint64_t fields[53] = {0};
	for (size_t i = 3; at && i < sizeof(fields) / sizeof(fields[0]) && (at = strchr(at + 1, ' ')); i++)
		fields[i] = strtoull(at + 1, NULL, 10);
	layout->start_code = fields[26], layout->end_code = fields[27], layout->start_stack = fields[28];
	layout->start_data = fields[45], layout->end_data = fields[46];
	layout->arg_start = fields[48], layout->arg_end = fields[49];
	layout->env_start = fields[50], layout->env_end = fields[51];
	CLEANUP_FD int auxv = openat(saver->directory, "auxv", O_RDONLY | O_CLOEXEC);
	ssize_t length = auxv < 0 ? -1 : read(auxv, imprint->auxiliary, sizeof(imprint->auxiliary));
	imprint->auxv = length > 0 ? (uint32_t)length : 0;
	return length > 0 && fields[51] ? 0 : -EIO;
}

static int finish(struct saver *saver)
{
	saver->what = "its imprint";
	saver->imprint->magic = IMPRINT_MAGIC;
	saver->imprint->bytes = saver->end;
	size_t length = offsetof(struct imprint, thread) + saver->imprint->threads * sizeof(struct saved_thread);
	int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	if (ftruncate(saver->out, (off_t)saver->end) < 0 ||
	    pwrite(saver->out, saver->imprint, length, 0) != (ssize_t)length ||
	    fcntl(saver->out, F_ADD_SEALS, seals) < 0)
		return -errno;
	return 0;
}

int imprint_main(int argc, char **argv)
{
	char path[64];
	struct saver saver = {.pid = argc == 4 ? (pid_t)atoi(argv[2]) : 0};
	if (saver.pid <= 0) {
		fprintf(stderr, "usage: launcher imprint PID DESCRIPTOR\n");
		return 125;
	}
	saver.out = atoi(argv[3]);
	snprintf(path, sizeof(path), "/proc/%d", saver.pid);
	saver.what = path;
	saver.directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	saver.memory = openat(saver.directory, "mem", O_RDONLY | O_CLOEXEC);
	saver.pagemap = openat(saver.directory, "pagemap", O_RDONLY | O_CLOEXEC);
	saver.imprint = map_memory(sizeof(*saver.imprint));
	int error = saver.imprint && saver.memory >= 0 && saver.pagemap >= 0 ? 0
	            : saver.directory < 0                                    ? -ENOENT
	                                                                     : -EACCES;
	int (*const steps[])(struct saver *) = {save_threads, save_descriptors, save_filter,
	                                        save_layout,  save_memory,      finish};
	for (size_t i = 0; !error && i < sizeof(steps) / sizeof(steps[0]); i++)
		error = steps[i](&saver);
	if (error)
		fprintf(stderr, "imprint: %s: %s\n", saver.what, strerror(-error));
	return error ? 1 : 0;
}

#else

int imprint_main(int argc, char **argv)
{
	(void)argc, (void)argv;
	fprintf(stderr, "imprint: not for this processor\n");
	return 1;
}

#endif
