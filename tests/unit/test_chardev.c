/* SPDX-License-Identifier: BSD-3-Clause */
/* Chardevs: every kind, room and back-pressure both ways, clients that come and go, claims. */
#include "sock_kit.h"

#include <fcntl.h>
#include <signal.h>

#include "net/chardev.h"

/* A user that notes what happens to it. */
struct reader {
	struct chardev_user user;
	struct twx_chardev *c;
	uint8_t got[300000];
	size_t n_got, most;
	int n_inputs, n_opened, n_closed, n_drained;
	bool release_on_input, echo;
};

static struct reader reader;

static void on_input(struct chardev_user *u, const uint8_t *buf, size_t len)
{
	assert_ptr_equal(u, &reader.user);
	assert_true(reader.n_got + len <= sizeof(reader.got));
	memcpy(reader.got + reader.n_got, buf, len);
	reader.n_got += len;
	reader.n_inputs++;
	reader.most = len > reader.most ? len : reader.most;
	if (reader.echo)
		assert_int_equal(chardev_write(reader.c, buf, len), len);
	if (reader.release_on_input)
		chardev_release(reader.c);
}

static void on_opened(struct chardev_user *u, bool open)
{
	if (open)
		reader.n_opened++;
	else
		reader.n_closed++;
	assert_int_equal(chardev_is_open(reader.c), open);
}

static void on_drained(struct chardev_user *u)
{
	reader.n_drained++;
}

