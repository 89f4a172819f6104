#define _GNU_SOURCE
#include "attach.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "connection.h"
#include "descriptor.h"
#include "keys.h"
#include "output.h"
#include "rawmode.h"

#define EXIT_OURS 125
#define EXIT_LOST 137
#define FLUSH_MS 1000
#define DETACH_KEYS "ctrl-p,ctrl-q"
#define REPAY_BYTES MAX_PAYLOAD
#define OWN_FAULTS 8 /* the first of those that is_passed_on keeps */
#define LAST_SIGNAL 64

struct options {
	int fd;
	const char *socket;
	const char *receive; /* a socket that hands over the conversation */
	const char *detach_keys;
	uint32_t stream;
	bool tty, input, proxy;
	bool stands_in;  /* every signal is the program's, and nobody leaves without it */
	uint64_t memory; /* what the group that we stand in may take, 0 for no limit */
};

struct attach {
	struct options options;
	struct connection server;
	struct rawmode rawmode;
	struct keys keys;
	struct output outputs[2]; /* stdout, stderr */
	size_t done;              /* bytes of the frame at the head that are written already */
	int blocked_fd;           /* the output that takes no more now, or -1 */
	uint32_t credit;          /* bytes of stdin that we may send */
	uint32_t unpaid;          /* bytes of output written and not yet given back */
	bool input_ended;
	bool over;
	bool oom;        /* the program was killed for want of memory */
	int code;        /* what we exit with */
	int fatal;       /* or the signal that ends us */
	sigset_t caught; /* what the signalfd reports */
	int signal_fd;
};

static void end(struct attach *attach, int code)
{
	attach->over = true;
	attach->code = code;
}

/* Leave: the main process goes on without us, a process of exec is nobody else's. */
static void leave(struct attach *attach, bool keep)
{
	connection_send(&attach->server, attach->options.stream,
	                keep || attach->options.stream == 0 ? FRAME_DETACH : FRAME_CLOSE, NULL, 0);
}

static void send_size(struct attach *attach)
{
	unsigned short size[2];
	if (!attach->options.tty || !rawmode_size(&size[0], &size[1]))
		return;
	uint8_t payload[4];
	put_u32(payload, (uint32_t)size[0] | (uint32_t)size[1] << 16);
	connection_send(&attach->server, attach->options.stream, FRAME_RESIZE, payload, sizeof(payload));
}

static int on_output(struct attach *attach, const struct frame *frame)
{
	struct output *output = &attach->outputs[frame->kind == FRAME_STDERR];
	while (attach->done < frame->length) {
		ssize_t written = output_write(output, frame->payload + attach->done, frame->length - attach->done);
		if (written == 0) {
			attach->blocked_fd = output->fd;
			return -EAGAIN;
		}
		if (written < 0) {
			if (!attach->options.stands_in)
				leave(attach, false);
			attach->fatal = written == -EPIPE ? SIGPIPE : 0;
			if (written != -EPIPE)
				fprintf(stderr, "twinhull: output: %s\n", strerror((int)-written));
			else if (!attach->options.stream && !attach->options.stands_in)
				fprintf(stderr,
				        "twinhull: nobody reads its output any more; it goes on (twinhull ps)\n");
			end(attach, EXIT_OURS);
			return 0;
		}
		attach->done += (size_t)written;
	}
	attach->done = 0;
	attach->unpaid += frame->length;
	if (attach->unpaid >= REPAY_BYTES) {
		connection_send_u32(&attach->server, attach->options.stream, FRAME_CREDIT, attach->unpaid);
		attach->unpaid = 0;
	}
	return 0;
}

