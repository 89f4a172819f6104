#include "frames.h"

#include <errno.h>

static uint32_t get_u32(const uint8_t *data)
{
	return (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
}

static uint16_t get_u16(const uint8_t *data)
{
	return (uint16_t)(data[0] | data[1] << 8);
}

static void put_u16(uint8_t *out, uint16_t value)
{
	out[0] = (uint8_t)value;
	out[1] = (uint8_t)(value >> 8);
}

void put_u32(uint8_t *out, uint32_t value)
{
	put_u16(out, (uint16_t)value);
	put_u16(out + 2, (uint16_t)(value >> 16));
}

int frame_parse(const uint8_t *data, size_t length, struct frame *frame)
{
	if (length < FRAME_HEADER_BYTES)
		return 0;
	frame->length = get_u32(data);
	frame->stream = get_u32(data + 4);
	frame->kind = get_u16(data + 8);
	frame->flags = get_u16(data + 10);
	frame->payload = data + FRAME_HEADER_BYTES;
	if (frame->length > MAX_PAYLOAD || frame->kind < FRAME_HELLO || frame->kind > FRAME_RESUME)
		return -EBADMSG;
	if (frame->flags & ~(FLAG_LAST | FLAG_STDIN_OPEN | FLAG_ALL))
		return -EBADMSG;
	if (length - FRAME_HEADER_BYTES < frame->length)
		return 0;
	return FRAME_HEADER_BYTES + (int)frame->length;
}

void frame_header(uint8_t out[FRAME_HEADER_BYTES], uint32_t stream, uint16_t kind, uint16_t flags, uint32_t length)
{
	put_u32(out, length);
	put_u32(out + 4, stream);
	put_u16(out + 8, kind);
	put_u16(out + 10, flags);
}

uint32_t frame_u32(const struct frame *frame, size_t index)
{
	return (index + 1) * 4 <= frame->length ? get_u32(frame->payload + index * 4) : 0;
}

uint16_t frame_u16(const struct frame *frame, size_t index)
{
	return (index + 1) * 2 <= frame->length ? get_u16(frame->payload + index * 2) : 0;
}
