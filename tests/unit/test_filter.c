/* SPDX-License-Identifier: BSD-3-Clause */
/* Filters: which frames they see, in which order, what filter-dump writes, what it refuses. */
#include "fake_backend.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "net/filter.h"

static char dir[64];

static const char *file_path(const char *name)
{
	static char path[4][128];
	static int next;
	char *p = path[next++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
	return p;
}

static int make_dir(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/twinax-filter-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	return system(cmd);
}

static int filter(struct world *w, const char *file, const char *more, struct twx_filter **out,
		  struct twx_error *e)
{
	char text[512];

	snprintf(text, sizeof(text), "filter-dump,netdev=n0,file=%s,%s", file_path(file), more);
	return twx_filter_new(out, w->net, text, e);
}

static uint8_t content[300000];

static size_t slurp(const char *name)
{
	FILE *f = fopen(file_path(name), "rb");
	size_t n;

	assert_non_null(f);
	n = fread(content, 1, sizeof(content), f);
	fclose(f);
	return n;
}

static uint32_t u32_at(size_t off)
{
	uint32_t v;

	memcpy(&v, content + off, 4);
	return v;
}

static void test_pcap_bytes(void **state)
{
	struct world *w = *state;
	struct twx_frame f = toy_frame(100, 'x'), g;
	struct twx_filter *flt;
	struct fake fk;
	struct twx_backend *b = fake_backend(w, &fk);
	time_t before = time(NULL);
	size_t n;

	assert_int_equal(filter(w, "a.pcap", "id=f0", &flt, NULL), 0);
	assert_int_equal(slurp("a.pcap"), 24); /* the header is there at once */
	f.meta.flags = TWX_F_VLAN;
	f.meta.vlan_tci = 0x2007;
	assert_int_equal(twx_port_send(&fk.guest->port, &f, 1), 1);
	g = toy_frame(60, 'y');
	twx_port_post(b->ports[0], &g, 1);
	twx_filter_free(flt);
	n = slurp("a.pcap");
	assert_int_equal(n, 24 + 16 + 104 + 16 + 60);
	assert_int_equal(u32_at(0), 0xa1b2c3d4);
	assert_memory_equal(content + 4, ((uint16_t[]){ 2, 4 }), 4);
	assert_int_equal(u32_at(8), 0);
	assert_int_equal(u32_at(12), 0);
	assert_int_equal(u32_at(16), 65536);
	assert_int_equal(u32_at(20), 1);
	assert_in_range(u32_at(24), before, time(NULL));
	assert_in_range(u32_at(28), 0, 999999);
	assert_int_equal(u32_at(32), 104);
	assert_int_equal(u32_at(36), 104);
	assert_memory_equal(content + 40 + 12, "\x81\x00\x20\x07\x88\xb5x", 7);
	assert_int_equal(u32_at(144 + 8), 60);
	assert_memory_equal(content + 160 + 12, "\x88\xb5y", 3);
	fake_free(&fk);
}

static void test_maxlen_cuts(void **state)
{
	struct world *w = *state;
	struct twx_frame f = toy_frame(100, 'x');
	struct twx_filter *flt;
	struct fake fk;

	fake_backend(w, &fk);
	assert_int_equal(filter(w, "cut.pcap", "id=f0,maxlen=10", &flt, NULL), 0);
	f.meta.flags = TWX_F_VLAN;
	twx_port_send(&fk.guest->port, &f, 1);
	f.meta.flags = 0;
	twx_port_send(&fk.guest->port, &f, 1);
	twx_filter_free(flt);
	assert_int_equal(slurp("cut.pcap"), 24 + 2 * 26);
	assert_int_equal(u32_at(16), 10);
	assert_int_equal(u32_at(32), 10);
	assert_int_equal(u32_at(36), 104);
	assert_int_equal(u32_at(24 + 26 + 12), 100);
	fake_free(&fk);
}

/* Records reach the file while the program runs, without more traffic. */
static void test_records_are_flushed_by_time(void **state)
{
	struct world *w = *state;
	struct twx_filter *flt;
	struct fake fk;
	int i;

	fake_backend(w, &fk);
	assert_int_equal(filter(w, "t.pcap", "id=f0", &flt, NULL), 0);
	toy_send(fk.guest, 'x');
	for (i = 0; i < 50 && slurp("t.pcap") == 24; i++)
		twx_loop_poll(w->loop, 1000);
	assert_int_equal(slurp("t.pcap"), 24 + 16 + 60);
	twx_filter_free(flt);
	fake_free(&fk);
}

static void test_large_frames(void **state)
{
	struct world *w = *state;
	uint8_t *big = calloc(1, TWX_FRAME_MAX);
	struct iovec iov = { big, TWX_FRAME_MAX };
	struct twx_frame f = { .iov = &iov, .n_iov = 1, .len = TWX_FRAME_MAX };
	struct twx_filter *flt;
	struct fake fk;
	int i;

	fake_backend(w, &fk);
	assert_int_equal(filter(w, "big.pcap", "id=f0,maxlen=4294967295", &flt, NULL), 0);
	toy_send(fk.guest, 'x');
	for (i = 0; i < 3; i++)
		twx_port_send(&fk.guest->port, &f, 1);
	f.len++; /* over what the core takes: not even the filter sees it */
	iov.iov_len++;
	twx_port_send(&fk.guest->port, &f, 1);
	twx_filter_free(flt);
	assert_int_equal(slurp("big.pcap"), 24 + 76 + 3 * (16 + TWX_FRAME_MAX));
	assert_int_equal(fk.guest->port.count.drops[TWX_DROP_TOO_LONG], 1);
	fake_free(&fk);
	free(big);
}

static void test_directions(void **state)
{
	static const char *const more[] = { "id=a", "id=b,queue=rx", "id=c,queue=tx",
					    "id=d,status=off" };
	static const size_t frames[] = { 3, 2, 1, 0 };
	struct world *w = *state;
	struct twx_frame f = toy_frame(60, 'x');
	struct fake fk;
	struct twx_backend *b = fake_backend(w, &fk);
	char name[2] = "a";
	int i;

	for (i = 0; i < 4; i++, name[0]++)
		assert_int_equal(filter(w, name, more[i], NULL, NULL), 0);
	toy_send(fk.guest, 'x'); /* to the backend: rx */
	toy_send(fk.guest, 'x');
	twx_port_post(b->ports[0], &f, 1); /* from it: tx */
	for (i = 0; i < 4; i++)
		twx_filter_free(b->ports[0]->filters);
	for (i = 0, name[0] = 'a'; i < 4; i++, name[0]++)
		assert_int_equal(slurp(name), 24 + 76 * frames[i]);
	fake_free(&fk);
}

static void expect_order(struct twx_port *port, const char *ids)
{
	struct twx_filter *f, *last = NULL;

	for (f = port->filters; *ids; ids++, f = f->next) {
		assert_non_null(f);
		assert_int_equal(f->id[0], *ids);
		assert_true(!last || f->prev == last);
		last = f;
	}
	assert_null(f);
	assert_true(!last || port->filters->prev == last);
}

static void test_positions(void **state)
{
	static const char *const more[] = {
		"id=m",
		"id=t,position=tail",
		"id=h,position=head",
		"id=b,position=id=m,insert=before",
		"id=c,position=id=m,insert=behind",
		"id=z,position=id=t",
		"id=a,position=id=h,insert=before",
	};
	struct world *w = *state;
	struct twx_filter *flt[7];
	struct twx_port *port;
	struct fake fk;
	int i;

	port = fake_backend(w, &fk)->ports[0];
	for (i = 0; i < 7; i++)
		assert_int_equal(filter(w, "order", more[i], &flt[i], NULL), 0);
	expect_order(port, "ahbmctz");
	twx_filter_free(flt[6]);
	twx_filter_free(flt[5]);
	twx_filter_free(flt[0]);
	expect_order(port, "hbct");
	twx_filter_free(flt[1]);
	expect_order(port, "hbc");
	twx_backend_free(twx_backend_find(w->net, "n0")); /* takes its filters along */
	fake_free(&fk);
}

static void test_refusals(void **state)
{
	static const struct {
		const char *more, *what;
	} bad[] = {
		{ "status=on", "Parameter 'id' is missing" },
		{ "id=f0,netdev=guest", "Parameter 'netdev' expects a network backend id" },
		{ "id=f0,netdev=zz", "Parameter 'netdev' expects a network backend id" },
		{ "id=f0,netdev=multi", "multiqueue is not supported" },
		{ "id=f0,maxlen=0", "Property 'filter-dump.maxlen' doesn't take value '0'" },
		{ "id=f0,status=maybe",
		  "Invalid value for netfilter status, should be 'on' or 'off'" },
		{ "id=f0,position=middle",
		  "Parameter 'position' expects 'head', 'tail' or 'id=<id>'" },
		{ "id=f0,position=id=zz", "filter 'zz' not found" },
		{ "id=f0,position=id=elsewhere",
		  "filter 'elsewhere' belongs to a different netdev" },
		{ "id=f0,insert=above", "should be 'before' or 'behind'" },
		{ "id=f0,queue=up", "queue" },
		{ "id=f0,nonsense=1", "nonsense" },
		{ "id=there",
		  "attempt to add duplicate property 'there' to object (type 'container')" },
		{ "id=f0,file=/nonexistent/x",
		  "cannot open '/nonexistent/x': No such file or directory" },
	};
	struct world *w = *state;
	struct twx_error e;
	struct fake fk;
	size_t i;

	fake_backend(w, &fk);
	assert_int_equal(twx_backend_new(NULL, w->net, "fake,id=multi,queues=2", NULL), 0);
	assert_int_equal(twx_backend_new(NULL, w->net, "fake,id=n1", NULL), 0);
	assert_int_equal(filter(w, "x", "id=there", NULL, NULL), 0);
	assert_int_equal(filter(w, "y", "id=elsewhere,netdev=n1", NULL, NULL), 0);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memset(&e, 0, sizeof(e));
		assert_true(filter(w, "refused", bad[i].more, NULL, &e) < 0);
		if (!strstr(e.what, bad[i].what))
			fail_msg("'%s' gives '%s'", bad[i].more, e.what);
		assert_true(access(file_path("refused"), F_OK) < 0); /* nothing is left behind */
	}
	assert_true(twx_filter_new(NULL, w->net, "filter-zz,id=f,netdev=n0", &e) < 0);
	assert_string_equal(e.what, "Parameter 'qom-type' does not accept value 'filter-zz'");
	assert_true(twx_filter_new(NULL, w->net, "filter-dump,id=f,netdev=n0", &e) < 0);
	assert_string_equal(e.what, "Parameter 'file' is missing");
	fake_free(&fk);
}

