/* Threads of a process that is saved: stopped, read, and asked what the kernel tells nobody else. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "descriptor.h"
#include "directory.h"
#include "kernel.h"
#include "saver.h"

#ifdef __x86_64__

#define SCRATCH_BELOW 4096u /* where a stopped thread's answers are written: below its stack's red zone */
#define STOP_TRIES 200
#define STOP_US 5000
enum { GET_SIGMASK = 0x420a, GET_RSEQ = 0x420f }; /* ptrace(2) */

static bool stands_in_call(const struct saver *saver, const struct user_regs_struct *registers)
{
	uint8_t instruction[2];
	return (int64_t)registers->orig_rax >= 0 && !saver_read(saver, registers->rip - 2, instruction, 2) &&
	       instruction[0] == 0x0f && instruction[1] == 0x05;
}

static int interrupt(const struct saver *saver, pid_t tid, bool *stands)
{
	int status;
	struct user_regs_struct registers;
	if (ptrace(PTRACE_INTERRUPT, tid, 0, 0) < 0 || waitpid(tid, &status, __WALL) < 0)
		return -errno;
	if (!WIFSTOPPED(status))
		return -ESRCH;
	if (ptrace(PTRACE_GETREGS, tid, 0, &registers) < 0)
		return -errno;
	*stands = stands_in_call(saver, &registers);
	return 0;
}

/* One that runs is let go for a moment: it has something to finish. */
static int stop(struct saver *saver, pid_t tid)
{
	bool stands = false;
	if (ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) < 0)
		return -errno;
	int error = interrupt(saver, tid, &stands);
	for (int tries = 0; !error && !stands && tries < STOP_TRIES; tries++) {
		if (ptrace(PTRACE_CONT, tid, 0, 0) < 0)
			return -errno;
		usleep(STOP_US);
		error = interrupt(saver, tid, &stands);
	}
	saver->tids[saver->imprint->threads++] = tid;
	return error ? error : stands ? 0 : -EBUSY;
}

static bool is_stopped(const struct saver *saver, pid_t tid)
{
	for (size_t i = 0; i < saver->imprint->threads; i++)
		if (saver->tids[i] == tid)
			return true;
	return false;
}

