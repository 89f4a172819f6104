/* `launcher tsc`: the rate of the time stamp counter in kHz. A guest under TCG counts with the host's counter, and
 * its machine has no other clock to measure it by. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "counter.h"
#include "modes.h"

#define MEASURE_NS 100000000
#define TRIES 5

struct moment {
	uint64_t counter;
	int64_t nanoseconds;
};

static int64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC_RAW, &time);
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* The reading with the least time around it: an interrupt between the two clocks would show as a wrong rate. */
static struct moment read_both(void)
{
	struct moment best = {0};
	int64_t least = INT64_MAX;
	for (int i = 0; i < TRIES; i++) {
		int64_t before = now();
		uint64_t counter = counter_now();
		int64_t after = now();
		if (after - before >= least)
			continue;
		least = after - before;
		best = (struct moment){.counter = counter, .nanoseconds = before + (after - before) / 2};
	}
	return best;
}

int tsc_main(int argc, char **argv)
{
	(void)argc, (void)argv;
	struct timespec rest = {.tv_nsec = MEASURE_NS};
	struct moment first = read_both();
	nanosleep(&rest, NULL);
	struct moment last = read_both();
	uint64_t elapsed = (uint64_t)(last.nanoseconds - first.nanoseconds);
	printf("%llu\n", (unsigned long long)((last.counter - first.counter) * 1000000 / elapsed));
	return 0;
}
