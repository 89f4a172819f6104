/* Netlink messages that the plan carries as bytes: sent as they are, every acknowledgement checked. */
#ifndef TWINHULL_NETLINK_H
#define TWINHULL_NETLINK_H

#include <linux/netlink.h>
#include <stddef.h>
#include <stdint.h>

/* Send messages to NETLINK_ROUTE or NETLINK_NETFILTER in the namespace that the caller is in, and read `acks`
 * acknowledgements. Returns 0, or the first error. */
int netlink_talk(int family, const void *messages, size_t length, uint64_t acks);

/* The same over a socket that is open already; open one, or -errno. */
int netlink_open(int family);
int netlink_exchange(int fd, const void *messages, size_t length, uint64_t acks);

#endif
