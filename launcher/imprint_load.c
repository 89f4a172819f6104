/* A saved process made again, in place of exec: a script of system calls, performed by a few instructions that need
 * neither stack nor library, since the first calls take away all the memory that we run in.
 *
 * What can fail for a reason worth telling is done before: files opened, descriptors made. After that a call that
 * fails ends the process with EXIT_BROKEN. */
#define _GNU_SOURCE
#include "imprint.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/user.h>
#include <unistd.h>

#include "descriptor.h"
#include "kernel.h"
#include "memory.h"
#include "spawn.h"

#ifdef __x86_64__

#define LIMIT_ADDRESS 0x7ffffffff000u
#define SCRIPT_LOWEST 0x600000000000u /* between a program's heap and its libraries nothing lies */
#define SCRIPT_PLACES 0x10000000u     /* pages of which one is drawn */
#define SCRIPT_BYTES (4u << 20)
#define MAX_CALLS 40000u
#define SPECIAL_BYTES 131072u /* the kernel's own pages, put aside */
#define TRIES 16
/* A thread just as glibc makes it, which is what QEMU's own filter lets through. */
#define THREAD_FLAGS                                                                                                   \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS |             \
	 CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)
enum { XSTATE_MAGIC1 = 0x46505853, XSTATE_MAGIC2 = 0x46505845, XSTATE_SOFTWARE = 464 };
enum { UC_FP_XSTATE = 1, UC_SIGCONTEXT_SS = 2, UC_STRICT_RESTORE_SS = 4, ALTERNATE_STACK_NONE = 2 };
enum { ARCH_SET_FS_CODE = 0x1002, SET_MM_CODE = 35, SET_MM_MAP_CODE = 14, ROBUST_LIST_BYTES = 24 };

/* One system call: its number, its arguments, and for clone(2) where the new thread goes on. */
struct call {
	int64_t number; /* CALL_END: leave by rt_sigreturn from the frame in the first argument */
	uint64_t arguments[6];
	const struct call *elsewhere;
};
#define CALL_END (-1)

/* arch/x86/include/uapi/asm/sigcontext.h, ucontext.h: what rt_sigreturn reads. */
struct frame {
	uint64_t flags, link;
	struct {
		uint64_t pointer;
		uint32_t flags, padding;
		uint64_t size;
	} alternate;
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags;
	uint16_t cs, gs, fs, ss;
	uint64_t error, trap, old_mask, cr2, state, reserved[8];
	uint64_t mask;
	_Alignas(64) uint8_t xstate[IMPRINT_XSTATE];
};

/* struct prctl_mm_map */
struct layout_call {
	struct saved_layout layout;
	uint64_t auxv;
	uint32_t auxv_bytes, exe;
};

/* Where the script lies: at an address that neither we nor the process use. The process keeps it. */
struct stage {
	struct layout_call layout;
	struct sock_fprog filter;
	struct frame frames[IMPRINT_THREADS];
	struct call threads[IMPRINT_THREADS][4];
	struct call calls[MAX_CALLS];
};
_Static_assert(sizeof(struct stage) + SPECIAL_BYTES + IMPRINT_PAGE <= SCRIPT_BYTES, "it fits");

struct loader {
	const struct imprint *imprint; /* mapped at the end of the stage, where it stays */
	struct stage *stage;
	uint64_t code; /* the page with the instructions */
	size_t calls;
	int files[IMPRINT_NAMES / 2]; /* by the place of the name, halved: no name is shorter than "/a" */
	int fd;
};

