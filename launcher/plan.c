/* Decoding: the whole plan is checked before anything is done with it. docs/plan-format.md is the format. */
#define _GNU_SOURCE
#include "plan.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct op_type {
	const char *name;
	enum op_stage stage;
	const char *kinds; /* one letter an argument, see OP_TABLE */
	int telling;
};

#define ROW(code, name, stage, kinds, telling) [code] = {name, stage, kinds, telling},
static const struct op_type TYPES[MAX_OP_CODE + 1] = {OP_TABLE(ROW)};
#undef ROW

struct cursor {
	const uint8_t *at;
	size_t left;
};

static bool take_u16(struct cursor *cursor, uint16_t *value)
{
	if (cursor->left < sizeof(*value))
		return false;
	*value = (uint16_t)(cursor->at[0] | cursor->at[1] << 8);
	cursor->at += sizeof(*value);
	cursor->left -= sizeof(*value);
	return true;
}

static bool take_u32(struct cursor *cursor, uint32_t *value)
{
	uint16_t low, high;
	if (!take_u16(cursor, &low) || !take_u16(cursor, &high))
		return false;
	*value = low | (uint32_t)high << 16;
	return true;
}

static bool take_bytes(struct cursor *cursor, size_t length, struct cursor *bytes)
{
	if (cursor->left < length)
		return false;
	*bytes = (struct cursor){cursor->at, length};
	cursor->at += length;
	cursor->left -= length;
	return true;
}

static bool decode_number(char kind, struct cursor raw, struct argument *argument)
{
	uint32_t low, high;
	if (raw.left != sizeof(uint64_t) || !take_u32(&raw, &low) || !take_u32(&raw, &high))
		return false;
	argument->number = low | (uint64_t)high << 32;
	switch (kind) {
	case 'f': return argument->number < MAX_CHILD_FDS;
	case 'p': return argument->number <= UINT16_MAX;
	case 'u': return argument->number <= UINT32_MAX;
	default: return kind == 'i';
	}
}

static bool decode_argument(char kind, struct cursor *body, struct argument *argument)
{
	uint32_t length;
	struct cursor raw;
	if (!take_u32(body, &length) || !take_bytes(body, length, &raw))
		return false;
	if (kind != 's' && kind != 'b')
		return decode_number(kind, raw, argument);
	argument->text = (const char *)raw.at;
	argument->length = raw.left;
	if (kind == 'b')
		return true;
	if (raw.left == 0 || memchr(raw.at, '\0', raw.left) != raw.at + raw.left - 1)
		return false;
	argument->length--;
	return true;
}

static bool decode_op(struct cursor *cursor, struct op *op)
{
	uint16_t code, count;
	uint32_t length;
	struct cursor body;
	if (!take_u16(cursor, &code) || !take_u16(cursor, &count) || !take_u32(cursor, &length) ||
	    !take_bytes(cursor, length, &body))
		return false;
	if (code > MAX_OP_CODE || !TYPES[code].name || count != strlen(TYPES[code].kinds))
		return false;
	*op = (struct op){.code = (enum op_code)code};
	for (size_t i = 0; i < count; i++)
		if (!decode_argument(TYPES[code].kinds[i], &body, &op->args[i]))
			return false;
	return body.left == 0;
}

/* Where an op stands is part of what it means: the clone takes the first, the last becomes the process. */
static bool in_place(const struct plan *plan, size_t index)
{
	switch ((int)plan->ops[index].code) {
	case OP_NAMESPACES:
	case OP_JOIN: return index == 0 || stage_of(plan->ops[index - 1].code) != STAGE_CHILD;
	case OP_RUNTIME:
	case OP_EXEC: return index + 1 == plan->count || stage_of(plan->ops[index + 1].code) != STAGE_CHILD;
	default: return true;
	}
}

/* Stages come one after the other: host, child, undo. */
static bool in_order(const struct plan *plan, size_t index)
{
	return index == 0 || stage_of(plan->ops[index - 1].code) <= stage_of(plan->ops[index].code);
}

static int refuse(struct failure *why, size_t index, const char *text)
{
	*why = (struct failure){.index = (uint32_t)index, .error = EBADMSG, .exit_code = 125};
	snprintf(why->text, sizeof(why->text), "%s", text);
	return -EBADMSG;
}

int plan_decode(const void *data, size_t length, struct plan *plan, struct failure *why)
{
	struct cursor cursor = {data, length}, magic;
	uint32_t version, count, size;
	if (length > MAX_PLAN_BYTES || !take_bytes(&cursor, strlen(PLAN_MAGIC), &magic) ||
	    memcmp(magic.at, PLAN_MAGIC, strlen(PLAN_MAGIC)) != 0 || !take_u32(&cursor, &version) ||
	    !take_u32(&cursor, &count) || !take_u32(&cursor, &size))
		return refuse(why, UINT32_MAX, "decode plan");
	if (version != PLAN_VERSION || count > MAX_OPS || size != cursor.left)
		return refuse(why, UINT32_MAX, "decode plan");
	plan->count = 0;
	for (size_t i = 0; i < count; i++) {
		if (!decode_op(&cursor, &plan->ops[i]))
			return refuse(why, i, "decode op");
		plan->count++;
	}
	if (cursor.left != 0)
		return refuse(why, UINT32_MAX, "decode plan");
	for (size_t i = 0; i < plan->count; i++)
		if (!in_place(plan, i) || !in_order(plan, i))
			return refuse(why, i, op_name(plan->ops[i].code));
	return 0;
}

size_t plan_length(const void *data)
{
	struct cursor cursor = {(const uint8_t *)data + PLAN_HEADER_BYTES - sizeof(uint32_t), sizeof(uint32_t)};
	uint32_t size = 0;
	take_u32(&cursor, &size);
	return size > MAX_PLAN_BYTES - PLAN_HEADER_BYTES ? MAX_PLAN_BYTES : size + PLAN_HEADER_BYTES;
}

int plan_load(int fd, struct plan *plan, struct failure *why)
{
	struct stat found;
	if (fstat(fd, &found) < 0 || found.st_size <= 0 || found.st_size > MAX_PLAN_BYTES)
		return refuse(why, UINT32_MAX, "read plan");
	size_t length = (size_t)found.st_size, filled = 0;
	/* Copied, not mapped: a file that shrinks later must not be a signal. */
	char *bytes = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	while (bytes != MAP_FAILED && filled < length) {
		ssize_t got = pread(fd, bytes + filled, length - filled, (off_t)filled);
		if (got <= 0)
			break;
		filled += (size_t)got;
	}
	if (filled < length)
		return refuse(why, UINT32_MAX, "read plan");
	return plan_decode(bytes, length, plan, why);
}

const char *op_name(enum op_code code)
{
	return TYPES[code].name;
}

enum op_stage stage_of(enum op_code code)
{
	return TYPES[code].stage;
}

void failure_of_op(struct failure *why, const struct plan *plan, size_t index, int error, const char *blame)
{
	const struct op *op = &plan->ops[index];
	int telling = TYPES[op->code].telling;
	*why = (struct failure){.index = (uint32_t)index, .error = error, .exit_code = 125};
	if (!blame && telling >= 0)
		blame = op->args[telling].text;
	if (blame)
		snprintf(why->text, sizeof(why->text), "%s %s", op_name(op->code), blame);
	else if (telling >= 0)
		snprintf(why->text, sizeof(why->text), "%s %llu", op_name(op->code),
		         (unsigned long long)op->args[telling].number);
	else
		snprintf(why->text, sizeof(why->text), "%s", op_name(op->code));
}