static struct twx_chardev *make(struct kit *k, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static struct twx_chardev *make(struct kit *k, const char *fmt, ...)
{
	struct twx_chardev *c;
	struct twx_error e;
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (twx_chardev_new(&c, k->w->net, text, &e))
		fail_msg("%s: %s", text, e.what);
	return c;
}

static void take(struct twx_chardev *c)
{
	struct twx_error e;

	memset(&reader, 0, sizeof(reader));
	reader.user = (struct chardev_user){ on_input, on_opened, on_drained };
	reader.c = c;
	if (chardev_take(c, &reader.user, &e))
		fail_msg("%s", e.what);
}

static void refused(struct kit *k, const char *sentence, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void refused(struct kit *k, const char *sentence, const char *fmt, ...)
{
	struct twx_error e = { 0 };
	struct twx_chardev *c;
	char text[512];
	va_list ap;
	int fds = kit_fds();

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	assert_true(twx_chardev_new(&c, k->w->net, text, &e) < 0);
	if (!strstr(e.what, sentence))
		fail_msg("'%s' is not in: %s", sentence, e.what);
	assert_null(chardev_find(k->w->net, "c"));
	assert_int_equal(kit_fds(), fds);
}

static void put(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void expect(int fd, const char *text)
{
	char buf[64] = "";
	ssize_t n = read(fd, buf, sizeof(buf) - 1);

	assert_int_equal(n, strlen(text));
	assert_string_equal(buf, text);
}

static void expect_got(const char *text)
{
	assert_int_equal(reader.n_got, strlen(text));
	assert_memory_equal(reader.got, text, strlen(text));
}

/* --- descriptors --- */

static void fd_carries_bytes_both_ways(void **state)
{
	struct kit *k = *state;
	int fd[2];
	struct twx_chardev *c;

	kit_stream_pair(fd);
	c = make(k, "fd,id=c,fd=%d", fd[0]);
	take(c);
	assert_true(chardev_is_open(c));
	chardev_room(c, 100);
	put(fd[1], "hello");
	kit_run(k);
	expect_got("hello");
	assert_int_equal(chardev_write(c, "world", 5), 5);
	expect(fd[1], "world");
	close(fd[1]);
	kit_run(k);
	assert_int_equal(reader.n_closed, 1);
	assert_int_equal(chardev_write(c, "lost", 4), 4);
}

static void no_more_comes_than_there_is_room_for(void **state)
{
	struct kit *k = *state;
	int fd[2];
	struct twx_chardev *c;

	kit_stream_pair(fd);
	c = make(k, "fd,id=c,fd=%d", fd[0]);
	take(c);
	put(fd[1], "0123456789");
	kit_run(k);
	assert_int_equal(reader.n_got, 0);
	chardev_room(c, 3);
	kit_run(k);
	expect_got("012");
	chardev_room(c, 1);
	chardev_room(c, 0);
	kit_run(k);
	expect_got("012");
	chardev_room(c, 4);
	kit_run(k);
	expect_got("0123456");
	chardev_room(c, 100);
	kit_run(k);
	expect_got("0123456789");
	close(fd[1]);
}

static void what_the_other_end_left_is_kept_until_there_is_room(void **state)
{
	struct kit *k = *state;
	int fd[2];
	struct twx_chardev *c;

	kit_stream_pair(fd);
	c = make(k, "fd,id=c,fd=%d", fd[0]);
	take(c);
	put(fd[1], "last words");
	close(fd[1]);
	kit_run(k);
	assert_int_equal(reader.n_closed, 0);
	chardev_room(c, 4);
	kit_run(k);
	expect_got("last");
	assert_int_equal(reader.n_closed, 0);
	chardev_room(c, 100);
	kit_run(k);
	expect_got("last words");
	assert_int_equal(reader.n_closed, 1);
}

static void an_end_is_noticed_without_room(void **state)
{
	struct kit *k = *state;
	int fd[2];

	kit_stream_pair(fd);
	take(make(k, "fd,id=c,fd=%d", fd[0]));
	close(fd[1]);
	kit_run(k);
	assert_int_equal(reader.n_closed, 1);
}

/* Writes until nothing more is taken; how much that was. The bytes count up. */
static size_t fill(struct twx_chardev *c)
{
	uint8_t buf[1000];
	size_t total = 0, n, i;

	do {
		for (i = 0; i < sizeof(buf); i++)
			buf[i] = (uint8_t)((total + i) % 251);
		n = chardev_write(c, buf, sizeof(buf));
		total += n;
		assert_true(total < 10 << 20);
	} while (n == sizeof(buf));
	return total;
}

static void a_full_stream_takes_no_more_and_loses_nothing(void **state)
{
	struct kit *k = *state;
	size_t total, n = 0, i;
	struct twx_chardev *c;
	uint8_t buf[4096];
	int fd[2], small = 1;

	kit_stream_pair(fd);
	/* Much less than the queue, which is sent on in many pieces then. */
	setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	c = make(k, "fd,id=c,fd=%d", fd[0]);
	take(c);
	total = fill(c);
	assert_int_equal(chardev_write(c, "x", 1), 0);
	kit_run(k);
	assert_int_equal(reader.n_drained, 0);
	fcntl(fd[1], F_SETFL, O_NONBLOCK);
	while (n < total) {
		ssize_t r = read(fd[1], buf, sizeof(buf));

		/* A user that hears of every byte would come back for each. */
		if (n < total / 4)
			assert_int_equal(reader.n_drained, 0);

		if (r < 0) {
			assert_true(twx_loop_poll(k->w->loop, 1000) > 0);
			continue;
		}
		for (i = 0; i < (size_t)r; i++, n++)
			assert_int_equal(buf[i], n % 251);
	}
	kit_run(k);
	assert_int_equal(reader.n_drained, 1);
	assert_int_equal(chardev_write(c, "x", 1), 1);
	expect(fd[1], "x");
	close(fd[1]);
}

static void whoever_waits_for_room_hears_of_the_end(void **state)
{
	struct kit *k = *state;
	struct twx_chardev *c;
	int fd[2];

	kit_stream_pair(fd);
	c = make(k, "fd,id=c,fd=%d", fd[0]);
	take(c);
	fill(c);
	close(fd[1]);
	kit_run(k);
	assert_int_equal(reader.n_closed, 1);
	assert_int_equal(reader.n_drained, 1);
	assert_int_equal(chardev_write(c, "x", 1), 1);
}

static void a_user_may_release_from_within_input(void **state)
{
	struct kit *k = *state;
	struct twx_chardev *c;
	int fd[2];

	kit_stream_pair(fd);
	c = make(k, "fd,id=c,fd=%d", fd[0]);
	take(c);
	reader.release_on_input = true;
	chardev_room(c, 1);
	put(fd[1], "ab");
	kit_run(k);
	assert_int_equal(reader.n_inputs, 1);
	/* The next user gets the rest. */
	take(c);
	chardev_room(c, 10);
	kit_run(k);
	expect_got("b");
	close(fd[1]);
}

static void a_pipe_without_a_reader_ends_no_program(void **state)
{
	struct kit *k = *state;
	struct twx_chardev *c;
	sigset_t pending;
	int fd[2];

	signal(SIGPIPE, SIG_DFL);
	assert_int_equal(pipe(fd), 0);
	c = make(k, "fd,id=c,fd=%d", fd[1]);
	take(c);
	assert_int_equal(chardev_write(c, "a", 1), 1);
	close(fd[0]);
	assert_int_equal(chardev_write(c, "b", 1), 1);
	assert_false(chardev_is_open(c));
	assert_int_equal(reader.n_closed, 0); /* said from the loop only */
	kit_run(k);
	assert_int_equal(reader.n_closed, 1);
	sigpending(&pending);
	assert_false(sigismember(&pending, SIGPIPE));
}

/* --- file, null, pipe, stdio --- */

static void slurp(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, buf, size - 1);

	assert_true(n >= 0);
	buf[n] = '\0';
	close(fd);
}

static void file_is_truncated_or_appended_to(void **state)
{
	struct kit *k = *state;
	const char *path = kit_path(k, "out");
	struct twx_chardev *c;
	char buf[64];

	c = make(k, "file,id=one,path=%s", path);
	take(c);
	assert_int_equal(chardev_write(c, "first", 5), 5);
	slurp(path, buf, sizeof(buf));
	assert_string_equal(buf, "first");
	c = make(k, "file,id=two,path=%s,append=on", path);
	take(c);
	assert_int_equal(chardev_write(c, "+second", 7), 7);
	slurp(path, buf, sizeof(buf));
	assert_string_equal(buf, "first+second");
	make(k, "file,id=three,path=%s", path);
	slurp(path, buf, sizeof(buf));
	assert_string_equal(buf, "");
	unlink(path);
}

static void null_takes_all_and_says_nothing(void **state)
{
	struct kit *k = *state;
	struct twx_chardev *c = make(k, "null,id=c");
	static char big[1 << 20];

	take(c);
	chardev_room(c, 10);
	assert_true(chardev_is_open(c));
	assert_int_equal(chardev_write(c, big, sizeof(big)), sizeof(big));
	kit_run(k);
	assert_int_equal(reader.n_inputs + reader.n_opened + reader.n_closed, 0);
}

static void pipes_outlive_their_other_ends(void **state)
{
	struct kit *k = *state;
	const char *in = kit_path(k, "p.in"), *out = kit_path(k, "p.out");
	struct twx_chardev *c;
	int round, fd;

	mkfifo(in, 0600);
	mkfifo(out, 0600);
	c = make(k, "pipe,id=c,path=%s", kit_path(k, "p"));
	take(c);
	for (round = 0; round < 2; round++) {
		reader.n_got = 0;
		chardev_room(c, 100);
		fd = open(in, O_WRONLY | O_NONBLOCK);
		put(fd, "in");
		close(fd);
		kit_run(k);
		expect_got("in");
		fd = open(out, O_RDONLY | O_NONBLOCK);
		assert_int_equal(chardev_write(c, "out", 3), 3);
		expect(fd, "out");
		close(fd);
	}
	assert_int_equal(reader.n_closed, 0);
	unlink(in);
	unlink(out);
}

/* Runs with fds 0 and 1 replaced. */
static void with_stdio(int in, int out, int saved[2])
{
	saved[0] = dup(0);
	saved[1] = dup(1);
	dup2(in, 0);
	dup2(out, 1);
}

static void without_stdio(const int saved[2])
{
	dup2(saved[0], 0);
	dup2(saved[1], 1);
	close(saved[0]);
	close(saved[1]);
}

static void stdio_leaves_the_descriptors_as_they_are(void **state)
{
	struct kit *k = *state;
	int in[2], out[2], saved[2], flags_in, flags_out;
	struct twx_error e;
	struct twx_chardev *c;

	assert_int_equal(pipe(in) | pipe(out), 0);
	with_stdio(in[0], out[1], saved);
	c = make(k, "stdio,id=c");
	take(c);
	flags_in = fcntl(0, F_GETFL);
	flags_out = fcntl(1, F_GETFL);
	without_stdio(saved);
	assert_false((flags_in | flags_out) & O_NONBLOCK);
	assert_true(twx_chardev_new(NULL, k->w->net, "stdio,id=d", &e) < 0);
	assert_non_null(strstr(e.what, "cannot use stdio by multiple character devices"));
	chardev_room(c, 10);
	put(in[1], "key");
	kit_run(k);
	expect_got("key");
	assert_int_equal(chardev_write(c, "screen", 6), 6);
	expect(out[0], "screen");
	/* Nobody types any more; the screen stays. */
	close(in[1]);
	close(in[0]);
	kit_run(k);
	assert_int_equal(chardev_write(c, "more", 4), 4);
	expect(out[0], "more");
	close(out[0]);
	close(out[1]);
}

static void stdio_from_a_file_is_read_as_there_is_room(void **state)
{
	struct kit *k = *state;
	const char *path = kit_path(k, "script");
	int fd = open(path, O_RDWR | O_CREAT, 0600), saved[2], null = open("/dev/null", O_WRONLY);
	struct twx_chardev *c;

	put(fd, "0123456789");
	lseek(fd, 0, SEEK_SET);
	with_stdio(fd, null, saved);
	c = make(k, "stdio,id=c");
	take(c);
	kit_run(k);
	assert_int_equal(reader.n_got, 0);
	chardev_room(c, 4);
	kit_run(k);
	expect_got("0123");
	chardev_room(c, 100);
	kit_run(k);
	expect_got("0123456789");
	without_stdio(saved);
	close(fd);
	close(null);
	unlink(path);
}

/* --- sockets --- */

static void a_server_has_one_client_at_a_time(void **state)
{
	struct kit *k = *state;
	struct sockaddr_un to = kit_unix(kit_path(k, "s"));
	struct twx_chardev *c = make(k, "socket,id=c,path=%s,server=on,wait=off", kit_path(k, "s"));
	int one, two;

	take(c);
	assert_false(chardev_is_open(c));
	assert_int_equal(chardev_write(c, "nobody", 6), 6);
	chardev_room(c, 100);
	one = kit_connect(SOCK_STREAM, &to);
	put(one, "one");
	kit_run(k);
	assert_int_equal(reader.n_opened, 1);
	expect_got("one");
	two = kit_connect(SOCK_STREAM, &to);
	put(two, "two");
	kit_run(k);
	assert_int_equal(reader.n_opened, 1);
	expect_got("one");
	assert_int_equal(chardev_write(c, "to one", 6), 6);
	expect(one, "to one");
	close(one);
	kit_run(k);
	assert_int_equal(reader.n_closed, 1);
	assert_int_equal(reader.n_opened, 2);
	expect_got("onetwo");
	assert_int_equal(chardev_write(c, "to two", 6), 6);
	expect(two, "to two");
	close(two);
}

static int listen_at(const char *path)
{
	struct sockaddr_un sun = kit_unix(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

static int accept_within(struct kit *k, int fd)
{
	int i, got = -1;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	for (i = 0; i < 500 && got < 0; i++) {
		twx_loop_poll(k->w->loop, 10);
		got = accept(fd, NULL, NULL);
	}
	assert_true(got >= 0);
	fcntl(got, F_SETFL, 0);
	return got;
}

static void a_client_connects_again_and_again(void **state)
{
	struct kit *k = *state;
	const char *path = kit_path(k, "s");
	struct twx_chardev *c = make(k, "socket,id=c,path=%s,reconnect-ms=150", path);
	int l, fd, round;

	take(c); /* nobody is there yet */
	assert_false(chardev_is_open(c));
	kit_run(k);
	for (round = 1; round <= 2; round++) {
		l = listen_at(path);
		fd = accept_within(k, l);
		kit_run(k);
		assert_int_equal(reader.n_opened, round);
		chardev_room(c, 100);
		put(fd, "hi");
		kit_run(k);
		assert_int_equal(reader.n_got, 2 * round);
		close(fd);
		close(l);
		unlink(path);
		kit_run(k);
		assert_int_equal(reader.n_closed, round);
	}
}

static void a_client_without_reconnect_connects_once(void **state)
{
	struct kit *k = *state;
	const char *path = kit_path(k, "s");
	struct twx_chardev *c = make(k, "socket,id=c,path=%s", path);
	struct twx_error e;
	int l, fd;

	memset(&reader, 0, sizeof(reader));
	reader.c = c;
	assert_true(chardev_take(c, &reader.user, &e) < 0);
	assert_non_null(strstr(e.what, "chardev c: Failed to connect to '"));
	l = listen_at(path);
	take(c);
	assert_true(chardev_is_open(c));
	fd = accept_within(k, l);
	close(fd);
	kit_run(k);
	assert_int_equal(reader.n_closed, 1);
	fcntl(l, F_SETFL, O_NONBLOCK);
	kit_run(k);
	assert_true(accept(l, NULL, NULL) < 0);
	close(l);
	unlink(path);
}

static void tcp_goes_both_ways(void **state)
{
	struct kit *k = *state;
	struct twx_chardev *s = make(k, "socket,id=s,host=127.0.0.1,port=7777,server=on,wait=off");
	struct twx_chardev *c = make(k, "socket,id=c,host=127.0.0.1,port=7777,reconnect=1");
	struct chardev_user other = { on_input };
	struct twx_error e;

	assert_int_equal(chardev_take(s, &other, &e), 0);
	take(c);
	kit_run(k);
	assert_int_equal(reader.n_opened, 1);
	assert_true(chardev_is_open(s) && chardev_is_open(c));
	chardev_room(c, 10);
	assert_int_equal(chardev_write(s, "ahoy", 4), 4);
	kit_run(k);
	expect_got("ahoy");
	chardev_release(s);
	kit_run(k);
	assert_int_equal(reader.n_closed, 1);
}

static void a_port_that_is_taken_leads_to_the_next(void **state)
{
	struct kit *k = *state;
	struct chardev_user u = { on_input };
	struct sockaddr_in to = kit_inet(7801);
	struct twx_error e;
	int fd;

	assert_int_equal(
		chardev_take(make(k, "socket,id=a,host=127.0.0.1,port=7800,to=7810,server=on"), &u,
			     &e),
		0);
	assert_int_equal(
		chardev_take(make(k, "socket,id=b,host=127.0.0.1,port=7800,to=7810,server=on"), &u,
			     &e),
		0);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	kit_run(k);
	assert_true(chardev_is_open(chardev_find(k->w->net, "b")));
	assert_false(chardev_is_open(chardev_find(k->w->net, "a")));
	close(fd);
}

static void abstract_names_need_no_file(void **state)
{
	struct kit *k = *state;
	struct twx_chardev *s = make(k, "socket,id=s,path=twx-test,abstract=on,server=on");
	struct twx_chardev *c = make(k, "socket,id=c,path=twx-test,abstract=on");
	struct chardev_user other = { on_input };
	struct twx_error e;

	assert_int_equal(chardev_take(s, &other, &e), 0);
	take(c);
	kit_run(k);
	assert_true(chardev_is_open(s) && chardev_is_open(c));
	assert_null(chardev_claim_socket(s, &e));
}

static void a_connected_socket_may_be_inherited(void **state)
{
	struct kit *k = *state;
	struct twx_chardev *c;
	int fd[2];

	kit_stream_pair(fd);
	c = make(k, "socket,id=c,fd=%d", fd[0]);
	take(c);
	reader.echo = true;
	chardev_room(c, 10);
	put(fd[1], "echo");
	kit_run(k);
	expect(fd[1], "echo");
	close(fd[1]);
	kit_run(k);
	assert_int_equal(reader.n_closed, 1);
}

static void a_file_of_ours_is_removed_in_the_end(void **state)
{
	struct kit *k = *state;
	const char *path = kit_path(k, "s");
	struct twx_chardev *c = make(k, "socket,id=c,path=%s,server=on", path);

	assert_int_equal(access(path, F_OK), -1); /* nobody has it yet */
	take(c);
	assert_int_equal(access(path, F_OK), 0);
	chardev_release(c);
	assert_int_equal(access(path, F_OK), -1);
}

/* --- users --- */

static void a_claim_is_an_address_and_no_connection(void **state)
{
	struct kit *k = *state;
	const char *path = kit_path(k, "s");
	struct twx_chardev *c = make(k, "socket,id=c,path=%s,reconnect=3", path);
	struct twx_chardev *s = make(k, "socket,id=s,path=%s,server=on", path);
	const struct chardev_socket *a;
	struct twx_error e;

	a = chardev_claim_socket(c, &e);
	assert_non_null(a);
	assert_string_equal(a->path, path);
	assert_false(a->server || a->wait);
	assert_int_equal(a->reconnect_ms, 3000);
	a = chardev_claim_socket(s, &e);
	assert_true(a->server && a->wait); /* QEMU's default */
	kit_run(k);
	assert_int_equal(access(path, F_OK), -1);
	/* One user. */
	assert_null(chardev_claim_socket(c, &e));
	assert_int_equal(e.code, EBUSY);
	assert_int_equal(chardev_take(c, &reader.user, &e), -EBUSY);
	assert_non_null(strstr(e.what, "Device 'c' is in use"));
	chardev_release(c);
	assert_non_null(chardev_claim_socket(c, &e));
	assert_null(chardev_claim_socket(make(k, "null,id=n"), &e));
	assert_string_equal(e.what, "chardev \"n\" is not a unix socket");
	assert_null(chardev_claim_socket(make(k, "socket,id=t,host=127.0.0.1,port=1"), &e));
	assert_string_equal(e.what, "chardev \"t\" is not a unix socket");
}

static void short_forms_are_qemus(void **state)
{
	struct kit *k = *state;
	const char *path = kit_path(k, "s,x");
	struct twx_chardev *c, *again;
	struct twx_error e;
	char text[200];

	make(k, "null,id=here");
	assert_int_equal(chardev_by_text(&c, k->w->net, "x0", "here", &e), 0);
	assert_int_equal(chardev_by_text(&again, k->w->net, "x0", "chardev:here", &e), 0);
	assert_ptr_equal(c, again);
	assert_string_equal(chardev_id(c), "here");
	assert_int_equal(chardev_by_text(&c, k->w->net, "x1", "null", &e), 1);
	assert_string_equal(chardev_id(c), "x1");
	assert_int_equal(
		chardev_by_text(&c, k->w->net, "x2", "tcp:127.0.0.1:7900,server=on,wait=off", &e),
		1);
	assert_int_equal(chardev_by_text(&c, k->w->net, "x3", "tcp:[::1]:7900", &e), 1);
	snprintf(text, sizeof(text), "file:%s", path);
	assert_int_equal(chardev_by_text(&c, k->w->net, "x4", text, &e), 1);
	assert_int_equal(unlink(path), 0); /* with its comma */
	assert_int_equal(chardev_by_text(&c, k->w->net, "x5", "chardev:gone", &e), -ENOENT);
	assert_string_equal(e.what, "chardev \"gone\" not found");
	assert_int_equal(chardev_by_text(&c, k->w->net, "x6", "tcp:nowhere", &e), -EINVAL);
	assert_int_equal(chardev_by_text(&c, k->w->net, "x7", "udp:what", &e), -ENOENT);
}

static void mistakes_are_named(void **state)
{
	struct kit *k = *state;
	int fd[2];

	refused(k, "chardev: no id specified", "null");
	refused(k, "chardev: \"c\" missing backend", "id=c");
	refused(k, "'foo' is not a valid char driver name", "foo,id=c");
	refused(k, "Invalid parameter 'foo'", "null,id=c,foo=1");
	refused(k, "None or one of 'path', 'fd' or 'host' option required.", "socket,id=c");
	refused(k, "None or one of 'path', 'fd' or 'host' option required.",
		"socket,id=c,path=/x,host=a,port=1");
	refused(k, "socket: no port given", "socket,id=c,host=1.2.3.4");
	refused(k, "'wait' option is incompatible with socket in client connect mode",
		"socket,id=c,path=/x,wait=off");
	refused(k, "'reconnect' option is incompatible with socket in server listen mode",
		"socket,id=c,path=/x,server=on,reconnect=1");
	refused(k, "mutually exclusive", "socket,id=c,path=/x,reconnect=1,reconnect-ms=1");
	refused(k, "cannot be a socket's name", "socket,id=c,path=%0200d", 1);
	refused(k, "Unable to parse FD number x", "socket,id=c,fd=x");
	refused(k, "is not a socket", "socket,id=c,fd=987");
	refused(k, "address resolution failed", "socket,id=c,host=1.2.3.4.5.6,port=none");
	refused(k, "pipe: no device path given", "pipe,id=c");
	refused(k, "Could not open '/nonexistent/y': No such file or directory",
		"pipe,id=c,path=/nonexistent/y");
	refused(k, "file: no filename given", "file,id=c");
	refused(k, "Could not open '/nonexistent/y': No such file or directory",
		"file,id=c,path=/nonexistent/y");
	refused(k, "descriptor 987 is not open", "fd,id=c,fd=987");
	kit_stream_pair(fd);
	refused(k, "is not a listening socket", "socket,id=c,server=on,fd=%d", fd[0]);
	close(fd[0]);
	close(fd[1]);
	mkfifo(kit_path(k, "f"), 0600);
	refused(k, "Could not open", "file,id=c,path=%s", kit_path(k, "f"));
	unlink(kit_path(k, "f"));
	make(k, "null,id=c2");
	refused(k, "Duplicate ID 'c2' for chardev", "null,id=c2");
}

static void every_kind_has_help(void **state)
{
	const struct twx_chardev_type *const *t;
	int n = 0;

	for (t = twx_chardev_types(); *t; t++, n++) {
		char *text = twx_opts_describe(twx_chardev_type_options(*t));

		assert_non_null(text);
		assert_true(strlen(twx_chardev_type_name(*t)) > 1);
		assert_true(strlen(twx_chardev_type_help(*t)) > 10);
		free(text);
	}
	assert_int_equal(n, 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		kit_test(fd_carries_bytes_both_ways),
		kit_test(no_more_comes_than_there_is_room_for),
		kit_test(what_the_other_end_left_is_kept_until_there_is_room),
		kit_test(an_end_is_noticed_without_room),
		kit_test(a_full_stream_takes_no_more_and_loses_nothing),
		kit_test(whoever_waits_for_room_hears_of_the_end),
		kit_test(a_user_may_release_from_within_input),
		kit_test(a_pipe_without_a_reader_ends_no_program),
		kit_test(file_is_truncated_or_appended_to),
		kit_test(null_takes_all_and_says_nothing),
		kit_test(pipes_outlive_their_other_ends),
		kit_test(stdio_leaves_the_descriptors_as_they_are),
		kit_test(stdio_from_a_file_is_read_as_there_is_room),
		kit_test(a_server_has_one_client_at_a_time),
		kit_test(a_client_connects_again_and_again),
		kit_test(a_client_without_reconnect_connects_once),
		kit_test(tcp_goes_both_ways),
		kit_test(a_port_that_is_taken_leads_to_the_next),
		kit_test(abstract_names_need_no_file),
		kit_test(a_connected_socket_may_be_inherited),
		kit_test(a_file_of_ours_is_removed_in_the_end),
		kit_test(a_claim_is_an_address_and_no_connection),
		kit_test(short_forms_are_qemus),
		kit_test(mistakes_are_named),
		kit_test(every_kind_has_help),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
