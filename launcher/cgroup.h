/* Control groups by directory descriptors; paths are the host's own. Each returns 0 or -errno. */
#ifndef TWINHULL_CGROUP_H
#define TWINHULL_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Make a group with its ancestors and open its directory; one that is frozen is EBUSY if it shall be awake. Returns a
 * descriptor or -errno. */
int cgroup_make(const char *path, bool awake);

/* Attach a BPF program of type CGROUP_DEVICE to a v2 group. */
int cgroup_device_policy(int group, const void *program, size_t length);
/* The two halves of it: the kernel's check of the program costs far more than to attach it. */
int cgroup_policy_load(const void *program, size_t length);
int cgroup_policy_attach(int group, int policy);

/* v2: open the group below this one that a process is in. Returns a descriptor, or -errno; -ENOENT if it is not below.
 */
int cgroup_below(int group, pid_t pid);

/* v2: freeze or thaw, and wait until the kernel says so. */
int cgroup_freeze(int group, bool frozen);

/* v2: kill every process in the group. */
int cgroup_kill(int group);

/* v2: kill, then wait until nothing is left; an absent group is fine. */
int cgroup_kill_and_wait(const char *path);

/* Remove a group and its descendants; what is left in them is killed first, or, with `spares`, stays there with its
 * group. Absent is fine. */
int cgroup_remove(const char *path, bool spares);

/* A number from a "key value" file of the group, or -1. */
long cgroup_value(int group, const char *file, const char *key);

#endif
