/* Paths inside a root that is not ours: never followed out of it, opened once, used by descriptor. */
#ifndef TWINHULL_PATH_H
#define TWINHULL_PATH_H

#include <limits.h>
#include <sys/types.h>

/* Open a path of the root with O_PATH; symbolic links are resolved inside the root. Below /proc, /sys and /dev
 * no link is followed: an image that has one there is refused with ELOOP. Returns a descriptor or -errno. */
int path_open(int root, const char *path);

/* As path_open, and what is missing is made: directories on the way, and at the end a directory or an empty
 * file (type is S_IFDIR or S_IFREG). A dangling link at the end is filled in where it points to. */
int path_make(int root, const char *path, mode_t type, mode_t mode);

/* Open the directory that a path lies in, made if missing, and copy the last name. */
int path_parent(int root, const char *path, char name[NAME_MAX + 1]);

#endif
