/* Addresses of the network, from their text. */
#ifndef TWINHULL_ADDRESS_H
#define TWINHULL_ADDRESS_H

#include <stdint.h>
#include <sys/socket.h>

struct address {
	int family; /* AF_INET or AF_INET6 */
	socklen_t length;
	struct sockaddr_storage storage;
};

/* "10.0.0.1", "fd00::1", or "" for every IPv4 address of the host. Returns 0 or -EINVAL. */
int address_parse(const char *text, uint16_t port, struct address *address);

#endif
