/* A decoded plan: bounds-checked as a whole before the first effect; it points into the bytes given. */
#ifndef TWINHULL_PLAN_H
#define TWINHULL_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ops.h" /* generated from src/twinhull/plan/ops.py: enum op_code, MAX_OPS, op table */

#define OP_MAX_ARGS 8
#define MAX_CHILD_FDS 64 /* descriptor numbers that a plan may give to the child lie below */

struct argument {
	uint64_t number;  /* i */
	const char *text; /* s: NUL-terminated; b: bytes */
	size_t length;    /* s: without the NUL */
};

struct op {
	enum op_code code;
	struct argument args[OP_MAX_ARGS];
};

struct plan {
	size_t count;
	struct op ops[MAX_OPS];
};

/* What stopped a plan. index is the op's place in the plan, or UINT32_MAX. */
struct failure {
	uint32_t index;
	int error;          /* errno, positive */
	uint32_t exit_code; /* 125, 126 or 127 */
	char text[256];     /* "op target", for people */
};

/* Returns 0, or -EBADMSG with *why filled in. data must outlive plan. */
int plan_decode(const void *data, size_t length, struct plan *plan, struct failure *why);

/* Bytes of the encoded plan that begins here, as its header says; at most MAX_PLAN_BYTES. */
size_t plan_length(const void *data);

/* As plan_decode, of a memory file or regular file read from its start. The bytes stay for the process's life. */
int plan_load(int fd, struct plan *plan, struct failure *why);

const char *op_name(enum op_code code);
enum op_stage stage_of(enum op_code code);

/* Fill in *why for an op that failed with errno `error`; blame is its target for people, NULL for the op's own. */
void failure_of_op(struct failure *why, const struct plan *plan, size_t index, int error, const char *blame);

#endif
