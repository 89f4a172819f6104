#define _GNU_SOURCE
#include "rawmode.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

void rawmode_enter(struct rawmode *mode)
{
	struct termios raw;
	if (!mode->saved && tcgetattr(STDIN_FILENO, &mode->modes) == 0)
		mode->saved = true;
	if (!mode->saved)
		return;
	raw = mode->modes;
	cfmakeraw(&raw);
	while (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) < 0 && errno == EINTR)
		;
	mode->raw = true;
}

void rawmode_leave(struct rawmode *mode)
{
	if (!mode->raw)
		return;
	while (tcsetattr(STDIN_FILENO, TCSADRAIN, &mode->modes) < 0 && errno == EINTR)
		;
	mode->raw = false;
}

bool rawmode_size(unsigned short *rows, unsigned short *columns)
{
	static const int FDS[] = {STDOUT_FILENO, STDIN_FILENO, STDERR_FILENO};
	for (int i = 0; i < 3; i++) {
		struct winsize size;
		if (ioctl(FDS[i], TIOCGWINSZ, &size) < 0 || !size.ws_row || !size.ws_col)
			continue;
		*rows = size.ws_row;
		*columns = size.ws_col;
		return true;
	}
	return false;
}
