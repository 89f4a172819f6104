/* XXH64 (github.com/Cyan4973/xxHash, doc/xxhash_spec.md): finds damage at the speed of memory. It is no defence
 * against an attacker; what it is used on lies in directories that only root can write. */
#ifndef TWINHULL_DIGEST_H
#define TWINHULL_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define DIGEST_BLOCK_BYTES 32u

struct digest {
	uint64_t lanes[4];
	uint64_t total;
};

void digest_init(struct digest *digest);
/* length is a multiple of DIGEST_BLOCK_BYTES. */
void digest_update(struct digest *digest, const void *data, size_t length);
uint64_t digest_value(const struct digest *digest);

#endif
