/* What a workload can see and reach, observed from inside one. Used by the comparison only. */
#ifndef TWINHULL_PROBE_H
#define TWINHULL_PROBE_H

/* `probe` prints one fact a line, "name value"; `probe wait` prints "ready" and sleeps. */
int probe_main(int argc, char **argv);

#endif
