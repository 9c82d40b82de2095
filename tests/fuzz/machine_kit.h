/* SPDX-License-Identifier: BSD-3-Clause */
/* A machine without CPUs for harnesses, and a conversation with it over a socketpair. */
#ifndef TESTS_FUZZ_MACHINE_KIT_H
#define TESTS_FUZZ_MACHINE_KIT_H

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <twinax/machine.h>

#include "hosts/machine/qtest.h"

#define KIT_RAM (1u << 20)

struct kit {
	struct twx_loop *loop;
	struct twx_net *net;
	struct twx_machine *machine;
	int fd;	    /* the client's end */
	char *said; /* all that was answered */
	size_t n_said, room;
	bool gone; /* the conversation was ended by the other side */
};

static inline void kit_open(struct kit *k)
{
	struct twx_net_config net = { .size = sizeof(net) };
	struct twx_machine_config config = { .size = sizeof(config), .accel = "qtest" };
	int rc;

	*k = (struct kit){ .fd = -1 };
	rc = twx_loop_new(&k->loop, NULL);
	assert(rc == 0);
	net.loop = k->loop;
	rc = twx_net_new(&k->net, &net, NULL);
	assert(rc == 0);
	config.net = k->net;
	config.memory = KIT_RAM;
	rc = twx_machine_new(&k->machine, &config, NULL);
	assert(rc == 0);
}

/* With a machine that was started. */
static inline void kit_converse(struct kit *k)
{
	int fd[2], rc;

	rc = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd);
	assert(rc == 0);
	k->fd = fd[0];
	rc = qtest_converse_take(k->machine->accel_priv, fd[1]);
	assert(rc == 0);
}

/* After the NICs were made. */
static inline void kit_start(struct kit *k)
{
	int rc = twx_machine_start(k->machine, NULL);

	assert(rc == 0);
	kit_converse(k);
}

static inline void kit_read(struct kit *k)
{
	ssize_t n;

	do {
		if (k->room - k->n_said < 65536) {
			k->room = k->room ? 2 * k->room : 131072;
			k->said = realloc(k->said, k->room);
			assert(k->said);
		}
		n = recv(k->fd, k->said + k->n_said, k->room - k->n_said - 1, 0);
		if (n > 0)
			k->n_said += (size_t)n;
	} while (n > 0);
	k->gone = n == 0 || errno != EAGAIN;
	k->said[k->n_said] = '\0';
}

/* Sends all of it, reads all the while; true if everything has been taken and the loop rests. */
static inline bool kit_talk(struct kit *k, const char *text, size_t len)
{
	for (int i = 0; i < 200 && !k->gone; i++) {
		ssize_t n = len ? send(k->fd, text, len, MSG_NOSIGNAL) : 0;
		int ran = twx_loop_poll(k->loop, 0);

		if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
		kit_read(k);
		if (!len && ran <= 0)
			return true;
	}
	return false;
}

static inline void kit_close(struct kit *k)
{
	if (k->fd >= 0)
		close(k->fd);
	twx_machine_free(k->machine);
	twx_net_free(k->net);
	twx_loop_free(k->loop);
	free(k->said);
}

#endif