/* The text may come from a guest: nothing in it may steer a terminal. */
static void on_error(struct attach *attach, const struct frame *frame)
{
	char text[sizeof(((struct failure *)0)->text)];
	size_t length = frame->length > 12 ? frame->length - 12 : 0;
	length = length < sizeof(text) - 1 ? length : sizeof(text) - 1;
	for (size_t i = 0; i < length; i++) {
		uint8_t byte = frame->payload[12 + i];
		text[i] = (char)(byte < 0x20 || byte == 0x7f || (byte >= 0x80 && byte < 0xa0) ? '?' : byte);
	}
	text[length] = '\0';
	rawmode_leave(&attach->rawmode);
	uint32_t error = frame_u32(frame, 1), code = frame_u32(frame, 2);
	fprintf(stderr, "twinhull: %s%s%s\n", text, error ? ": " : "", error ? strerror((int)(error & 0xfff)) : "");
	end(attach, code ? (int)(code & 0xff) : EXIT_OURS);
}

static void on_exit_status(struct attach *attach, const struct frame *frame)
{
	attach->oom = frame_u32(frame, 2) != 0;
	end(attach, (int)(frame_u32(frame, 0) & 0xff));
}

static int on_frame(void *context, struct connection *from, const struct frame *frame)
{
	struct attach *attach = context;
	if (attach->over)
		return 0;
	if (frame->kind == FRAME_PING) {
		connection_send(from, frame->stream, FRAME_PING, frame->payload, frame->length);
		return 0;
	}
	if (frame->stream != attach->options.stream)
		return 0;
	if (frame->kind == FRAME_STDOUT || frame->kind == FRAME_STDERR)
		return on_output(attach, frame);
	if (frame->kind == FRAME_CREDIT)
		attach->credit += frame_u32(frame, 0);
	else if (frame->kind == FRAME_EXIT)
		on_exit_status(attach, frame);
	else if (frame->kind == FRAME_ERROR)
		on_error(attach, frame);
	return 0;
}

static void end_input(struct attach *attach)
{
	attach->input_ended = true;
	connection_send(&attach->server, attach->options.stream, FRAME_EOF, NULL, 0);
}

static void pass_input(struct attach *attach)
{
	static uint8_t raw[MAX_PAYLOAD], filtered[MAX_PAYLOAD + MAX_KEYS];
	size_t limit = sizeof(raw) - MAX_KEYS;
	limit = attach->credit < limit + MAX_KEYS ? attach->credit - MAX_KEYS : limit;
	ssize_t got = read(STDIN_FILENO, raw, limit);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		end_input(attach);
		return;
	}
	size_t length = (size_t)got;
	const uint8_t *data = raw;
	bool leaving = false;
	if (attach->options.tty) {
		leaving = keys_filter(&attach->keys, raw, (size_t)got, filtered, &length);
		data = filtered;
	}
	attach->credit -= (uint32_t)length;
	if (length)
		connection_send(&attach->server, attach->options.stream, FRAME_STDIN, data, (uint32_t)length);
	if (leaving) {
		leave(attach, true);
		end(attach, 0);
	}
}

/* Do what the signal does to a program that does not catch it; we come back if it only stopped us. */
static void take_default(struct attach *attach, int signal)
{
	struct sigaction standard = {.sa_handler = SIG_DFL};
	sigset_t one;
	rawmode_leave(&attach->rawmode);
	sigaction(signal, &standard, NULL);
	sigemptyset(&one);
	sigaddset(&one, signal);
	raise(signal);
	sigprocmask(SIG_UNBLOCK, &one, NULL);
	sigprocmask(SIG_BLOCK, &one, NULL);
}

