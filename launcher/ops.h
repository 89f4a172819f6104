/* Generated from src/twinhull/plan/ops.py by scripts/generate_headers.py. */
#ifndef TWINHULL_OPS_H
#define TWINHULL_OPS_H

#define PLAN_MAGIC "TWPL"
#define PLAN_VERSION 1
#define PLAN_HEADER_BYTES 16
#define OP_HEADER_BYTES 8
#define MAX_OPS 8192
#define MAX_PLAN_BYTES 4194304
#define NETNS_FD 62
#define MAX_OP_CODE 94

enum op_code {
	OP_CGROUP2 = 1,
	OP_CGROUP1 = 2,
	OP_WRITE = 3,
	OP_DEVICE_POLICY = 4,
	OP_NETNS = 10,
	OP_NETLINK = 11,
	OP_NETLINK_INSIDE = 12,
	OP_NFTABLES = 13,
	OP_HOLD_PORT = 14,
	OP_TAP = 15,
	OP_PROXY = 16,
	OP_OPEN = 20,
	OP_LISTEN = 21,
	OP_CHANNEL = 22,
	OP_INHERIT = 23,
	OP_JOIN_NAMESPACE = 24,
	OP_OWN_USERS = 25,
	OP_NAMESPACES = 30,
	OP_ID_MAPS = 31,
	OP_PRIVATE_MOUNTS = 32,
	OP_OVERLAY = 33,
	OP_ROOT_BIND = 34,
	OP_BIND = 35,
	OP_FILESYSTEM = 36,
	OP_DIRECTORY = 37,
	OP_DEVICE = 38,
	OP_SYMLINK = 39,
	OP_MASK = 40,
	OP_READ_ONLY = 41,
	OP_ENTER_ROOT = 42,
	OP_ROOT_READONLY = 43,
	OP_STAGE = 44,
	OP_FILE = 45,
	OP_SCAFFOLD = 46,
	OP_AWAIT_HOOKS = 47,
	OP_HOOK = 48,
	OP_PROPAGATION = 49,
	OP_HOSTNAME = 50,
	OP_DOMAINNAME = 51,
	OP_SYSCTL = 52,
	OP_RLIMIT = 53,
	OP_OOM_SCORE = 54,
	OP_UMASK = 55,
	OP_CAPABILITIES = 56,
	OP_USER = 57,
	OP_NO_NEW_PRIVILEGES = 58,
	OP_SECCOMP = 59,
	OP_DIRECTORY_OF_WORK = 60,
	OP_TERMINAL = 61,
	OP_ARGUMENT = 62,
	OP_ENVIRONMENT = 63,
	OP_EXEC = 64,
	OP_JOIN = 65,
	OP_STDIN = 66,
	OP_SCHEDULER = 67,
	OP_IO_PRIORITY = 68,
	OP_PERSONALITY = 69,
	OP_TIME_OFFSETS = 70,
	OP_NETWORK = 71,
	OP_TOOL = 72,
	OP_SHARE = 73,
	OP_ATTRIBUTES = 74,
	OP_BIND_IDMAPPED = 75,
	OP_SECCOMP_FLAGS = 76,
	OP_LABEL = 77,
	OP_FILESYSTEM_COPIED = 78,
	OP_INIT = 79,
	OP_KILL_CGROUP = 80,
	OP_REMOVE_CGROUP = 81,
	OP_NFTABLES_DELETE = 82,
	OP_REMOVE_FILE = 85,
	OP_END_SERVICE = 86,
	OP_RUNTIME = 87,
	OP_END_RUNTIME = 88,
	OP_IMPRINT = 89,
	OP_HOOK_DIRECTORY = 90,
	OP_FOREIGN_MOUNTS = 91,
	OP_FIRST_AFFINITY = 92,
	OP_AFFINITY = 93,
	OP_REMOUNT = 94,
};

enum op_stage { STAGE_HOST = 1, STAGE_CHILD, STAGE_UNDO };

