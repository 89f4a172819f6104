/* The key sequence that leaves a workload alone with its terminal. */
#ifndef TWINHULL_KEYS_H
#define TWINHULL_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_KEYS 16

struct keys {
	uint8_t sequence[MAX_KEYS];
	size_t length; /* 0: no such sequence */
	size_t matched;
};

/* "ctrl-p,ctrl-q" or single characters between commas, as Docker writes it; "" for none. False: malformed. */
bool keys_parse(struct keys *keys, const char *text);

/* Pass input through; what may be the beginning of the sequence is held back until it is known. out has room for
 * length + MAX_KEYS bytes. True: the sequence is complete, *written bytes came before it. */
bool keys_filter(struct keys *keys, const uint8_t *in, size_t length, uint8_t *out, size_t *written);

#endif
