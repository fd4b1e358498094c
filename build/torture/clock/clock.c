// clock FILE PROGRAM ARGUMENT...: runs a program to which the time of day is off by as many seconds as FILE says; the file is
// read at each call, so that the clock of a program that runs can be stepped. amd64 alone.
//
// A Go program reads the clock in the vDSO, a page of the kernel's code, without a system call. Before its first instruction
// the auxiliary vector's entry that leads there is struck out; then it makes the system call, seccomp hands that to this
// program, and it answers in the kernel's place. Clocks that do not tell the time of day are the kernel's.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { aux_ignore = 1, aux_vdso = 33 }; // AT_IGNORE, AT_SYSINFO_EHDR

static const char *offset_file;

static long long offset(void) {
	long long seconds = 0;
	FILE *f = fopen(offset_file, "r");
	if (f) {
		if (fscanf(f, "%lld", &seconds) != 1)
			seconds = 0;
		fclose(f);
	}
	return seconds;
}

static void run(char **words) {
	struct sock_filter ask[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_clock_gettime, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CLOCK_REALTIME, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {sizeof ask / sizeof *ask, ask};
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	ptrace(PTRACE_TRACEME, 0, 0, 0);
	raise(SIGSTOP);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) {
		perror("clock: seccomp");
		_exit(99);
	}
	execv(words[0], words);
	perror(words[0]);
	_exit(99);
}

// strike takes the vDSO away from a program that is about to begin: above its stack pointer lie the arguments, the
// environment, and the auxiliary vector.
static void strike(pid_t pid) {
	struct user_regs_struct r;
	ptrace(PTRACE_GETREGS, pid, 0, &r);
	unsigned long at = r.rsp + 8 * (ptrace(PTRACE_PEEKDATA, pid, r.rsp, 0) + 2);
	while (ptrace(PTRACE_PEEKDATA, pid, at, 0))
		at += 8;
	for (at += 8;; at += 16) {
		long kind = ptrace(PTRACE_PEEKDATA, pid, at, 0);
		if (kind == 0)
			return;
		if (kind == aux_vdso)
			ptrace(PTRACE_POKEDATA, pid, at, (long)aux_ignore);
	}
}

static void answer(pid_t pid) {
	struct user_regs_struct r;
	struct timespec now;
	ptrace(PTRACE_GETREGS, pid, 0, &r);
	clock_gettime(CLOCK_REALTIME, &now);
	ptrace(PTRACE_POKEDATA, pid, r.rsi, (long)(now.tv_sec + offset()));
	ptrace(PTRACE_POKEDATA, pid, r.rsi + 8, now.tv_nsec);
	r.orig_rax = -1; // no system call is made
	r.rax = 0;
	ptrace(PTRACE_SETREGS, pid, 0, &r);
}

int main(int count, char **words) {
	int status;
	if (count < 3) {
		fprintf(stderr, "usage: clock FILE PROGRAM ARGUMENT...\n");
		return 2;
	}
	offset_file = words[1];
	pid_t first = fork();
	if (first == 0)
		run(words + 2);
	waitpid(first, &status, 0);
	ptrace(PTRACE_SETOPTIONS, first, 0, PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL);
	ptrace(PTRACE_CONT, first, 0, 0);
	for (;;) {
		pid_t pid = waitpid(-1, &status, __WALL);
		if (pid < 0) {
			if (errno == EINTR)
				continue;
			return 1;
		}
		if (WIFEXITED(status) || WIFSIGNALED(status)) {
			if (pid == first)
				return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
			continue;
		}
		int signal = WSTOPSIG(status);
		switch (status >> 16) {
		case 0:
			if (signal == SIGSTOP || signal == SIGTRAP) // a thread begins
				signal = 0;
			break;
		case PTRACE_EVENT_EXEC:
			strike(pid);
			signal = 0;
			break;
		case PTRACE_EVENT_SECCOMP:
			answer(pid);
			signal = 0;
			break;
		default:
			signal = 0;
		}
		ptrace(PTRACE_CONT, pid, 0, (long)signal);
	}
}
