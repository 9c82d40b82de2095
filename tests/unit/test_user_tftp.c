/* SPDX-License-Identifier: BSD-3-Clause */
/* The TFTP server of the user-mode network. */
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "user_guest.h"

#define BIG 200000

static char root[] = "/tmp/twinax-tftp-XXXXXX";
static uint8_t big[BIG];

static void request(struct guest *g, uint16_t port, uint16_t op, const char *strings, uint32_t len)
{
	uint8_t frame[1500], pkt[600];

	user_put16(pkt, op);
	memcpy(pkt + 2, strings, len);
	guest_send(g, frame, guest_udp(g, frame, port, g->host, 69, pkt, 2 + len));
}

#define rrq(g, port, strings) request(g, port, 1, strings, sizeof(strings))

static void ack(struct guest *g, uint16_t port, uint16_t block)
{
	uint8_t frame[128], pkt[4];

	user_put16(pkt, 4);
	user_put16(pkt + 2, block);
	guest_send(g, frame, guest_udp(g, frame, port, g->host, 69, pkt, 4));
}

static struct guest_pkt reply(struct guest *g, uint16_t port)
{
	struct guest_pkt p;

	assert_true(guest_recv_ip(g, IPPROTO_UDP, &p, 1000));
	assert_int_equal(p.src.s_addr, g->host.s_addr);
	assert_int_equal(p.sport, 69);
	assert_int_equal(p.dport, port);
	return p;
}

static void gets_error(struct guest *g, uint16_t port, uint16_t code)
{
	struct guest_pkt p = reply(g, port);

	assert_int_equal(user_get16(p.data), 5);
	assert_int_equal(user_get16(p.data + 2), code);
	assert_int_equal(p.data[p.len - 1], 0);
	guest_pkt_free(&p);
}

/* The file from block 1 on, acknowledging each. */
static void downloads(struct guest *g, uint16_t port, const uint8_t *data, uint32_t size,
		      uint32_t blksize)
{
	uint16_t block = 1;
	uint32_t off = 0, n;

	do {
		struct guest_pkt p = reply(g, port);

		n = size - off < blksize ? size - off : blksize;
		assert_int_equal(user_get16(p.data), 3);
		assert_int_equal(user_get16(p.data + 2), block);
		assert_int_equal(p.len, 4 + n);
		assert_memory_equal(p.data + 4, data + off, n);
		guest_pkt_free(&p);
		ack(g, port, block++);
		off += n;
	} while (n == blksize);
	assert_true(guest_silent(g, 5));
}

static void files_of_all_sizes(void **state)
{
	struct guest *g = *state;

	rrq(g, 1000, "empty\0octet");
	downloads(g, 1000, big, 0, 512);
	rrq(g, 1000, "one\0OcTeT");
	downloads(g, 1000, big, 1, 512);
	rrq(g, 1000, "/block\0octet"); /* the root is the folder */
	downloads(g, 1000, big, 512, 512);
	rrq(g, 1000, "sub/big\0octet");
	downloads(g, 1000, big, BIG, 512);
	rrq(g, 1000, "inside\0octet"); /* a symlink that stays */
	downloads(g, 1000, big, 1, 512);
}

static void options_are_acknowledged(void **state)
{
	struct guest *g = *state;
	struct guest_pkt p;

	rrq(g, 1000,
	    "sub/big\0octet\0tsize\0"
	    "0\0blksize\0"
	    "1024\0bogus\0x\0TIMEOUT\0"
	    "9");
	p = reply(g, 1000);
	assert_int_equal(user_get16(p.data), 6);
	assert_memory_equal(p.data + 2,
			    "tsize\0"
			    "200000\0blksize\0"
			    "1024\0timeout\0"
			    "9",
			    p.len - 2);
	guest_pkt_free(&p);
	ack(g, 1000, 0);
	downloads(g, 1000, big, BIG, 1024);

	/* More than the MTU holds: less is offered. */
	rrq(g, 1001,
	    "sub/big\0octet\0blksize\0"
	    "65464");
	p = reply(g, 1001);
	assert_int_equal(user_get16(p.data), 6);
	assert_memory_equal(p.data + 2,
			    "blksize\0"
			    "1468",
			    13);
	guest_pkt_free(&p);
	ack(g, 1001, 0);
	downloads(g, 1001, big, BIG, 1468);

	/* Values that are none are passed over. */
	rrq(g, 1002,
	    "one\0octet\0blksize\0"
	    "7\0timeout\0"
	    "0\0tsize\0x\0blksize");
	downloads(g, 1002, big, 1, 512);
}

static void nothing_outside_the_root_is_served(void **state)
{
	struct guest *g = *state;

#define refused(name, code)                                                                        \
	do {                                                                                       \
		rrq(g, 1000, name "\0octet");                                                      \
		gets_error(g, 1000, code);                                                         \
	} while (0)
	refused("../secret", 2);
	refused("sub/../../secret", 2);
	refused("/../secret", 2);
	refused("..", 2);
	refused("escape", 2);	/* a symlink out */
	refused("absolute", 2); /* a symlink to an absolute path */
	refused("..\\..\\secret", 1);
	refused("/etc/passwd", 1);
	refused("missing", 1);
	refused("one/", 1);
	refused("sub", 1);
	refused("sub/", 1);
	refused("fifo", 1);
	refused("", 4);
	assert_true(guest_silent(g, 10));
}

