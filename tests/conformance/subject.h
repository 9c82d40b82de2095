/* SPDX-License-Identifier: BSD-3-Clause */
/* What is put through the conformance tests, and what these share. */
#ifndef SUBJECT_H
#define SUBJECT_H

#include "../unit/toy.h"

#include <dirent.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* State of one test: a world, the toy at the other end of the cable. */
struct scene {
	const void *type; /* struct twx_backend_type or twx_nic_model */
	struct world *w;
	struct toy *toy;
	struct toy *second;    /* for types that need somebody else to send; null until then */
	struct twx_watch peer; /* for types with a socket: its other end, which takes what comes */
};

/* A network namespace of our own, so that nothing here reaches a real network; loopback is up. */
static inline bool own_namespace(void)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	static int done = -1;
	int fd;

	if (done >= 0)
		return done > 0;
	done = unshare(CLONE_NEWNET) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0;
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (done && ioctl(fd, SIOCSIFFLAGS, &ifr))
		fail_msg("loopback stays down");
	close(fd);
	return done > 0;
}

static inline int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* Options have a name of their own, a line of help, and whatever their type needs. */
static inline void check_options(const char *owner, const struct twx_opt_desc *table)
{
	const struct twx_opt_desc *o, *p;
	char *text;

	for (o = table; o && o->name; o++) {
		if (!o->help || strlen(o->help) < 3)
			fail_msg("%s: option %s has no help", owner, o->name);
		if (o->help[strlen(o->help) - 1] == '.' || strchr(o->help, '\n'))
			fail_msg("%s: help of %s is not one line without a full stop", owner,
				 o->name);
		if (o->type == TWX_OPT_ENUM && (!o->words || !*o->words))
			fail_msg("%s: option %s has no words", owner, o->name);
		if (o->required && o->def)
			fail_msg("%s: option %s is required, yet has a default", owner, o->name);
		for (p = table; p != o; p++)
			if (!strcmp(p->name, o->name))
				fail_msg("%s: option %s is there twice", owner, o->name);
	}
	text = table ? twx_opts_describe(table) : strdup("");
	assert_non_null(text);
	for (o = table; o && o->name; o++)
		assert_non_null(strstr(text, o->name));
	free(text);
}

/* A TCP segment of @len bytes to 10.0.2.2 with room for the rest of its headers in the first piece.
 */
static inline struct twx_frame tcp_frame(uint8_t *buf, struct iovec *iov, uint32_t len,
					 uint16_t gso_size)
{
	memset(buf, 0, len);
	memcpy(buf, "\x52\x55\x0a\0\x02\x02\x52\x54\0\x12\x34\x56\x08\0", 14);
	buf[14] = 0x45;
	buf[16] = (uint8_t)((len - 14) >> 8);
	buf[17] = (uint8_t)(len - 14);
	buf[22] = 64;
	buf[23] = 6;
	memcpy(buf + 26, "\x0a\0\x02\x0f\x0a\0\x02\x02", 8);
	buf[34 + 12] = 0x50;
	buf[34 + 13] = 0x10;
	iov[0] = (struct iovec){ buf, 200 };
	iov[1] = (struct iovec){ buf + 200, len - 200 };
	return (struct twx_frame){
		.iov = iov,
		.n_iov = 2,
		.len = len,
		.meta = { .flags = TWX_F_NEEDS_CSUM,
			  .gso = TWX_GSO_TCPV4,
			  .gso_size = gso_size,
			  .csum_start = 34,
			  .csum_off = 16 },
	};
}

/* Sends, waiting for room where the receiver has none for a moment. True when the frame is done. */
static inline bool send_patiently(struct scene *s, const struct twx_frame *f)
{
	int i;

	for (i = 0; i < 50; i++) {
		if (twx_port_send(&s->toy->port, f, 1))
			return true;
		twx_loop_poll(s->w->loop, 2);
	}
	return false;
}

/* Frames that no sane guest sends: short, long, random, with metadata that lies. */
static inline void send_garbage(struct scene *s)
{
	static uint8_t buf[TWX_HDR_ROOM + 2048];
	struct iovec iov = { buf, 0 };
	unsigned int seed = 1;
	size_t i;
	int k;

	for (k = 0; k < 3000; k++) {
		struct twx_frame f = { .iov = &iov, .n_iov = 1 };

		for (i = 0; i < sizeof(buf); i++)
			buf[i] = (uint8_t)(rand_r(&seed) >> 7);
		if (k & 1) /* something that a parser looks into */
			memcpy(buf + 12,
			       k & 2   ? "\x08\x00\x45"
			       : k & 4 ? "\x08\x06\x00"
				       : "\x86\xdd\x60",
			       3);
		if (k & 8)
			buf[23] = (uint8_t) "\x01\x06\x11\x02"[rand_r(&seed) & 3];
		f.len = k % 5 ? (uint32_t)rand_r(&seed) % sizeof(buf)
			      : (uint32_t)rand_r(&seed) % 64;
		iov.iov_len = f.len;
		if (k & 16) {
			f.meta.flags = (uint8_t)rand_r(&seed) & 0x1f;
			f.meta.gso = (uint8_t)(rand_r(&seed) % 7);
			f.meta.gso_size = (uint16_t)rand_r(&seed);
			f.meta.csum_start = (uint16_t)(rand_r(&seed) % 300);
			f.meta.csum_off = (uint16_t)(rand_r(&seed) % 40);
			f.meta.hdr_len = (uint16_t)rand_r(&seed);
		}
		twx_port_post(&s->toy->port, &f, 1);
		if (k % 50 == 0)
			twx_loop_poll(s->w->loop, 0);
	}
}

#endif
