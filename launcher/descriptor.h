/* Descriptors of our own: closed when they leave scope, kept out of the numbers that a plan may give away. */
#ifndef TWINHULL_DESCRIPTOR_H
#define TWINHULL_DESCRIPTOR_H

#include <stdbool.h>
#include <stddef.h>

#define CLEANUP_FD __attribute__((cleanup(fd_cleanup)))

void fd_cleanup(int *fd);

/* Close *fd unless it is -1, and make it -1. */
void fd_close(int *fd);

/* Return *fd and make it -1: whoever gets it closes it. */
int fd_take(int *fd);

/* Move fd above the numbers of the child (MAX_CHILD_FDS), close-on-exec. A negative fd is handed back. */
int fd_high(int fd);

/* Close every descriptor but those in keep, -1 entries ignored; keep is sorted in place. */
int fd_keep_only(int *keep, size_t count);

/* A pipe, and a socketpair of the type, above the child's numbers; ends[0] is for reading. Return 0 or -errno. */
int fd_pipe(int ends[2]);
int fd_socketpair(int type, int ends[2]);

/* Write all of it, or return -errno. */
int fd_write_all(int fd, const void *data, size_t length);

/* Write a value to an existing file at a path below the directory (AT_FDCWD: any). Returns 0 or -errno. */
int file_write(int directory, const char *path, const char *value, size_t length);

/* Read at most size - 1 bytes of a small file and end them by a NUL. Returns the length or -errno. */
int file_read(int directory, const char *path, char *buffer, size_t size);

/* Send bytes over a socket, with a descriptor unless fd is -1. Returns 0 or -errno. */
int fd_send(int socket, const void *bytes, size_t length, int fd);

/* The descriptor that comes with one byte over a socket, or -errno. */
int fd_receive(int socket);

#endif
