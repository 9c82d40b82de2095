/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client of the qtest protocol that runs a script and prints what it is told:
 * qtest_peer SOCKET <SCRIPT
 *
 * Each line of the script is a command. Printed are the command, interrupts that came until the
 * next one ("raise 10"; but not IRQ 0, where QEMU's interval timer ticks), and the answer.
 * "quiet COMMAND" prints nothing; "settle COMMAND" gives what QEMU does by timers and bottom halves
 * time to happen; "msix FUNCTION" enables MSI-X, wherever its capability is. Empty lines and what
 * begins with # are left out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SETTLE_US 20000

static FILE *f; /* what comes */
static char irqs[4096];
static size_t n_irqs;

static void die(const char *what)
{
	fprintf(stderr, "qtest_peer: %s\n", what);
	exit(1);
}

/* The next answer, without its end; interrupts are kept. */
static char *answer(void)
{
	static char *line;
	static size_t room;
	ssize_t n;

	for (;;) {
		n = getline(&line, &room, f);
		if (n <= 0)
			die("the machine is gone");
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "IRQ ", 4))
			return line;
		if (!strcmp(line + strlen(line) - 2, " 0"))
			continue;
		n_irqs +=
			(size_t)snprintf(irqs + n_irqs, sizeof(irqs) - n_irqs, "  %s\n", line + 4);
		if (n_irqs >= sizeof(irqs))
			die("too many interrupts");
	}
}

/* @got has room for the answer's beginning. */
static void ask(const char *command, char *got, size_t room)
{
	dprintf(fileno(f), "%s\n", command);
	snprintf(got, room, "%s", answer());
	/* What the command has caused by now comes before the answer to the next one. */
	dprintf(fileno(f), "endianness\n");
	(void)answer();
}

static void settle(const char *command, char *got, size_t room)
{
	char again[64];

	ask(command, got, room);
	usleep(SETTLE_US);
	/* Commands are answered before timers run in a round of QEMU's loop. */
	ask("endianness", again, sizeof(again));
	ask("endianness", again, sizeof(again));
}

static unsigned long config(unsigned long at, unsigned long off)
{
	char command[64], got[64];

	snprintf(command, sizeof(command), "outl 0xcf8 0x%lx", (0x80000000 | at | off) & ~3ul);
	ask(command, got, sizeof(got));
	ask("inl 0xcfc", got, sizeof(got));
	return strtoul(got + 3, NULL, 0) >> off % 4 * 8;
}

static void msix(unsigned long at)
{
	unsigned long off = config(at, 0x34) & 0xff;
	char command[64], got[64];

	for (int i = 0; i < 48 && off; i++, off = config(at, off) >> 8 & 0xff) {
		if ((config(at, off) & 0xff) != 0x11)
			continue;
		snprintf(command, sizeof(command), "outl 0xcfc 0x%lx",
			 config(at, off) | 0x80000000);
		ask(command, got, sizeof(got));
		return;
	}
	die("no MSI-X");
}

static void run(char *line)
{
	static char got[65536];

	if (!strncmp(line, "quiet ", 6)) {
		ask(line + 6, got, sizeof(got));
		n_irqs = 0;
		return;
	}
	printf("%s\n", line);
	if (!strncmp(line, "settle ", 7))
		settle(line + 7, got, sizeof(got));
	else if (!strncmp(line, "msix ", 5))
		msix(strtoul(line + 5, NULL, 0));
	else
		ask(line, got, sizeof(got));
	printf("%.*s  %s\n", (int)n_irqs, irqs, got);
	n_irqs = 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	char line[4096];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (argc != 2)
		die("usage: qtest_peer SOCKET <SCRIPT");
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", argv[1]);
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0)
		die("cannot connect");
	f = fdopen(fd, "r");
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		if (line[0] && line[0] != '#')
			run(line);
	}
	return 0;
}