/* In the order of their making, the first thread first; until no new one is seen. */
static int stop_all(struct saver *saver)
{
	for (bool found = true; found;) {
		CLEANUP_FD int tasks = openat(saver->directory, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		struct listing listing = {.fd = tasks};
		struct entry entry;
		int more;
		found = false;
		while ((more = listing_next(&listing, &entry)) > 0) {
			pid_t tid = (pid_t)atoi(entry.name);
			if (tid <= 0 || is_stopped(saver, tid))
				continue;
			if (saver->imprint->threads == IMPRINT_THREADS)
				return -E2BIG;
			int error = stop(saver, tid);
			if (error)
				return error;
			found = true;
		}
		if (more < 0)
			return more;
	}
	return saver->tids[0] == saver->pid ? 0 : -ESRCH;
}

static int step(pid_t tid)
{
	int status;
	if (ptrace(PTRACE_SYSCALL, tid, 0, 0) < 0 || waitpid(tid, &status, __WALL) < 0)
		return -errno;
	return WIFSTOPPED(status) && WSTOPSIG(status) == (SIGTRAP | 0x80) ? 0 : -EINTR;
}

/* Have a thread that was stopped in a system call make another one. */
static int call(const struct user_regs_struct *stopped, pid_t tid, long number, const uint64_t arguments[4])
{
	struct user_regs_struct registers = *stopped;
	registers.rax = (uint64_t)number;
	registers.orig_rax = (uint64_t)-1;
	registers.rip -= 2; /* the instruction that led here */
	registers.rdi = arguments[0];
	registers.rsi = arguments[1];
	registers.rdx = arguments[2];
	registers.r10 = arguments[3];
	if (ptrace(PTRACE_SETREGS, tid, 0, &registers) < 0)
		return -errno;
	int error = step(tid);
	if (!error)
		error = step(tid);
	if (!error && ptrace(PTRACE_GETREGS, tid, 0, &registers) < 0)
		error = -errno;
	return error ? error : (int)registers.rax;
}

/* Calls that were interrupted are made again, or are told so if they count time. */
static void settle_registers(struct user_regs_struct *registers)
{
	enum { RESTART_SYS = -512, RESTART_NO_INTR = -513, RESTART_NO_HANDLER = -514, RESTART_BLOCK = -516 };
	if ((int64_t)registers->orig_rax < 0)
		return;
	switch ((int64_t)registers->rax) {
	case RESTART_SYS:
	case RESTART_NO_INTR:
	case RESTART_NO_HANDLER:
		registers->rax = registers->orig_rax;
		registers->rip -= 2;
		break;
	case RESTART_BLOCK: registers->rax = (uint64_t)-EINTR; break;
	default: break;
	}
}

static int save_actions(struct saver *saver, const struct user_regs_struct *registers)
{
	uint64_t scratch = (registers->rsp - SCRATCH_BELOW) & ~(uint64_t)15;
	for (uint64_t number = 1; number <= IMPRINT_SIGNALS; number++) {
		const uint64_t arguments[4] = {number, 0, scratch, sizeof(uint64_t)};
		int error = call(registers, saver->pid, SYS_rt_sigaction, arguments);
		if (!error)
			error = saver_read(saver, scratch, &saver->imprint->actions[number - 1],
			                   sizeof(struct saved_action));
		if (error)
			return error;
	}
	return 0;
}

static int save_rest(pid_t tid, struct saved_thread *thread)
{
	struct {
		uint64_t pointer;
		uint32_t size, signature, flags, padding;
	} rseq = {0};
	size_t length;
	void *head = NULL;
	struct iovec state = {.iov_base = thread->xstate, .iov_len = sizeof(thread->xstate)};
	if (ptrace(PTRACE_GETREGSET, tid, NT_X86_XSTATE, &state) < 0 ||
	    ptrace(GET_SIGMASK, tid, sizeof(thread->mask), &thread->mask) < 0 ||
	    ptrace(GET_RSEQ, tid, sizeof(rseq), &rseq) < 0 || syscall(SYS_get_robust_list, tid, &head, &length) < 0)
		return -errno;
	thread->xstate_bytes = (uint32_t)state.iov_len;
	thread->robust_list = (uint64_t)(uintptr_t)head;
	thread->rseq = rseq.pointer;
	thread->rseq_bytes = rseq.size;
	thread->rseq_signature = rseq.signature;
	return state.iov_len <= sizeof(thread->xstate) - sizeof(uint32_t) ? 0 : -E2BIG;
}

static int save_thread(struct saver *saver, pid_t tid, struct saved_thread *thread)
{
	struct user_regs_struct registers;
	_Static_assert(sizeof(registers) == sizeof(thread->registers), "as the kernel has them");
	if (ptrace(PTRACE_GETREGS, tid, 0, &registers) < 0)
		return -errno;
	int error = save_rest(tid, thread);
	uint64_t scratch = (registers.rsp - SCRATCH_BELOW) & ~(uint64_t)15;
	const uint64_t arguments[4] = {PR_GET_TID_ADDRESS, scratch, 0, 0};
	if (!error)
		error = call(&registers, tid, SYS_prctl, arguments);
	if (!error)
		error = saver_read(saver, scratch, &thread->tid_address, sizeof(uint64_t));
	if (!error && tid == saver->pid)
		error = save_actions(saver, &registers);
	settle_registers(&registers);
	memcpy(thread->registers, &registers, sizeof(registers));
	return error;
}

int save_threads(struct saver *saver)
{
	saver->what = "its threads";
	int error = stop_all(saver);
	for (size_t i = 0; !error && i < saver->imprint->threads; i++)
		error = save_thread(saver, saver->tids[i], &saver->imprint->thread[i]);
	return error;
}

#else

typedef int nothing_for_this_processor;

#endif
