/* The counter that runs from the moment a processor begins: before a kernel has set up any clock. */
#ifndef TWINHULL_COUNTER_H
#define TWINHULL_COUNTER_H

#include <stdint.h>

#if defined(__x86_64__)
#include <x86intrin.h>
static inline uint64_t counter_now(void)
{
	return __rdtsc();
}
#elif defined(__aarch64__)
static inline uint64_t counter_now(void)
{
	uint64_t value;
	__asm__ volatile("isb\n\tmrs %0, cntvct_el0" : "=r"(value) : : "memory");
	return value;
}
#else
#error "no counter is known for this processor"
#endif

#endif
