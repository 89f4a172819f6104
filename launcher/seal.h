/* A workload must not overwrite the launcher through /proc/PID/exe of a process of ours (CVE-2019-5736). */
#ifndef TWINHULL_SEAL_H
#define TWINHULL_SEAL_H

/* Continue as the same program from a read-only clone of its mount; returns 0 there. -errno: it could not. The page
 * cache stays shared, which a copy in a memfd would not. */
int seal_launcher(char **argv);

#endif
