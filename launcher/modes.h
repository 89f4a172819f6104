/* The launcher's modes that have no header of their own. */
#ifndef TWINHULL_MODES_H
#define TWINHULL_MODES_H

#include <sys/types.h>

/* `launcher agent`, or /init: PID 1 of a guest. */
int agent_main(int argc, char **argv);
/* `launcher init`: a container that nobody of ours stands beside. */
int init_main(int argc, char **argv);
/* Start it as a child before there is a plan for it. Returns our end of its socket, which exec keeps, or -errno. */
int init_ahead(pid_t *pid);
/* `launcher oci-run`: the rest of twinhull-oci run. */
int run_main(int argc, char **argv);
/* `launcher hold`: keeps a template's memory. */
int hold_main(int argc, char **argv);
/* `launcher health`: see health.c. */
int health_main(int argc, char **argv);
/* `launcher keep`: see keep.c. */
int keep_main(int argc, char **argv);
/* `launcher guard`: see guard.c. */
int guard_main(int argc, char **argv);
/* `launcher unpublish`: see unpublish.c. */
int unpublish_main(int argc, char **argv);
/* `launcher imprint`: save a process. */
int imprint_main(int argc, char **argv);
/* `launcher tsc`: the rate of the time stamp counter. */
int tsc_main(int argc, char **argv);

#endif
