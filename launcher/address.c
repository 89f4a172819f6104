#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

int address_parse(const char *text, uint16_t port, struct address *address)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	*address = (struct address){0};
	if (inet_pton(AF_INET6, text, &v6.sin6_addr) == 1) {
		address->family = AF_INET6;
		address->length = sizeof(v6);
		memcpy(&address->storage, &v6, sizeof(v6));
		return 0;
	}
	if (*text && inet_pton(AF_INET, text, &v4.sin_addr) != 1)
		return -EINVAL;
	address->family = AF_INET;
	address->length = sizeof(v4);
	memcpy(&address->storage, &v4, sizeof(v4));
	return 0;
}