/* X(code, name, stage, kind of each argument, number of the argument that tells it from others):
 * s text, b bytes, i 64 bits, u 32 bits, p a port, f a descriptor number of the child. */
#define OP_TABLE(X) \
	X(OP_CGROUP2, "cgroup2", STAGE_HOST, "s", 0) \
	X(OP_CGROUP1, "cgroup1", STAGE_HOST, "s", 0) \
	X(OP_WRITE, "write", STAGE_HOST, "ss", 0) \
	X(OP_DEVICE_POLICY, "device-policy", STAGE_HOST, "b", -1) \
	X(OP_NETNS, "netns", STAGE_HOST, "", -1) \
	X(OP_NETLINK, "netlink", STAGE_HOST, "bu", -1) \
	X(OP_NETLINK_INSIDE, "netlink-inside", STAGE_HOST, "bu", -1) \
	X(OP_NFTABLES, "nftables", STAGE_HOST, "bu", -1) \
	X(OP_HOLD_PORT, "hold-port", STAGE_HOST, "ssp", 2) \
	X(OP_TAP, "tap", STAGE_HOST, "fsu", 1) \
	X(OP_PROXY, "proxy", STAGE_HOST, "spsp", 1) \
	X(OP_OPEN, "open", STAGE_HOST, "fsi", 1) \
	X(OP_LISTEN, "listen", STAGE_HOST, "fs", 1) \
	X(OP_CHANNEL, "channel", STAGE_HOST, "f", 0) \
	X(OP_INHERIT, "inherit", STAGE_HOST, "f", 0) \
	X(OP_JOIN_NAMESPACE, "join-namespace", STAGE_HOST, "is", 1) \
	X(OP_OWN_USERS, "own-users", STAGE_HOST, "sss", 0) \
	X(OP_NAMESPACES, "namespaces", STAGE_CHILD, "i", -1) \
	X(OP_ID_MAPS, "id-maps", STAGE_CHILD, "ss", -1) \
	X(OP_PRIVATE_MOUNTS, "private-mounts", STAGE_CHILD, "", -1) \
	X(OP_OVERLAY, "overlay", STAGE_CHILD, "ssssu", 2) \
	X(OP_ROOT_BIND, "root-bind", STAGE_CHILD, "su", 0) \
	X(OP_BIND, "bind", STAGE_CHILD, "ssui", 1) \
	X(OP_FILESYSTEM, "filesystem", STAGE_CHILD, "sssis", 2) \
	X(OP_DIRECTORY, "directory", STAGE_CHILD, "su", 0) \
	X(OP_DEVICE, "device", STAGE_CHILD, "suuuuuu", 0) \
	X(OP_SYMLINK, "symlink", STAGE_CHILD, "ss", 1) \
	X(OP_MASK, "mask", STAGE_CHILD, "s", 0) \
	X(OP_READ_ONLY, "read-only", STAGE_CHILD, "s", 0) \
	X(OP_ENTER_ROOT, "enter-root", STAGE_CHILD, "", -1) \
	X(OP_ROOT_READONLY, "root-readonly", STAGE_CHILD, "", -1) \
	X(OP_STAGE, "stage", STAGE_CHILD, "sssis", 2) \
	X(OP_FILE, "file", STAGE_CHILD, "sbu", 0) \
	X(OP_SCAFFOLD, "scaffold", STAGE_CHILD, "", -1) \
	X(OP_AWAIT_HOOKS, "await-hooks", STAGE_CHILD, "", -1) \
	X(OP_HOOK, "hook", STAGE_CHILD, "usbbus", 1) \
	X(OP_PROPAGATION, "propagation", STAGE_CHILD, "i", -1) \
	X(OP_HOSTNAME, "hostname", STAGE_CHILD, "s", 0) \
	X(OP_DOMAINNAME, "domainname", STAGE_CHILD, "s", 0) \
	X(OP_SYSCTL, "sysctl", STAGE_CHILD, "ss", 0) \
	X(OP_RLIMIT, "rlimit", STAGE_CHILD, "uii", -1) \
	X(OP_OOM_SCORE, "oom-score", STAGE_CHILD, "u", -1) \
	X(OP_UMASK, "umask", STAGE_CHILD, "u", -1) \
	X(OP_CAPABILITIES, "capabilities", STAGE_CHILD, "iiiii", -1) \
	X(OP_USER, "user", STAGE_CHILD, "uub", -1) \
	X(OP_NO_NEW_PRIVILEGES, "no-new-privileges", STAGE_CHILD, "", -1) \
	X(OP_SECCOMP, "seccomp", STAGE_CHILD, "b", -1) \
	X(OP_DIRECTORY_OF_WORK, "directory-of-work", STAGE_CHILD, "s", 0) \
	X(OP_TERMINAL, "terminal", STAGE_CHILD, "uu", -1) \
	X(OP_ARGUMENT, "argument", STAGE_CHILD, "s", 0) \
	X(OP_ENVIRONMENT, "environment", STAGE_CHILD, "s", 0) \
	X(OP_EXEC, "exec", STAGE_CHILD, "s", 0) \
	X(OP_JOIN, "join", STAGE_CHILD, "", -1) \
	X(OP_STDIN, "stdin", STAGE_CHILD, "u", -1) \
	X(OP_SCHEDULER, "scheduler", STAGE_CHILD, "b", -1) \
	X(OP_IO_PRIORITY, "io-priority", STAGE_CHILD, "u", -1) \
	X(OP_PERSONALITY, "personality", STAGE_CHILD, "u", -1) \
	X(OP_TIME_OFFSETS, "time-offsets", STAGE_CHILD, "s", 0) \
	X(OP_NETWORK, "network", STAGE_CHILD, "bu", -1) \
	X(OP_TOOL, "tool", STAGE_CHILD, "ssi", 1) \
	X(OP_SHARE, "share", STAGE_CHILD, "ssi", 1) \
	X(OP_ATTRIBUTES, "attributes", STAGE_CHILD, "siuuu", 0) \
	X(OP_BIND_IDMAPPED, "bind-idmapped", STAGE_CHILD, "ssuiss", 1) \
	X(OP_SECCOMP_FLAGS, "seccomp-flags", STAGE_CHILD, "bi", -1) \
	X(OP_LABEL, "label", STAGE_CHILD, "ss", 0) \
	X(OP_FILESYSTEM_COPIED, "filesystem-copied", STAGE_CHILD, "sssis", 2) \
	X(OP_INIT, "init", STAGE_CHILD, "", -1) \
	X(OP_KILL_CGROUP, "kill-cgroup", STAGE_UNDO, "s", 0) \
	X(OP_REMOVE_CGROUP, "remove-cgroup", STAGE_UNDO, "s", 0) \
	X(OP_NFTABLES_DELETE, "nftables-delete", STAGE_UNDO, "bu", -1) \
	X(OP_REMOVE_FILE, "remove-file", STAGE_UNDO, "s", 0) \
	X(OP_END_SERVICE, "end-service", STAGE_UNDO, "ss", 1) \
	X(OP_RUNTIME, "runtime", STAGE_CHILD, "ssbbu", 0) \
	X(OP_END_RUNTIME, "end-runtime", STAGE_UNDO, "usbbus", 1) \
	X(OP_IMPRINT, "imprint", STAGE_CHILD, "f", 0) \
	X(OP_HOOK_DIRECTORY, "hook-directory", STAGE_CHILD, "s", 0) \
	X(OP_FOREIGN_MOUNTS, "foreign-mounts", STAGE_CHILD, "", -1) \
	X(OP_FIRST_AFFINITY, "first-affinity", STAGE_HOST, "b", -1) \
	X(OP_AFFINITY, "affinity", STAGE_CHILD, "b", -1) \
	X(OP_REMOUNT, "remount", STAGE_CHILD, "ss", 0)

#endif
