/* Making mounts that nothing can reach yet. Each returns a descriptor of the mount, or -errno. */
#ifndef TWINHULL_MOUNTS_H
#define TWINHULL_MOUNTS_H

#include <stdbool.h>
#include <stdint.h>

struct mount_attr;

#define MOUNT_DATA_BYTES 4096 /* mount(2): one page */
#define OVERLAY_VOLATILE 1U   /* nothing is synced */
#define OVERLAY_OF_USER 2U    /* what overlayfs notes in attributes is in user.*, which needs no root */

struct overlay {
	const char *base, *lower; /* names relative to base, top first, split by ':' */
	const char *upper, *work; /* made if missing; both "": nothing can be written */
	uint64_t notes;           /* OVERLAY_* */
};

/* On top of "/", the only one that is attached. *blame: the path at fault, where it is not the upper directory. */
int mount_overlay(const struct overlay *overlay, const char **blame);

/* A detached copy of a tree (path "": of the descriptor itself), cut off from its peers, attributes added. */
int mount_clone(int directory, const char *path, bool recursive, uint64_t attributes);

/* The same, and unless `alone` it stays a peer of what was copied. */
int mount_copy(int directory, const char *path, bool recursive, bool alone, uint64_t attributes);

/* A new file system, detached; options as "size=64k,newinstance". */
int mount_filesystem(const char *type, const char *source, const char *options, uint64_t attributes);

/* Other options for the file system of a mount that is there; "" only looks that it is one. Returns 0 or -errno. */
int mount_configure(int mount, const char *options);

/* mount_setattr of a mount or of a whole tree. Returns 0 or -errno. */
int mount_change(int mount, bool recursive, struct mount_attr *changes);

/* mkdir; one that is there is fine, and so is "". Returns 0 or -errno. */
int directory_make(const char *path);

#endif