/* rbx: the next call. Nothing else is kept in a register across calls but what the kernel keeps. */
extern const char imprint_script[], imprint_script_end[];
__asm__(".pushsection .text\n"
        ".globl imprint_script, imprint_script_end\n"
        ".type imprint_script, @function\n"
        "imprint_script:\n"
        "1:	mov (%rbx), %rax\n"
        "	cmp $-1, %rax\n"
        "	je 2f\n"
        "	mov 8(%rbx), %rdi\n"
        "	mov 16(%rbx), %rsi\n"
        "	mov 24(%rbx), %rdx\n"
        "	mov 32(%rbx), %r10\n"
        "	mov 40(%rbx), %r8\n"
        "	mov 48(%rbx), %r9\n"
        "	syscall\n"
        "	cmp $-4096, %rax\n"
        "	ja 3f\n"
        "	cmpq $56, (%rbx)\n" /* clone */
        "	jne 4f\n"
        "	test %rax, %rax\n"
        "	jne 4f\n"
        "	mov 56(%rbx), %rbx\n"
        "	jmp 1b\n"
        "4:	add $64, %rbx\n"
        "	jmp 1b\n"
        "2:	mov 8(%rbx), %rsp\n"
        "	mov $15, %eax\n" /* rt_sigreturn */
        "	syscall\n"
        "3:	mov $125, %edi\n"
        "	mov $231, %eax\n" /* exit_group */
        "	syscall\n"
        "	hlt\n"
        "imprint_script_end:\n"
        ".popsection\n");
_Static_assert(sizeof(struct call) == 64 && SYS_clone == 56, "as the instructions have it");

#define ADDRESS(pointer) ((uint64_t)(uintptr_t)(pointer))

static void add(struct loader *loader, long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                uint64_t f)
{
	loader->stage->calls[loader->calls++] = (struct call){.number = number, .arguments = {a, b, c, d, e, f}};
}

/* --- before the script */

static bool is_free(const struct imprint *imprint, uint64_t start, uint64_t end)
{
	for (size_t i = 0; i < imprint->segments; i++)
		if (imprint->segment[i].start < end && start < imprint->segment[i].end)
			return false;
	for (size_t i = 0; i < imprint->specials; i++)
		if (imprint->special[i].start < end && start < imprint->special[i].end)
			return false;
	return true;
}

