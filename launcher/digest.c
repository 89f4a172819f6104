#include "digest.h"

#include <string.h>

#define PRIME_1 0x9E3779B185EBCA87u
#define PRIME_2 0xC2B2AE3D27D4EB4Fu
#define PRIME_3 0x165667B19E3779F9u
#define PRIME_4 0x85EBCA77C2B2AE63u

static uint64_t rotate(uint64_t value, unsigned bits)
{
	return value << bits | value >> (64 - bits);
}

static uint64_t mix(uint64_t lane, uint64_t word)
{
	return rotate(lane + word * PRIME_2, 31) * PRIME_1;
}

void digest_init(struct digest *digest)
{
	*digest = (struct digest){.lanes = {PRIME_1 + PRIME_2, PRIME_2, 0, 0 - PRIME_1}};
}

void digest_update(struct digest *digest, const void *data, size_t length)
{
	const unsigned char *bytes = data;
	uint64_t a = digest->lanes[0], b = digest->lanes[1], c = digest->lanes[2], d = digest->lanes[3];
	for (size_t at = 0; at + DIGEST_BLOCK_BYTES <= length; at += DIGEST_BLOCK_BYTES) {
		uint64_t words[4];
		memcpy(words, bytes + at, sizeof(words));
		a = mix(a, words[0]);
		b = mix(b, words[1]);
		c = mix(c, words[2]);
		d = mix(d, words[3]);
	}
	digest->lanes[0] = a;
	digest->lanes[1] = b;
	digest->lanes[2] = c;
	digest->lanes[3] = d;
	digest->total += length;
}

uint64_t digest_value(const struct digest *digest)
{
	const uint64_t *lanes = digest->lanes;
	uint64_t value = rotate(lanes[0], 1) + rotate(lanes[1], 7) + rotate(lanes[2], 12) + rotate(lanes[3], 18);
	for (size_t i = 0; i < 4; i++)
		value = (value ^ mix(0, lanes[i])) * PRIME_1 + PRIME_4;
	value += digest->total;
	value = (value ^ value >> 33) * PRIME_2;
	value = (value ^ value >> 29) * PRIME_3;
	return value ^ value >> 32;
}
