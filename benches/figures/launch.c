/*
 * Starts a program and reports what it took, to the file descriptor that is the first argument: nanoseconds from before fork
 * to after wait, microseconds of CPU, and KiB of peak memory. Tiny, because a process's peak includes what it had before
 * exec(2), and because Python's own time to start one is as long as what is measured.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int main(int count, char **arguments)
{
	struct rusage usage;
	long long started = now();
	int status;
	pid_t child;

	if (count < 3)
		return 2;
	child = fork();
	if (child == 0) {
		execvp(arguments[2], arguments + 2);
		_exit(127);
	}
	if (child < 0 || wait4(child, &status, 0, &usage) < 0)
		return 2;
	dprintf(atoi(arguments[1]), "%lld %lld %ld\n", now() - started,
		(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000LL + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec,
		usage.ru_maxrss);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
