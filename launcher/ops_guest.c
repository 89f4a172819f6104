/* What only a guest needs: after a restore its entropy, clock and network are another machine's. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "child.h"
#include "descriptor.h"
#include "netlink.h"

#define MAX_SEED_BYTES 512

int op_seed(struct setup *setup, const struct op *op)
{
	(void)setup;
	struct {
		struct rand_pool_info info;
		unsigned char bytes[MAX_SEED_BYTES];
	} pool;
	size_t length = op->args[0].length;
	if (length > sizeof(pool.bytes))
		return -EINVAL;
	CLEANUP_FD int random = open("/dev/urandom", O_RDWR | O_CLOEXEC);
	if (random < 0)
		return -errno;
	pool.info.entropy_count = (int)length * 8;
	pool.info.buf_size = (int)length;
	memcpy(pool.info.buf, op->args[0].text, length);
	if (ioctl(random, RNDADDENTROPY, &pool) < 0 || ioctl(random, RNDRESEEDCRNG) < 0)
		return -errno;
	return 0;
}

int op_network(struct setup *setup, const struct op *op)
{
	(void)setup;
	return netlink_talk(NETLINK_ROUTE, op->args[0].text, op->args[0].length, op->args[1].number);
}

int op_clock(struct setup *setup, const struct op *op)
{
	(void)setup;
	struct timespec now = {.tv_sec = (time_t)op->args[0].number, .tv_nsec = (long)op->args[1].number};
	return clock_settime(CLOCK_REALTIME, &now) < 0 ? -errno : 0;
}
