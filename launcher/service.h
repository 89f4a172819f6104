/* A program that serves several workloads and that the last of them ends: a network's name server. */
#ifndef TWINHULL_SERVICE_H
#define TWINHULL_SERVICE_H

/* If the directory `users` is empty, end the process whose pid the file at path holds and that was started with
 * --pid-file=PATH, and unlink the file. PATH.lock is held meanwhile, as by whoever starts the service. Absent is fine.
 * Returns 0 or -errno. */
int service_end(const char *users, const char *path);

#endif
