/* What remains of a workload: its exit record, and the mark that tells the engine to look. */
#ifndef TWINHULL_RECORD_H
#define TWINHULL_RECORD_H

#include <stdbool.h>

#include "connection.h"

/* {"code","signal","oom","finished"} as `exit` of the directory: there as a whole, or not at all. durable: it is on
 * disk when this returns. 0 or -errno. */
int record_write(int directory_fd, const struct exit_status *status, bool durable);

/* Make an empty file at path; the one that is there already is fine. */
int record_mark(const char *path);

#endif
