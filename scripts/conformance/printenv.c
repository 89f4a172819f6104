// Prints the environment, or the variables that are named; 1 if one of those is not set.
#include <stdio.h>
#include <stdlib.h>

extern char **environ;

int main(int argc, char **argv)
{
	for (char **row = environ; argc == 1 && *row; row++)
		puts(*row);
	for (int i = 1; i < argc; i++) {
		const char *value = getenv(argv[i]);
		if (!value)
			return 1;
		puts(value);
	}
	return 0;
}
