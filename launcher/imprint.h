/* A process as it was at one moment, in a sealed memfd: tables first, then pages. Written by `launcher imprint`
 * (imprint_save.c), and made into a process again in place of exec (imprint_load.c). Of this boot of this machine
 * alone: addresses, the vDSO and the processor's state are. */
#ifndef TWINHULL_IMPRINT_H
#define TWINHULL_IMPRINT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define IMPRINT_MAGIC 0x31706d696e697774u
#define IMPRINT_PAGE 4096u
#define IMPRINT_TABLES (2u << 20) /* where the pages begin */
#define IMPRINT_SIGNALS 64
#define IMPRINT_THREADS 64
#define IMPRINT_DESCRIPTORS 64
#define IMPRINT_SEGMENTS 16384
#define IMPRINT_NAMES 16384
#define IMPRINT_FILTER 4096
#define IMPRINT_SPECIALS 4
#define IMPRINT_XSTATE 12288 /* with the tiles of AMX 11,008 */

/* How a range of addresses is made. */
enum segment_kind {
	SEGMENT_EMPTY = 1,  /* anonymous memory that nobody has written to */
	SEGMENT_PAGES,      /* pages of the imprint */
	SEGMENT_FILE,       /* a file below the root: offset, name */
	SEGMENT_DESCRIPTOR, /* a file that is given as a descriptor: offset, name is its number */
	SEGMENT_STACK,      /* anonymous, growing down, with a copy of the imprint's pages */
};

struct segment {
	uint64_t start, end, offset;
	uint32_t kind, protection, name, advice;
};

enum saved_kind {
	SAVED_GIVEN = 1, /* whoever makes the process gives it; value: what a tap is set to */
	SAVED_COPY,      /* of the descriptor `value`, which is given */
	SAVED_DIRECTORY, /* below the root: value is the place of its name */
	SAVED_EPOLL,
	SAVED_EVENT,  /* value: its count */
	SAVED_SIGNAL, /* value: its mask */
};

/* What every start gives, as plan/qemu.py has the numbers: the template's memory, and /dev/urandom. */
#define IMPRINT_MEMORY 10
#define IMPRINT_ENTROPY 22

struct saved_descriptor {
	int32_t number;
	uint32_t kind, flags; /* of fcntl(F_GETFL) */
	uint32_t tap;         /* 1 if value is a tap's: header size, and offloads << 32 */
	uint64_t value;
};

struct saved_thread {
	uint64_t registers[27]; /* struct user_regs_struct */
	uint64_t mask, robust_list, tid_address, rseq;
	uint32_t rseq_bytes, rseq_signature, xstate_bytes, unused;
	_Alignas(64) uint8_t xstate[IMPRINT_XSTATE];
};

struct address_range {
	uint64_t start, end;
};

struct saved_action {
	uint64_t handler, flags, restorer, mask;
};

/* struct prctl_mm_map begins like this; pointers and descriptors are the loader's. */
struct saved_layout {
	uint64_t start_code, end_code, start_data, end_data, start_brk, brk, start_stack;
	uint64_t arg_start, arg_end, env_start, env_end;
};

struct imprint {
	uint64_t magic, bytes;
	uint32_t segments, threads, descriptors, names, filter, specials, auxv;
	char comm[16];
	struct saved_layout layout;
	struct saved_action actions[IMPRINT_SIGNALS];
	struct address_range special[IMPRINT_SPECIALS];
	uint64_t auxiliary[64];
	struct saved_descriptor descriptor[IMPRINT_DESCRIPTORS];
	uint64_t instructions[IMPRINT_FILTER]; /* struct sock_filter: what the process refuses itself */
	char name[IMPRINT_NAMES];              /* of files, each ended by NUL; a segment has its place */
	struct segment segment[IMPRINT_SEGMENTS];
	struct saved_thread thread[IMPRINT_THREADS];
};

_Static_assert(sizeof(struct imprint) <= IMPRINT_TABLES, "the tables end where the pages begin");

/* imprint_load.c: become this process. Returns only when it cannot be, -errno. */
int imprint_load(int fd);

#endif