/* With a filter in the way, back-pressure works and no frame is written twice. */
static void test_busy_receiver_behind_a_filter(void **state)
{
	struct world *w = *state;
	struct twx_filter *flt;
	struct fake fk;
	struct twx_lease lease;
	struct twx_backend *b = fake_backend(w, &fk);
	int i, sent = 0;

	assert_int_equal(filter(w, "busy", "id=f0", &flt, NULL), 0);
	assert_int_equal(twx_port_reserve(b->ports[0], 14, 100, &lease), -EOPNOTSUPP);
	fk.host->room = 2;
	for (i = 0; i < 10; i++)
		sent += toy_send(fk.guest, (uint8_t)('0' + sent));
	assert_int_equal(sent,
			 3); /* the third was seen by the filter, so it is kept in the queue */
	fk.host->room = TOY_NO_LIMIT;
	twx_port_ready(b->ports[0]);
	assert_int_equal(fk.guest->n_resumed, 1);
	assert_int_equal(toy_send(fk.guest, '3'), 1);
	toy_expect(fk.host, "0123");
	twx_filter_free(flt);
	assert_int_equal(slurp("busy"), 24 + 4 * 76);
	fake_free(&fk);
}

static void test_disk_full(void **state)
{
	struct world *w = *state;
	struct twx_filter *flt;
	struct fake fk;
	int i;

	fake_backend(w, &fk);
	if (access("/dev/full", W_OK) < 0)
		skip();
	/* /dev/full refuses even the header */
	assert_true(twx_filter_new(&flt, w->net, "filter-dump,id=f0,netdev=n0,file=/dev/full",
				   NULL) < 0);
	/* a file that may not grow: the header fits, the records do not */
	assert_int_equal(filter(w, "full", "id=f1", &flt, NULL), 0);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 1000, RLIM_INFINITY }), 0);
	for (i = 0; i < 5000; i++)
		assert_int_equal(toy_send(fk.guest, 'x'), 1);
	setrlimit(RLIMIT_FSIZE, &(struct rlimit){ RLIM_INFINITY, RLIM_INFINITY });
	assert_int_equal(fk.host->n_got, 5000); /* traffic goes on */
	assert_int_equal(w->n_lines, 1);
	assert_non_null(strstr(w->log, "filter f1: cannot write"));
	assert_non_null(strstr(w->log, "traffic goes on"));
	twx_filter_free(flt);
	assert_int_equal(w->n_lines, 1);
	fake_free(&fk);
}