static void on_signal(struct attach *attach)
{
	struct signalfd_siginfo info;
	if (read(attach->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	int signal = (int)info.ssi_signo;
	if (signal == SIGWINCH) {
		send_size(attach);
	} else if (signal == SIGCONT && !attach->options.stands_in) {
		if (attach->rawmode.saved)
			rawmode_enter(&attach->rawmode);
		send_size(attach);
	} else if (signal == SIGTSTP && !attach->options.stands_in) {
		take_default(attach, signal);
	} else if (attach->options.proxy) {
		connection_send_u32(&attach->server, attach->options.stream, FRAME_SIGNAL, (uint32_t)signal);
	} else {
		leave(attach, false);
		attach->fatal = signal;
		end(attach, 128 + signal);
	}
}

/* Signals that a program may want; those of its own faults and of job control are not among them, unless we stand in
 * for it: then whoever sends them means it. */
static bool is_passed_on(int signal, bool stands_in)
{
	static const int KEPT[] = {SIGKILL, SIGSTOP, SIGCHLD, SIGPIPE, SIGSEGV, SIGBUS,  SIGILL,
	                           SIGFPE,  SIGTTIN, SIGTTOU, SIGTRAP, SIGSYS,  SIGABRT, SIGURG};
	size_t count = stands_in ? OWN_FAULTS : sizeof(KEPT) / sizeof(KEPT[0]);
	for (size_t i = 0; i < count; i++)
		if (signal == KEPT[i])
			return false;
	return true;
}

static int catch_signals(struct attach *attach)
{
	sigemptyset(&attach->caught);
	for (int signal = 1; signal < (attach->options.stands_in ? LAST_SIGNAL + 1 : 32); signal++) {
		struct sigaction action;
		/* What our caller ignores (nohup, a shell's background job) stays ignored. */
		if (is_passed_on(signal, attach->options.stands_in) && sigaction(signal, NULL, &action) == 0 &&
		    action.sa_handler != SIG_IGN)
			sigaddset(&attach->caught, signal);
	}
	sigset_t blocked = attach->caught;
	sigaddset(&blocked, SIGPIPE);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	attach->signal_fd = signalfd(-1, &attach->caught, SFD_CLOEXEC | SFD_NONBLOCK);
	return attach->signal_fd < 0 ? -errno : 0;
}

static bool wants_input(const struct attach *attach)
{
	return attach->options.input && !attach->input_ended && !attach->server.out.used &&
	       attach->credit > 2 * MAX_KEYS;
}

static void turn(struct attach *attach)
{
	struct connection *server = &attach->server;
	struct pollfd fds[] = {
		{.fd = attach->signal_fd, .events = POLLIN},
		{.fd = server->fd,
	         .events = (short)((connection_readable(server) ? POLLIN : 0) | (server->out.used ? POLLOUT : 0))},
		{.fd = wants_input(attach) ? STDIN_FILENO : -1, .events = POLLIN},
		{.fd = attach->blocked_fd, .events = POLLOUT},
	};
	if (server->stalled && fds[1].events == 0)
		fds[1].fd = -1; /* a supervisor that is gone is noticed after its last words */
	if (poll(fds, sizeof(fds) / sizeof(fds[0]), -1) < 0)
		return;
	if (fds[0].revents)
		on_signal(attach);
	if (fds[2].revents)
		pass_input(attach);
	connection_flush(server);
	if (server->stalled && (fds[3].revents || attach->blocked_fd < 0)) {
		attach->blocked_fd = -1;
		connection_dispatch(server, on_frame, attach);
	} else if (fds[1].revents && connection_readable(server)) {
		connection_receive(server, on_frame, attach);
	}
}

static void run(struct attach *attach)
{
	while (!attach->over) {
		if (attach->server.broken) {
			rawmode_leave(&attach->rawmode);
			fprintf(stderr, "twinhull: supervisor lost\n%s",
			        attach->options.stands_in ? "" : "  hint: twinhull ps -a shows what is left\n");
			end(attach, EXIT_LOST);
			return;
		}
		turn(attach);
	}
	/* DETACH and CLOSE must arrive; what else is queued may. */
	for (int i = 0; i < FLUSH_MS && !connection_idle(&attach->server); i++) {
		struct pollfd wait = {.fd = attach->server.fd, .events = POLLOUT};
		poll(&wait, 1, 1);
		connection_flush(&attach->server);
	}
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return fd;
}

static bool parse_options(struct options *options, int argc, char **argv)
{
	*options = (struct options){.fd = -1, .detach_keys = DETACH_KEYS, .proxy = true};
	for (int i = 2; i < argc; i++) {
		bool more = i + 1 < argc;
		if (strcmp(argv[i], "--tty") == 0)
			options->tty = true;
		else if (strcmp(argv[i], "--stdin") == 0)
			options->input = true;
		else if (strcmp(argv[i], "--no-sig-proxy") == 0)
			options->proxy = false;
		else if (strcmp(argv[i], "--exec") == 0)
			options->stream = options->stream ? options->stream : 1;
		else if (strcmp(argv[i], "--stream") == 0 && more)
			options->stream = (uint32_t)strtoul(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--fd") == 0 && more)
			options->fd = (int)strtol(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--socket") == 0 && more)
			options->socket = argv[++i];
		else if (strcmp(argv[i], "--receive") == 0 && more)
			options->receive = argv[++i];
		else if (strcmp(argv[i], "--stands-in") == 0)
			options->stands_in = true;
		else if (strcmp(argv[i], "--memory") == 0 && more)
			options->memory = strtoull(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--detach-keys") == 0 && more)
			options->detach_keys = argv[++i];
		else
			return false;
	}
	return (options->fd >= 0) + (options->socket != NULL) + (options->receive != NULL) == 1;
}

/* A conversation that somebody has begun for us, and hands over at this socket. */
static int receive_from(const char *path)
{
	CLEANUP_FD int giver = connect_to(path);
	return giver < 0 ? giver : fd_receive(giver);
}

static int take_over(const struct options *options)
{
	int fd = fcntl(options->fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (fd < 0)
		return -errno;
	close(options->fd);
	return fd;
}

/* Have a conversation to go on with: the caller's, or one of our own. */
static int open_server(struct attach *attach)
{
	struct options *options = &attach->options;
	int fd = options->socket    ? connect_to(options->socket)
	         : options->receive ? receive_from(options->receive)
	                            : take_over(options);
	if (fd < 0)
		return fd;
	connection_open(&attach->server, fd);
	attach->credit = INITIAL_CREDIT;
	attach->blocked_fd = -1;
	if (options->socket)
		connection_send_flags(&attach->server, options->stream, FRAME_ATTACH,
		                      options->input ? FLAG_STDIN_OPEN : 0);
	return 0;
}

/* A closed standard stream must not become the number of something of ours. */
static void fill_standard_streams(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			open("/dev/null", fd ? O_WRONLY : O_RDONLY);
}

/* End as the program did: killed by the kernel for want of memory, in the group where callers wait for that. We are the
 * first to be killed there, and take no more than the group may; if nobody kills us (swap), the status says it alone.
 */
static void take_memory(uint64_t bytes)
{
	CLEANUP_FD int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (bytes == 0 || score < 0 || write(score, "1000", 4) < 0)
		return;
	void *taken = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	long page = sysconf(_SC_PAGESIZE);
	for (uint64_t at = 0; taken != MAP_FAILED && at < bytes; at += (uint64_t)page)
		((volatile uint8_t *)taken)[at] = 1;
}

int attach_main(int argc, char **argv)
{
	static struct attach attach;
	struct options *options = &attach.options;
	if (!parse_options(options, argc, argv) || !keys_parse(&attach.keys, options->detach_keys)) {
		fprintf(stderr,
		        "usage: launcher attach (--fd N | --socket PATH | --receive PATH) [--tty] [--stdin] [--exec]\n"
		        "       [--stream N] [--detach-keys KEYS] [--no-sig-proxy] [--stands-in] [--memory BYTES]\n");
		return EXIT_OURS;
	}
	fill_standard_streams();
	output_init(&attach.outputs[0], STDOUT_FILENO);
	output_init(&attach.outputs[1], STDERR_FILENO);
	int error = open_server(&attach);
	if (error == 0)
		error = catch_signals(&attach);
	if (error < 0) {
		fprintf(stderr, "twinhull: attach: %s\n", strerror(-error));
		return EXIT_OURS;
	}
	if (options->tty && options->input)
		rawmode_enter(&attach.rawmode);
	options->proxy = options->stands_in || (options->proxy && !attach.rawmode.saved);
	send_size(&attach);
	run(&attach);
	rawmode_leave(&attach.rawmode);
	if (attach.oom)
		take_memory(options->memory);
	if (attach.fatal)
		take_default(&attach, attach.fatal);
	return attach.code;
}
