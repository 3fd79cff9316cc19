/*
 * The floor: what a run takes that does nothing but its system calls. It sends the messages of messages.h, which
 * benches/figures/run records from a real run, each to a socket of its protocol, and takes what the kernel replies. With
 * arguments it does so in each of these network namespaces. No C library, so that nothing else is measured.
 *
 * Exit status: 1 where a reply begins with an error other than the errno EXPECTED; 2 where a call fails.
 */
#include "messages.h"

enum { OPEN = 2, CLOSE = 3, SOCKET = 41, SENDTO = 44, RECVFROM = 45, EXIT = 231, SETNS = 308 };
enum { PROTOCOLS = 32, AF_NETLINK_ = 16, RAW_CLOEXEC = 3 | 02000000, DONTWAIT = 0x40, NEWNET = 0x40000000 };

/* As much as the kernel puts into one part of a dump. */
static unsigned char buffer[32768];

static long call(long number, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = 0;
	register long r9 __asm__("r9") = 0;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

static void end(int status)
{
	for (;;)
		call(EXIT, status, 0, 0, 0);
}

static void replay(void)
{
	int sockets[PROTOCOLS];

	for (int protocol = 0; protocol < PROTOCOLS; protocol++)
		sockets[protocol] = -1;
	for (unsigned index = 0; index < sizeof(messages) / sizeof(*messages); index++) {
		const struct message *message = &messages[index];
		int *socket = &sockets[message->protocol];
		long received;

		if (*socket < 0)
			*socket = call(SOCKET, AF_NETLINK_, RAW_CLOEXEC, message->protocol, 0);
		if (*socket < 0 || call(SENDTO, *socket, (long)message->bytes, message->length, 0) != message->length)
			end(2);
		/* The kernel works inside of sendto: when it returns, the first part of the reply is there. */
		while ((received = call(RECVFROM, *socket, (long)buffer, sizeof(buffer), DONTWAIT)) > 0)
			/* NLMSG_ERROR with an errno */
			if (*(unsigned short *)(buffer + 4) == 2 && *(int *)(buffer + 16) != 0 &&
			    *(int *)(buffer + 16) != -EXPECTED)
				end(1);
	}
	for (int protocol = 0; protocol < PROTOCOLS; protocol++)
		if (sockets[protocol] >= 0)
			call(CLOSE, sockets[protocol], 0, 0, 0);
}

__attribute__((used)) void run(long *stack)
{
	long count = stack[0];
	char **arguments = (char **)(stack + 1);

	if (count < 2)
		replay();
	for (long index = 1; index < count; index++) {
		long namespace = call(OPEN, (long)arguments[index], 02000000, 0, 0);

		if (namespace < 0 || call(SETNS, namespace, NEWNET, 0, 0) < 0)
			end(2);
		call(CLOSE, namespace, 0, 0, 0);
		replay();
	}
	end(0);
}

__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall run\n");
