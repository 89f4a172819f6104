/* The user's terminal while a workload's stands in for it. */
#ifndef TWINHULL_RAWMODE_H
#define TWINHULL_RAWMODE_H

#include <stdbool.h>
#include <termios.h>

struct rawmode {
	bool saved; /* stdin is a terminal and its modes are in `modes` */
	bool raw;
	struct termios modes;
};

/* Every key to the workload, as it is pressed. In the background this stops us (SIGTTOU) until the foreground. */
void rawmode_enter(struct rawmode *mode);
/* As it was found. Called again it does nothing. */
void rawmode_leave(struct rawmode *mode);
/* Rows and columns of the terminal behind stdout, stdin or stderr; false: none of them has one. */
bool rawmode_size(unsigned short *rows, unsigned short *columns);

#endif