/* Map the tables, the stage and the instructions, one after the other, at an address that nobody can guess. */
static int set_stage(struct loader *loader, const struct imprint *tables)
{
	size_t length = IMPRINT_TABLES + SCRIPT_BYTES;
	for (int tries = 0; tries < TRIES; tries++) {
		uint32_t random;
		if (syscall(SYS_getrandom, &random, sizeof(random), 0) != sizeof(random))
			return -errno;
		uint64_t place = SCRIPT_LOWEST + (uint64_t)(random % SCRIPT_PLACES) * IMPRINT_PAGE;
		if (!is_free(tables, place, place + length))
			continue;
		char *memory = mmap((void *)(uintptr_t)place, length, PROT_READ | PROT_WRITE,
		                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
		if (ADDRESS(memory) != place)
			continue;
		if (mmap(memory, IMPRINT_TABLES, PROT_READ, MAP_PRIVATE | MAP_FIXED, loader->fd, 0) == MAP_FAILED)
			return -errno;
		loader->imprint = (const struct imprint *)(const void *)memory;
		loader->stage = (struct stage *)(void *)(memory + IMPRINT_TABLES);
		char *code = memory + length - IMPRINT_PAGE;
		memcpy(code, imprint_script, (size_t)(imprint_script_end - imprint_script));
		loader->code = ADDRESS(code);
		return mprotect(code, IMPRINT_PAGE, PROT_READ | PROT_EXEC) < 0 ? -errno : 0;
	}
	return -EAGAIN;
}

static int open_files(struct loader *loader)
{
	for (uint32_t at = 0; at < loader->imprint->names;) {
		const char *name = loader->imprint->name + at;
		int fd = fd_high(open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
		if (fd < 0)
			return fd;
		loader->files[at / 2] = fd;
		at += (uint32_t)strlen(name) + 1;
	}
	return 0;
}

static int set_tap(const struct saved_descriptor *saved)
{
	int header = (int)(uint32_t)saved->value;
	unsigned offloads = (unsigned)(saved->value >> 32);
	if (ioctl(saved->number, TUNSETVNETHDRSZ, &header) < 0)
		return -errno;
	if (ioctl(saved->number, TUNSETOFFLOAD, offloads) == 0)
		return 0;
	return ioctl(saved->number, TUNSETOFFLOAD, offloads & ~(unsigned)TUN_F_UFO) < 0 ? -errno : 0;
}

static int make_descriptor(const struct loader *loader, const struct saved_descriptor *saved)
{
	uint64_t mask = saved->value;
	int flags = (int)saved->flags & (O_NONBLOCK | O_CLOEXEC), fd = -1;
	switch ((enum saved_kind)saved->kind) {
	case SAVED_GIVEN:
		if (fcntl(saved->number, F_GETFD) < 0)
			return -errno;
		if (flags & O_NONBLOCK && fcntl(saved->number, F_SETFL, O_NONBLOCK) < 0)
			return -errno;
		return saved->tap ? set_tap(saved) : 0;
	case SAVED_COPY: fd = dup((int)saved->value); break;
	case SAVED_DIRECTORY: fd = dup(loader->files[saved->value / 2]); break;
	case SAVED_EPOLL: fd = epoll_create1(0); break;
	case SAVED_EVENT: fd = eventfd((unsigned)saved->value, flags & O_NONBLOCK); break;
	case SAVED_SIGNAL: fd = (int)syscall(SYS_signalfd4, -1, &mask, sizeof(mask), flags & O_NONBLOCK); break;
	}
	if (fd < 0 || (saved->kind == SAVED_COPY && flags & O_NONBLOCK && fcntl(fd, F_SETFL, O_NONBLOCK) < 0))
		return -errno;
	if (fd == saved->number)
		return fcntl(fd, F_SETFD, flags & O_CLOEXEC ? FD_CLOEXEC : 0) < 0 ? -errno : 0;
	int error = dup3(fd, saved->number, flags & O_CLOEXEC) < 0 ? -errno : 0;
	close(fd);
	return error;
}

/* Copies first: another may have the number of what they are copied from, which QEMU had closed. */
static int make_descriptors(const struct loader *loader)
{
	const struct imprint *imprint = loader->imprint;
	int error = 0;
	for (size_t i = 0; !error && i < 2 * (size_t)imprint->descriptors; i++) {
		const struct saved_descriptor *saved = &imprint->descriptor[i % imprint->descriptors];
		bool now = (saved->kind == SAVED_COPY) == (i < imprint->descriptors);
		error = now ? make_descriptor(loader, saved) : 0;
	}
	return error;
}

/* --- the script */

/* The kernel's own pages go where the process knows them; first out of the way. */
static int move_specials(struct loader *loader, uint64_t aside, bool back)
{
	char maps[65536];
	struct address_range found[IMPRINT_SPECIALS];
	size_t count = 0;
	if (file_read(AT_FDCWD, "/proc/self/maps", maps, sizeof(maps)) < 0)
		return -EIO;
	char *rest = maps;
	for (char *line; (line = strsep(&rest, "\n"));) {
		unsigned long long start, end;
		if ((strstr(line, "[vdso]") || strstr(line, "[vvar")) && count < IMPRINT_SPECIALS &&
		    sscanf(line, "%llx-%llx", &start, &end) == 2)
			found[count++] = (struct address_range){start, end};
	}
	if (count != loader->imprint->specials)
		return -ENOTSUP;
	for (size_t i = 0; i < count; i++) {
		const struct address_range *wanted = &loader->imprint->special[i];
		uint64_t length = found[i].end - found[i].start;
		if (length != wanted->end - wanted->start)
			return -ENOTSUP;
		uint64_t from = back ? aside : found[i].start, to = back ? wanted->start : aside;
		add(loader, SYS_mremap, from, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, to, 0);
		aside += length;
	}
	return 0;
}

static void add_segment(struct loader *loader, const struct segment *segment)
{
	uint64_t length = segment->end - segment->start;
	uint64_t flags = MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd = (uint64_t)-1, offset = 0;
	switch ((enum segment_kind)segment->kind) {
	case SEGMENT_EMPTY: flags |= MAP_ANONYMOUS; break;
	case SEGMENT_STACK: flags |= MAP_ANONYMOUS | MAP_GROWSDOWN; break;
	case SEGMENT_PAGES:
		fd = (uint64_t)loader->fd;
		offset = segment->offset;
		break;
	case SEGMENT_FILE:
		fd = (uint64_t)loader->files[segment->name / 2];
		offset = segment->offset;
		break;
	case SEGMENT_DESCRIPTOR:
		fd = segment->name;
		offset = segment->offset;
		break;
	}
	add(loader, SYS_mmap, segment->start, length, segment->protection, flags, fd, offset);
	if (segment->kind == SEGMENT_STACK)
		add(loader, SYS_pread64, (uint64_t)loader->fd, segment->start, length, segment->offset, 0, 0);
	if (segment->advice)
		add(loader, SYS_madvise, segment->start, length, segment->advice, 0, 0, 0);
}

static int add_memory(struct loader *loader)
{
	uint64_t stage = ADDRESS(loader->imprint), aside = ADDRESS(loader->stage) + sizeof(struct stage);
	aside += (IMPRINT_PAGE - aside % IMPRINT_PAGE) % IMPRINT_PAGE;
	int error = move_specials(loader, aside, false);
	if (error)
		return error;
	uint64_t end = stage + IMPRINT_TABLES + SCRIPT_BYTES;
	add(loader, SYS_munmap, 0, stage, 0, 0, 0, 0);
	add(loader, SYS_munmap, end, LIMIT_ADDRESS - end, 0, 0, 0, 0);
	for (size_t i = 0; i < loader->imprint->segments; i++)
		add_segment(loader, &loader->imprint->segment[i]);
	return move_specials(loader, aside, true);
}

static void fill_frame(struct frame *frame, const struct saved_thread *thread)
{
	struct user_regs_struct from;
	uint32_t magic2 = XSTATE_MAGIC2;
	struct {
		uint32_t magic, extended;
		uint64_t features;
		uint32_t size;
	} software = {.magic = XSTATE_MAGIC1, .extended = thread->xstate_bytes + 4, .size = thread->xstate_bytes};
	memcpy(&from, thread->registers, sizeof(from));
	frame->flags = UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS;
	frame->alternate.flags = ALTERNATE_STACK_NONE;
	frame->r8 = from.r8, frame->r9 = from.r9, frame->r10 = from.r10, frame->r11 = from.r11;
	frame->r12 = from.r12, frame->r13 = from.r13, frame->r14 = from.r14, frame->r15 = from.r15;
	frame->rdi = from.rdi, frame->rsi = from.rsi, frame->rbp = from.rbp, frame->rbx = from.rbx;
	frame->rdx = from.rdx, frame->rax = from.rax, frame->rcx = from.rcx, frame->rsp = from.rsp;
	frame->rip = from.rip, frame->eflags = from.eflags;
	frame->cs = (uint16_t)from.cs, frame->ss = (uint16_t)from.ss;
	frame->state = ADDRESS(frame->xstate);
	frame->mask = thread->mask;
	memcpy(frame->xstate, thread->xstate, thread->xstate_bytes);
	memcpy(&software.features, thread->xstate + XSTATE_SOFTWARE,
	       sizeof(software.features)); /* as ptrace tells it */
	memcpy(frame->xstate + XSTATE_SOFTWARE, &software, sizeof(software));
	memcpy(frame->xstate + thread->xstate_bytes, &magic2, sizeof(magic2));
}

/* What each thread does for itself before it goes on. Returns where its calls begin. */
static const struct call *script_of(struct stage *stage, size_t number, const struct saved_thread *thread)
{
	struct call *calls = stage->threads[number];
	size_t count = 0;
	fill_frame(&stage->frames[number], thread);
	if (thread->robust_list)
		calls[count++] = (struct call){SYS_set_robust_list, {thread->robust_list, ROBUST_LIST_BYTES}, NULL};
	if (thread->rseq)
		calls[count++] =
			(struct call){SYS_rseq, {thread->rseq, thread->rseq_bytes, 0, thread->rseq_signature}, NULL};
	calls[count] = (struct call){CALL_END, {ADDRESS(&stage->frames[number])}, NULL};
	return calls;
}

static void add_process(struct loader *loader)
{
	const struct imprint *imprint = loader->imprint;
	struct stage *stage = loader->stage;
	stage->layout = (struct layout_call){imprint->layout, ADDRESS(imprint->auxiliary), imprint->auxv, (uint32_t)-1};
	add(loader, SYS_prctl, SET_MM_CODE, SET_MM_MAP_CODE, ADDRESS(&stage->layout), sizeof(stage->layout), 0, 0);
	add(loader, SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0, 0);
	add(loader, SYS_prctl, PR_SET_NAME, ADDRESS(imprint->comm), 0, 0, 0, 0);
	for (uint64_t i = 0; i < IMPRINT_SIGNALS; i++)
		if (imprint->actions[i].handler)
			add(loader, SYS_rt_sigaction, i + 1, ADDRESS(&imprint->actions[i]), 0, sizeof(uint64_t), 0, 0);
	add(loader, SYS_close_range, (uint64_t)loader->fd, (uint64_t)loader->fd, 0, 0, 0, 0);
	add(loader, SYS_close_range, MAX_CHILD_FDS, UINT32_MAX, 0, 0, 0, 0);
	if (imprint->filter) {
		stage->filter = (struct sock_fprog){
			.len = (unsigned short)imprint->filter,
			.filter = (struct sock_filter *)(uintptr_t)imprint->instructions,
		};
		add(loader, SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, ADDRESS(&stage->filter), 0, 0, 0);
	}
}

static void add_threads(struct loader *loader)
{
	const struct imprint *imprint = loader->imprint;
	struct stage *stage = loader->stage;
	for (size_t i = 1; i < imprint->threads; i++) {
		const struct saved_thread *thread = &imprint->thread[i];
		struct user_regs_struct registers;
		memcpy(&registers, thread->registers, sizeof(registers));
		add(loader, SYS_clone, THREAD_FLAGS, 0, thread->tid_address, thread->tid_address, registers.fs_base, 0);
		stage->calls[loader->calls - 1].elsewhere = script_of(stage, i, thread);
	}
	const struct saved_thread *first = &imprint->thread[0];
	struct user_regs_struct registers;
	memcpy(&registers, first->registers, sizeof(registers));
	add(loader, SYS_set_tid_address, first->tid_address, 0, 0, 0, 0, 0);
	add(loader, SYS_arch_prctl, ARCH_SET_FS_CODE, registers.fs_base, 0, 0, 0, 0);
	for (const struct call *call = script_of(stage, 0, first);; call++) {
		stage->calls[loader->calls++] = *call;
		if (call->number == CALL_END)
			break;
	}
}

static int check(const struct imprint *imprint)
{
	bool fits = imprint->segments <= IMPRINT_SEGMENTS && imprint->threads <= IMPRINT_THREADS && imprint->threads &&
	            imprint->descriptors <= IMPRINT_DESCRIPTORS && imprint->names <= IMPRINT_NAMES &&
	            imprint->filter <= IMPRINT_FILTER && imprint->specials <= IMPRINT_SPECIALS &&
	            imprint->auxv <= sizeof(imprint->auxiliary);
	return imprint->magic == IMPRINT_MAGIC && fits ? 0 : -EBADMSG;
}

int imprint_load(int fd)
{
	struct loader loader = {.fd = fd};
	const struct imprint *tables = mmap(NULL, IMPRINT_TABLES, PROT_READ, MAP_PRIVATE, fd, 0);
	int error = tables == MAP_FAILED ? -errno : check(tables);
	if (!error)
		error = set_stage(&loader, tables);
	if (!error)
		error = open_files(&loader);
	if (!error)
		error = make_descriptors(&loader);
	if (!error)
		error = add_memory(&loader);
	if (error)
		return error;
	add_process(&loader);
	add_threads(&loader);
	__asm__ volatile("jmp *%0" : : "r"(loader.code), "b"(loader.stage->calls) : "memory");
	__builtin_unreachable();
}

#else

int imprint_load(int fd)
{
	(void)fd;
	return -ENOSYS;
}

#endif
