#include "keys.h"

#include <string.h>

static const char CTRL[] = "ctrl-";

/* The byte of one key; -1: there is no such key. */
static int key(const char *text, size_t length)
{
	if (length == 1)
		return (unsigned char)text[0];
	if (length != sizeof(CTRL) || memcmp(text, CTRL, sizeof(CTRL) - 1) != 0)
		return -1;
	char last = text[sizeof(CTRL) - 1];
	if (last >= 'a' && last <= 'z')
		return last - 'a' + 1;
	return last == '@' || (last >= '[' && last <= '_') ? last - '@' : -1;
}

bool keys_parse(struct keys *keys, const char *text)
{
	*keys = (struct keys){0};
	while (*text) {
		size_t length = strcspn(text + 1, ",") + 1; /* a key may be a comma itself */
		int byte = key(text, length);
		if (byte < 0 || keys->length == MAX_KEYS)
			return false;
		keys->sequence[keys->length++] = (uint8_t)byte;
		text += length;
		if (*text == ',' && *++text == '\0')
			return false;
	}
	return true;
}

/* The byte does not go on with the sequence: let go of as much as can no longer begin it. */
static size_t fall_back(struct keys *keys, uint8_t *out)
{
	size_t drop = 1;
	while (drop < keys->matched && memcmp(keys->sequence + drop, keys->sequence, keys->matched - drop) != 0)
		drop++;
	memcpy(out, keys->sequence, drop);
	keys->matched -= drop;
	return drop;
}

bool keys_filter(struct keys *keys, const uint8_t *in, size_t length, uint8_t *out, size_t *written)
{
	size_t used = 0;
	bool complete = false;
	for (size_t i = 0; i < length && !complete; i++) {
		while (keys->matched && in[i] != keys->sequence[keys->matched])
			used += fall_back(keys, out + used);
		if (keys->length && in[i] == keys->sequence[keys->matched])
			complete = ++keys->matched == keys->length;
		else
			out[used++] = in[i];
	}
	*written = used;
	return complete;
}
