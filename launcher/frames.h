/* Frames as bytes: the C half of src/twinhull/plan/frames.py. No effects, no state. */
#ifndef TWINHULL_FRAMES_H
#define TWINHULL_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

struct frame {
	uint32_t length; /* of payload */
	uint32_t stream;
	uint16_t kind;
	uint16_t flags;
	const uint8_t *payload; /* points into the bytes that were parsed */
};

/* Bytes that the first frame of data takes, 0 if it is not all there yet, -EBADMSG if it never will be one. */
int frame_parse(const uint8_t *data, size_t length, struct frame *frame);

void frame_header(uint8_t out[FRAME_HEADER_BYTES], uint32_t stream, uint16_t kind, uint16_t flags, uint32_t length);

/* The index-th u32 of the payload; 0 beyond its end. */
uint32_t frame_u32(const struct frame *frame, size_t index);
/* The index-th u16 of the payload; 0 beyond its end. */
uint16_t frame_u16(const struct frame *frame, size_t index);

void put_u32(uint8_t *out, uint32_t value);

#endif
