/* Points at which a launcher built for tests kills itself (TWINHULL_FAULT=name) or stops for
 * a tenth of a second (TWINHULL_FAULT=slow:name); nothing in the real one. */
#ifndef TWINHULL_FAULT_H
#define TWINHULL_FAULT_H

#ifdef FAULT_POINTS
void fault_point(const char *name);
#define FAULT(name) fault_point(name)
#else
#define FAULT(name) ((void)0)
#endif

#endif