static void test_tshark_reads_it(void **state)
{
	struct world *w = *state;
	struct twx_filter *flt;
	struct fake fk;
	char cmd[256], line[256] = "";
	FILE *p;

	if (system("command -v tshark >/dev/null 2>&1"))
		skip();
	fake_backend(w, &fk);
	assert_int_equal(filter(w, "shark.pcap", "id=f0", &flt, NULL), 0);
	twx_port_announce(&fk.guest->port, (const uint8_t[6]){ 0x52, 0x54, 0, 1, 2, 3 });
	twx_filter_free(flt);
	snprintf(cmd, sizeof(cmd),
		 "tshark -r %s -T fields -e eth.type -e arp.src.hw_mac 2>/dev/null",
		 file_path("shark.pcap"));
	p = popen(cmd, "r");
	assert_non_null(p);
	assert_non_null(fgets(line, sizeof(line), p));
	pclose(p);
	assert_string_equal(line, "0x8035\t52:54:00:01:02:03\n");
	fake_free(&fk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_pcap_bytes),
		world_test(test_maxlen_cuts),
		world_test(test_records_are_flushed_by_time),
		world_test(test_large_frames),
		world_test(test_directions),
		world_test(test_positions),
		world_test(test_refusals),
		world_test(test_busy_receiver_behind_a_filter),
		world_test(test_disk_full),
		world_test(test_tshark_reads_it),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
