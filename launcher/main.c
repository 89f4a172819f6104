/* One binary, several programs: the first argument says which. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "attach.h"
#include "front.h"
#include "modes.h"
#include "perform.h"
#include "probe.h"
#include "shim.h"

#define EXIT_USAGE 125

struct mode {
	const char *name;
	int (*run)(int argc, char **argv);
};

int main(int argc, char **argv)
{
	const struct mode modes[] = {
		{"shim", shim_main},           {"attach", attach_main}, {"undo", undo_main},
		{"perform", perform_main},     {"hold", hold_main},     {"agent", agent_main},
		{"probe", probe_main},         {"tsc", tsc_main},       {"init", init_main},
		{"oci-run", run_main},         {"health", health_main}, {"keep", keep_main},
		{"unpublish", unpublish_main}, {"guard", guard_main},   {"imprint", imprint_main},
	};
	if (getpid() == 1 && (argc < 1 || strcmp(argv[0], "/init") == 0))
		return agent_main(argc, argv);
	if (argc > 1 && strncmp(argv[1], FRONT_ARGUMENT, strlen(FRONT_ARGUMENT)) == 0)
		return front_main(argc, argv);
	for (size_t i = 0; argc > 1 && i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(argv[1], modes[i].name) == 0)
			return modes[i].run(argc, argv);
	fprintf(stderr,
	        "usage: launcher "
	        "shim|attach|undo|perform|hold|agent|probe|tsc|init|oci-run|health|keep|unpublish|guard|imprint|'oci "
	        "INTERPRETER' ...\n");
	return EXIT_USAGE;
}
