/* The first steps of a guest: what PID 1 does between the kernel and the agent's port. */
#ifndef TWINHULL_GUEST_H
#define TWINHULL_GUEST_H

#define GUEST_WARM_UP "warm-up" /* argument of /init: end at once */

/* Mount the kernel's file systems on a root that can be pivoted, and load the modules of the archive in order.
 * Returns 0 or -errno; each failure is on the console. */
int guest_prepare(void);

/* Wait for the port of this name and open it, close-on-exec. Returns a descriptor or -errno. */
int guest_open_port(const char *name);

/* The first run of a program, and of the code that reads a disk, costs more than any later one: pay before the
 * guest is saved. Reads no boot id and opens no network socket. */
void guest_warm_up(void);

/* Of the kernel, what only costs a guest of ours time; to change it takes longer than one start wins. */
void guest_simplify(void);

/* Flush every file system and cut the power. Does not return. */
_Noreturn void guest_power_off(void);

#endif
