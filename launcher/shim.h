/* `launcher shim`: one a workload, from before it exists until nothing of it is left but its record and log. */
#ifndef TWINHULL_SHIM_H
#define TWINHULL_SHIM_H

/* Descriptors: 3 the plan, 4 the starting client, 5 the instance directory. Flags: --log-max BYTES, --remove,
 * --exited PATH, --vm. */
int shim_main(int argc, char **argv);

#endif