static void malformed_requests(void **state)
{
	struct guest *g = *state;

	rrq(g, 1000, "one\0netascii");
	gets_error(g, 1000, 4);
	rrq(g, 1000, "one\0mail");
	gets_error(g, 1000, 4);
	request(g, 1000, 1, "one", 3); /* no end */
	gets_error(g, 1000, 4);
	request(g, 1000, 1, "one\0octet", 9);
	gets_error(g, 1000, 4);
	rrq(g, 1000, "one");
	gets_error(g, 1000, 4);
	request(g, 1000, 2, "one\0octet", 10); /* writing */
	gets_error(g, 1000, 2);
	request(g, 1000, 1, "", 0);
	request(g, 1000, 3, "\0\1data", 6);
	request(g, 1000, 9, "\0\1", 2);
	ack(g, 1000, 1);
	assert_true(guest_silent(g, 10));
}

static void lost_blocks_are_sent_again(void **state)
{
	struct guest *g = *state;
	struct guest_pkt p;

	rrq(g, 1000, "sub/big\0octet");
	for (int i = 0; i < 3; i++) { /* the first sending and two again, a second apart */
		struct guest_pkt again;

		assert_true(guest_recv_ip(g, IPPROTO_UDP, &again, 2500));
		assert_int_equal(user_get16(again.data + 2), 1);
		guest_pkt_free(&again);
	}
	ack(g, 1000, 1);
	p = reply(g, 1000);
	assert_int_equal(user_get16(p.data + 2), 2);
	guest_pkt_free(&p);
	/* A repeated or strange acknowledgment sends nothing. */
	ack(g, 1000, 1);
	ack(g, 1000, 7);
	assert_true(guest_silent(g, 20));
	/* An error ends the session. */
	request(g, 1000, 5, "\0\0bye", 6);
	ack(g, 1000, 2);
	assert_true(guest_silent(g, 20));
}

static void sessions_are_bounded(void **state)
{
	struct guest *g = *state;

	for (uint16_t i = 0; i < 60; i++) {
		struct guest_pkt p;

		rrq(g, (uint16_t)(1000 + i), "sub/big\0octet");
		p = reply(g, (uint16_t)(1000 + i));
		guest_pkt_free(&p);
	}
	/* The newest twenty are alive, the others are not. */
	for (uint16_t i = 0; i < 60; i++) {
		ack(g, (uint16_t)(1000 + i), 1);
		if (i < 40) {
			assert_true(guest_silent(g, 0));
		} else {
			struct guest_pkt p = reply(g, (uint16_t)(1000 + i));

			assert_int_equal(user_get16(p.data + 2), 2);
			guest_pkt_free(&p);
		}
	}
	/* Closing with sessions alive must leave nothing behind: the sanitizers look. */
}

static void without_a_root_nothing_is_served(void **state)
{
	struct guest g;

	assert_true(guest_open(&g, "", 0, NULL));
	rrq(&g, 1000, "one\0octet");
	gets_error(&g, 1000, 2);
	guest_close(&g);
}

static int setup(void **state)
{
	static struct guest g;
	char options[128];

	snprintf(options, sizeof(options), "tftp=%s/root", root);
	assert_true(guest_open(&g, options, 0, NULL));
	*state = &g;
	return 0;
}

static int teardown(void **state)
{
	guest_close(*state);
	return 0;
}

static void write_file(const char *name, size_t size)
{
	int fd = open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, big, size), size);
	close(fd);
}

static int make_files(void **state)
{
	char cwd[4096];

	for (uint32_t i = 0; i < BIG; i++)
		big[i] = (uint8_t)(i * 31 + (i >> 8));
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	assert_non_null(mkdtemp(root));
	assert_int_equal(chdir(root), 0);
	assert_int_equal(mkdir("root", 0755), 0);
	assert_int_equal(mkdir("root/sub", 0755), 0);
	write_file("secret", 100);
	write_file("root/empty", 0);
	write_file("root/one", 1);
	write_file("root/block", 512);
	write_file("root/sub/big", BIG);
	assert_int_equal(symlink("one", "root/inside"), 0);
	assert_int_equal(symlink("../secret", "root/escape"), 0);
	assert_int_equal(symlink("/etc/passwd", "root/absolute"), 0);
	assert_int_equal(mkfifo("root/fifo", 0644), 0);
	assert_int_equal(chdir(cwd), 0);
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int remove_files(void **state)
{
	return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

#define with_guest(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_guest(files_of_all_sizes),
		with_guest(options_are_acknowledged),
		with_guest(nothing_outside_the_root_is_served),
		with_guest(malformed_requests),
		with_guest(lost_blocks_are_sent_again),
		with_guest(sessions_are_bounded),
		cmocka_unit_test(without_a_root_nothing_is_served),
	};

	return cmocka_run_group_tests(tests, make_files, remove_files);
}
