/* The words of twinhull-oci: which of them are for us, and the interpreter for all others. */
#define _GNU_SOURCE
#include "front.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "modes.h"

#define DEFAULT_ROOT "/run/twinhull-oci"
#define ID_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-."
#define MAX_ID NAME_MAX
#define EXIT_USAGE 125

struct call {
	const char *root;
	char *verb;
	bool all, force;
	char **words; /* after the verb's options, NULL at the end */
	int count;
};

static bool is_option(const char *word)
{
	return word && word[0] == '-' && word[1] != '\0' && strcmp(word, "--") != 0;
}

/* "--name=value", and with one dash: the value, or NULL for another name or without a value. */
static const char *value_of(const char *word, const char *name)
{
	size_t length = strlen(name);
	word += strspn(word, "-");
	return strncmp(word, name, length) == 0 && word[length] == '=' ? word + length + 1 : NULL;
}

static bool is_named(const char *word, const char *name, const char *letter)
{
	word += strspn(word, "-");
	return strcmp(word, name) == 0 || strcmp(word, letter) == 0;
}

/* An option that changes nothing for us. Returns the words that it takes, 0 for any other. */
static int passes(char **words)
{
	static const char *const NAMES[] = {"log", "log-format", "log-level", "isolation"};
	const char *format =
		is_named(words[0], "log-format", "log-format") ? words[1] : value_of(words[0], "log-format");
	if (format && strcmp(format, "json") != 0 && strcmp(format, "text") != 0)
		return 0;
	for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
		if (value_of(words[0], NAMES[i]))
			return 1;
		if (is_named(words[0], NAMES[i], NAMES[i]))
			return words[1] ? 2 : 0;
	}
	return is_named(words[0], "debug", "debug") || value_of(words[0], "rootless") ? 1 : 0;
}

/* Who is not root of this machine has his containers elsewhere, as cli/oci.py says. "" is not for us. */
static const char *usual_root(void)
{
	static char path[PATH_MAX];
	struct stat top;
	const char *own = getenv("XDG_RUNTIME_DIR");
	bool user = geteuid() != 0;
	if (!own || !*own || (!user && stat("/", &top) == 0 && top.st_uid == 0))
		return user ? "" : DEFAULT_ROOT;
	int length = snprintf(path, sizeof(path), "%s/twinhull-oci", own);
	return own[0] == '/' && (size_t)length < sizeof(path) ? path : "";
}

static bool parse_general(char ***words, struct call *call)
{
	while (is_option(**words)) {
		const char *root = value_of(**words, "root");
		int taken = passes(*words);
		if (is_named(**words, "root", "root") && (root = (*words)[1]))
			taken = 2;
		else if (root)
			taken = 1;
		if (!taken)
			return false;
		if (root)
			call->root = root;
		*words += taken;
	}
	return **words != NULL;
}

static bool parse(char **words, struct call *call)
{
	if (!parse_general(&words, call))
		return false;
	call->verb = *words++;
	for (; is_option(*words); words++)
		if (strcmp(call->verb, "kill") == 0 && is_named(*words, "all", "a"))
			call->all = true;
		else if (strcmp(call->verb, "delete") == 0 && is_named(*words, "force", "f"))
			call->force = true;
		else
			return false;
	call->words = words;
	while (words[call->count])
		call->count++;
	if (!*call->root)
		call->root = usual_root();
	return *call->root != '\0';
}

static bool is_id(const char *word)
{
	size_t length = word ? strlen(word) : 0;
	return length > 0 && length <= MAX_ID && strspn(word, ID_LETTERS) == length && strcmp(word, ".") != 0 &&
	       strcmp(word, "..") != 0;
}

static int perform(char **words)
{
	struct call call = {.root = ""};
	if (!parse(words, &call) || !is_id(call.words[0]))
		return LEAVE_IT;
	if (strcmp(call.verb, "kill") == 0 && call.count <= 2)
		return front_kill(call.root, call.words[0], call.count == 2 ? call.words[1] : "TERM", call.all);
	if (call.count != 1)
		return LEAVE_IT;
	if (strcmp(call.verb, "start") == 0 && !getenv("NOTIFY_SOCKET"))
		return front_start(call.root, call.words[0]);
	if (strcmp(call.verb, "state") == 0)
		return front_state(call.root, call.words[0]);
	return strcmp(call.verb, "delete") == 0 ? front_delete(call.root, call.words[0], call.force) : LEAVE_IT;
}

static bool makes_process(const char *verb)
{
	return strcmp(verb, "create") == 0 || strcmp(verb, "run") == 0 || strcmp(verb, "exec") == 0;
}

/* The interpreter in our place, with the same script and the same words. What makes a process needs `launcher init`,
 * which comes up while the interpreter does. */
static int leave(int argc, char **argv)
{
	char *interpreter = argv[1] + strlen(FRONT_ARGUMENT), options[] = "-IS", init[] = "--init", told[32];
	char **words = argv + 3, *command[argc + 3];
	struct call call = {.root = ""};
	size_t count = 0;
	pid_t pid;
	command[count++] = interpreter;
	command[count++] = options;
	command[count++] = argv[2];
	if (parse_general(&words, &call) && makes_process(*words)) {
		int socket = init_ahead(&pid);
		if (socket >= 0) {
			snprintf(told, sizeof(told), "%d:%d", socket, pid);
			command[count++] = init;
			command[count++] = told;
		}
	}
	memcpy(command + count, argv + 3, (size_t)(argc - 2) * sizeof(*argv)); /* with the NULL */
	execv(interpreter, command);
	dprintf(STDERR_FILENO, "%s: %s\n", interpreter, strerror(errno));
	return errno == ENOENT ? 127 : 126;
}

/* argv: us, "oci INTERPRETER", the script, its words. That is what the kernel makes of a script's first line. */
int front_main(int argc, char **argv)
{
	if (argc < 3) {
		dprintf(STDERR_FILENO, "usage: launcher 'oci INTERPRETER' SCRIPT WORD...\n");
		return EXIT_USAGE;
	}
	int status = perform(argv + 3);
	return status == LEAVE_IT ? leave(argc, argv) : status;
}
