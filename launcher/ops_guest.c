/* What only a guest needs: after a restore its entropy, clock and network are another machine's. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/random.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "child.h"
#include "netlink.h"

#define MAX_SEED_BYTES 512
#define MAX_FORGETS 16 /* a source that answers at once has no end */

int seed_add(int random, const void *entropy, size_t length)
{
	struct {
		struct rand_pool_info info;
		unsigned char bytes[MAX_SEED_BYTES];
	} pool;
	if (length > sizeof(pool.bytes))
		return -EINVAL;
	pool.info.entropy_count = (int)length * 8;
	pool.info.buf_size = (int)length;
	memcpy(pool.info.buf, entropy, length);
	return ioctl(random, RNDADDENTROPY, &pool) < 0 || ioctl(random, RNDRESEEDCRNG) < 0 ? -errno : 0;
}

void seed_forget(int source)
{
	unsigned char other[64];
	for (int reads = 0; reads < MAX_FORGETS && read(source, other, sizeof(other)) > 0; reads++)
		;
}

int op_network(struct setup *setup, const struct op *op)
{
	const struct argument *messages = &op->args[0];
	uint64_t acks = op->args[1].number;
	if (setup->host->route_fd >= 0 && !setup->shape->tool) /* a tool has let go of it */
		return netlink_exchange(setup->host->route_fd, messages->text, messages->length, acks);
	return netlink_talk(NETLINK_ROUTE, messages->text, messages->length, acks);
}
