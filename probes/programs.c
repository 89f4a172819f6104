/* Which programs could run here: the smallest of other architectures and systems, executed from memory. */
#define _GNU_SOURCE
#include "escape.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define BASE 0x400000
#define CODE_BYTES 16

struct program {
	const char *name;
	unsigned char class; /* ELFCLASS32, ELFCLASS64, or 0: not of this format */
	Elf64_Half machine;
	unsigned char code[CODE_BYTES]; /* exit(0) */
};

static const struct program programs[] = {
	{"linux/amd64", ELFCLASS64, EM_X86_64, {0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05}},
	{"linux/386", ELFCLASS32, EM_386, {0xb8, 1, 0, 0, 0, 0x31, 0xdb, 0xcd, 0x80}},
	{"linux/arm64", ELFCLASS64, EM_AARCH64, {0xa8, 0x0b, 0x80, 0xd2, 0, 0, 0x80, 0xd2, 1, 0, 0, 0xd4}},
	{"windows/amd64", 0, 0, {'M', 'Z'}},
};

static size_t image64(const struct program *program, unsigned char *image)
{
	size_t start = sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr);
	Elf64_Ehdr head = {
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
		.e_type = ET_EXEC,
		.e_machine = program->machine,
		.e_version = EV_CURRENT,
		.e_entry = BASE + start,
		.e_phoff = sizeof head,
		.e_ehsize = sizeof head,
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 1,
	};
	Elf64_Phdr load = {
		.p_type = PT_LOAD,
		.p_flags = PF_R | PF_X,
		.p_vaddr = BASE,
		.p_paddr = BASE,
		.p_filesz = start + CODE_BYTES,
		.p_memsz = start + CODE_BYTES,
		.p_align = 0x1000,
	};
	memcpy(image, &head, sizeof head);
	memcpy(image + sizeof head, &load, sizeof load);
	memcpy(image + start, program->code, CODE_BYTES);
	return start + CODE_BYTES;
}

static size_t image32(const struct program *program, unsigned char *image)
{
	Elf32_Word start = sizeof(Elf32_Ehdr) + sizeof(Elf32_Phdr);
	Elf32_Ehdr head = {
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
		.e_type = ET_EXEC,
		.e_machine = program->machine,
		.e_version = EV_CURRENT,
		.e_entry = BASE + start,
		.e_phoff = sizeof head,
		.e_ehsize = sizeof head,
		.e_phentsize = sizeof(Elf32_Phdr),
		.e_phnum = 1,
	};
	Elf32_Phdr load = {
		.p_type = PT_LOAD,
		.p_flags = PF_R | PF_X,
		.p_vaddr = BASE,
		.p_paddr = BASE,
		.p_filesz = start + CODE_BYTES,
		.p_memsz = start + CODE_BYTES,
		.p_align = 0x1000,
	};
	memcpy(image, &head, sizeof head);
	memcpy(image + sizeof head, &load, sizeof load);
	memcpy(image + start, program->code, CODE_BYTES);
	return start + CODE_BYTES;
}

static size_t image_of(const struct program *program, unsigned char *image)
{
	if (program->class == ELFCLASS64)
		return image64(program, image);
	if (program->class == ELFCLASS32)
		return image32(program, image);
	memcpy(image, program->code, CODE_BYTES);
	return CODE_BYTES;
}

/* 0 if it ran to its end, else the errno of execveat(2), or -1 if it was killed. */
static int run(const struct program *program)
{
	unsigned char image[256] = {0};
	size_t size = image_of(program, image);
	int fd = memfd_create("program", MFD_CLOEXEC);
	if (fd < 0 || write(fd, image, size) != (ssize_t)size)
		return errno;
	pid_t child = vfork();
	if (child == 0) {
		char *const none[] = {NULL};
		char *const argv[] = {(char *)"program", NULL};
		fexecve(fd, argv, none);
		_exit(errno);
	}
	int status = 0;
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	close(fd);
	return child > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void report_foreign_programs(void)
{
	for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
		int error = run(&programs[i]);
		const char *reason = error > 0 ? strerror(error) : error < 0 ? "killed" : "";
		printf("runs-%s %s %s\n", programs[i].name, error == 0 ? "yes" : "no", reason);
	}
}
