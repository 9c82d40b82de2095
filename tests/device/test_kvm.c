/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The KVM accelerator with small guests (tests/kvm/guests.S), on any /dev/kvm: ports, memory,
 * interrupts, doorbells, late writes, several CPUs, pause, reset, save and load.
 *
 * What the guest reaches is recorded as text, one word an access: "o500.1=11" for a byte to a port,
 * "W0.4=..." for a store at an offset of MMIO_BASE, "i", "R" for reads.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "../kvm/guests.h"
#include "base/macros.h"
#include "hosts/machine/machine.h"

#define RAM_LEN (2u << 20)

struct lab {
	struct twx_loop *loop;
	struct twx_net *net;
	struct twx_machine m;
	struct mem_map ram;
	uint8_t *mem;
	/* Written by CPUs with the loop's lock. */
	char text[8192];
	size_t len;
	atomic_uint n_said, n_done, asked;
	uint32_t in, last_out;
	bool quiet; /* the record would be long */
};

static struct lab *lab_of(struct twx_machine *m)
{
	return container_of(m, struct lab, m);
}

/* The parts of the machine that this test does without. */

const struct twx_hostops *machine_hostops(struct twx_machine *m)
{
	(void)m;
	return NULL;
}

void machine_ask(struct twx_machine *m, enum machine_ask what)
{
	atomic_fetch_or(&lab_of(m)->asked, what);
	twx_loop_stop(m->loop);
}

__attribute__((format(printf, 2, 3))) static void record(struct lab *l, const char *fmt, ...)
{
	va_list ap;
	int n;

	atomic_fetch_add(&l->n_said, 1);
	if (l->quiet)
		return;
	va_start(ap, fmt);
	n = vsnprintf(l->text + l->len, sizeof(l->text) - l->len, fmt, ap);
	va_end(ap);
	l->len = min(l->len + (size_t)n, sizeof(l->text) - 1);
}

static uint64_t number(const void *buf, uint32_t len)
{
	uint64_t v = 0;

	memcpy(&v, buf, len);
	return v;
}

void machine_mem_rw(struct twx_machine *m, uint64_t addr, void *buf, uint64_t len, bool write)
{
	struct lab *l = lab_of(m);
	uint32_t v = 0x1000 + (uint32_t)(addr - MMIO_BASE);

	if (!write)
		memcpy(buf, &v, min(len, sizeof(v)));
	record(l, "%c%x.%u=%llx ", write ? 'W' : 'R', (unsigned int)(addr - MMIO_BASE),
	       (unsigned int)len, (unsigned long long)number(buf, (uint32_t)min(len, 8u)));
}

void machine_mmio(struct twx_machine *m, unsigned int cpu, uint64_t addr, void *buf, uint32_t len,
		  bool write)
{
	(void)cpu;
	twx_loop_enter(m->loop);
	machine_mem_rw(m, addr, buf, len, write);
	twx_loop_leave(m->loop);
}

void machine_pio(struct twx_machine *m, unsigned int cpu, uint16_t port, void *buf, uint32_t len,
		 bool write)
{
	struct lab *l = lab_of(m);

	twx_loop_enter(m->loop);
	if (write && port == PORT_DONE) {
		atomic_fetch_add(&l->n_done, 1);
	} else if (write) {
		l->last_out = (uint32_t)number(buf, len);
		record(l, "%u:o%x.%u=%x ", cpu, port, len, l->last_out);
	} else if (port == PORT_IN) {
		memset(buf, 0, len);
		*(uint8_t *)buf = (uint8_t)(0x60 + l->in++);
		record(l, "i.%u ", len);
	} else {
		memset(buf, 0xff, len);
	}
	twx_loop_leave(m->loop);
	twx_loop_stop(m->loop);
}

/* A lab with one guest in it. */

static void log_line(void *opaque, enum twx_log_level level, const char *line)
{
	(void)opaque;
	(void)level;
	print_message("%s\n", line);
}

static void put_guest(struct lab *l, const unsigned char *from, const unsigned char *to)
{
	memcpy(l->mem + GUEST_LOAD, from, (size_t)(to - from));
}

static void lab_up(struct lab *l, unsigned int n_cpus, const unsigned char *from,
		   const unsigned char *to)
{
	struct twx_net_config config = { .size = sizeof(config), .log = log_line };
	struct twx_error e = { 0 };
	int fd = memfd_create("ram", MFD_CLOEXEC);

	memset(l, 0, sizeof(*l));
	assert_int_equal(twx_loop_new(&l->loop, &e), 0);
	assert_int_equal(twx_loop_share(l->loop), 0);
	config.loop = l->loop;
	assert_int_equal(twx_net_new(&l->net, &config, &e), 0);
	mem_init(&l->ram);
	assert_int_equal(ftruncate(fd, RAM_LEN), 0);
	assert_int_equal(mem_add_take(&l->ram, 0, RAM_LEN, 0, fd, 0), 0);
	l->mem = mem_ptr(&l->ram, (gpa){ 0 }, RAM_LEN);
	put_guest(l, from, to);
	l->m = (struct twx_machine){
		.net = l->net,
		.loop = l->loop,
		.accel = &accel_kvm,
		.n_cpus = n_cpus,
		.ram = &l->ram,
		.ram_low = RAM_LEN,
		.entry = { .rip = GUEST_LOAD },
	};
	if (accel_kvm.open(&l->m, &e))
		fail_msg("%s", e.what);
}

static void go(struct lab *l)
{
	struct twx_error e = { 0 };

	if (accel_kvm.reset(&l->m, &e) || accel_kvm.run(&l->m, &e))
		fail_msg("%s", e.what);
}

static void lab_down(struct lab *l)
{
	accel_kvm.close(&l->m);
	mem_fini(&l->ram);
	twx_net_free(l->net);
	twx_loop_free(l->loop);
}

/* Until the guest has done @what often enough. */
static void wait_for(struct lab *l, atomic_uint *what, unsigned int n)
{
	while (atomic_load(what) < n && !atomic_load(&l->asked))
		twx_loop_run(l->loop);
	if (atomic_load(what) < n)
		print_message("the guest stopped after: %s\n", l->text);
}

/* One guest from beginning to end; its words. */
static const char *run_guest(struct lab *l)
{
	go(l);
	wait_for(l, &l->n_done, 1);
	accel_kvm.pause(&l->m);
	assert_int_equal(atomic_load(&l->asked), 0);
	return l->text;
}

#define LAB_UP(l, n_cpus, name) lab_up(l, n_cpus, guest_##name, guest_##name##_end)

static void test_ports(void **state)
{
	struct lab l;

	LAB_UP(&l, 1, ports);
	assert_string_equal(run_guest(&l),
			    "0:o500.1=11 0:o500.2=2211 0:o500.4=44332211 i.1 0:o500.1=61 i.4 "
			    "0:o500.4=ffffff9e 0:o500.1=68 0:o500.1=65 0:o500.1=6c 0:o500.1=6c "
			    "0:o500.1=6f i.2 i.2 i.2 0:o500.2=62 0:o500.2=63 0:o500.2=64 ");
	lab_down(&l);
}

static void test_mmio(void **state)
{
	struct lab l;

	LAB_UP(&l, 1, mmio);
	assert_string_equal(run_guest(&l), "W1.1=21 W2.2=4321 W4.4=87654321 R8.4=1008 Wc.4=1009 "
					   "R3.1=3 W10.4=3 ");
	assert_int_equal(number(l.mem + GUEST_COUNTER, 4), 0x600df00d);
	lab_down(&l);
}

static void test_interrupts(void **state)
{
	struct lab l;
	struct pci_dev *dev = (struct pci_dev *)&l; /* a name, never looked into */
	uint64_t one = 1;
	int fd = eventfd(0, EFD_CLOEXEC);

	LAB_UP(&l, 1, irq);
	go(&l);
	wait_for(&l, &l.n_said, 1);
	accel_kvm.gsi(&l.m, 5, true);
	wait_for(&l, &l.n_said, 2);
	/* An edge: the same level again is nothing. */
	accel_kvm.gsi(&l.m, 5, true);
	accel_kvm.message(&l.m, LAPIC_ADDR, VECTOR_MSG);
	wait_for(&l, &l.n_said, 3);
	accel_kvm.gsi(&l.m, 5, false);
	accel_kvm.gsi(&l.m, 5, true);
	wait_for(&l, &l.n_said, 4);
	/* The same message by an eventfd; and none when that was taken away. */
	assert_int_equal(accel_kvm.message_fd(&l.m, dev, 3, LAPIC_ADDR, VECTOR_MSG, fd), 0);
	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
	wait_for(&l, &l.n_said, 5);
	assert_int_equal(accel_kvm.message_fd(&l.m, dev, 3, LAPIC_ADDR, VECTOR_MSG, -1), 0);
	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
	assert_int_equal(accel_kvm.message_fd(&l.m, dev, 3, LAPIC_ADDR, VECTOR_MSG, fd), 0);
	/* The signal that nobody took is still in the eventfd: masked is not lost. */
	wait_for(&l, &l.n_said, 6);
	assert_int_equal(accel_kvm.message_fd(&l.m, dev, 3, 0, 0, -1), 0);
	accel_kvm.message(&l.m, LAPIC_ADDR, VECTOR_MSG);
	wait_for(&l, &l.n_said, 7);
	accel_kvm.pause(&l.m);
	assert_string_equal(l.text, "0:o500.1=52 0:o500.1=50 0:o500.1=4d 0:o500.1=50 0:o500.1=4d "
				    "0:o500.1=4d 0:o500.1=4d ");
	lab_down(&l);
	close(fd);
}

/* More vectors than there is room for are refused; those that are free are found again. */
static void test_many_vectors(void **state)
{
	struct lab l;
	struct pci_dev *dev = (struct pci_dev *)&l;
	int fds[257];

	LAB_UP(&l, 1, irq);
	for (unsigned int i = 0; i < array_size(fds); i++) {
		fds[i] = eventfd(0, EFD_CLOEXEC);
		assert_int_equal(accel_kvm.message_fd(&l.m, dev, i, LAPIC_ADDR, VECTOR_MSG, fds[i]),
				 i < 256 ? 0 : -ENOSPC);
	}
	assert_int_equal(accel_kvm.message_fd(&l.m, dev, 7, 0, 0, -1), 0);
	assert_int_equal(accel_kvm.message_fd(&l.m, dev, 900, LAPIC_ADDR, VECTOR_MSG, fds[7]), 0);
	lab_down(&l);
	for (unsigned int i = 0; i < array_size(fds); i++)
		close(fds[i]);
}

static uint64_t rung(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static void test_doorbells(void **state)
{
	int seven = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	int any = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	int port = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct pci_doorbell bells[] = {
		{ .size = 2, .match = true, .value = 7, .fd = seven },
		{ .fd = any },
		{ .size = 2, .match = true, .value = 7, .fd = port },
	};
	struct lab l;

	LAB_UP(&l, 1, bell);
	assert_int_equal(accel_kvm.doorbell(&l.m, false, MMIO_BELL, &bells[0], true), 0);
	assert_int_equal(accel_kvm.doorbell(&l.m, false, MMIO_BELL + 4, &bells[1], true), 0);
	assert_int_equal(accel_kvm.doorbell(&l.m, true, PORT_OUT + 2, &bells[2], true), 0);
	assert_string_equal(run_guest(&l), "W2000.2=8 ");
	assert_int_equal(rung(seven), 1);
	assert_int_equal(rung(any), 2);
	assert_int_equal(rung(port), 1);
	/* Taken away, each is a store like any other. */
	assert_int_equal(accel_kvm.doorbell(&l.m, false, MMIO_BELL, &bells[0], false), 0);
	assert_int_equal(accel_kvm.doorbell(&l.m, false, MMIO_BELL + 4, &bells[1], false), 0);
	assert_int_equal(accel_kvm.doorbell(&l.m, true, PORT_OUT + 2, &bells[2], false), 0);
	assert_int_not_equal(accel_kvm.doorbell(&l.m, false, MMIO_BELL, &bells[0], false), 0);
	l.len = 0;
	atomic_store(&l.n_done, 0);
	assert_string_equal(run_guest(&l), "W2000.2=7 W2000.2=8 W2004.4=9 W2004.2=9 0:o502.2=7 ");
	assert_int_equal(rung(seven) + rung(any) + rung(port), 0);
	lab_down(&l);
	close(seven);
	close(any);
	close(port);
}

static void test_lazy(void **state)
{
	struct lab l;

	LAB_UP(&l, 1, lazy);
	assert_int_equal(accel_kvm.lazy(&l.m, MMIO_LAZY, 8, true), 0);
	assert_string_equal(run_guest(&l), "W1000.4=5 W1000.4=4 W1000.4=3 W1000.4=2 W1000.4=1 "
					   "W0.4=55 W1000.4=6 W1004.4=7 ");
	assert_int_equal(accel_kvm.lazy(&l.m, MMIO_LAZY, 8, false), 0);
	lab_down(&l);
}

/* A guest that only looks at memory from then on: whoever misses the write gets it. */
static void test_hurry(void **state)
{
	struct lab l;

	LAB_UP(&l, 1, late);
	accel_kvm.hurry(&l.m);
	assert_int_equal(accel_kvm.lazy(&l.m, MMIO_LAZY, 8, true), 0);
	go(&l);
	while (atomic_load(&l.n_said) == 0) {
		accel_kvm.hurry(&l.m);
		usleep(1000);
	}
	l.mem[GUEST_COUNTER] = 1;
	wait_for(&l, &l.n_done, 1);
	accel_kvm.pause(&l.m);
	assert_string_equal(l.text, "W1000.4=77 ");
	lab_down(&l);
}

/* As on a PC: the machine is reset, and begins again. */
static void test_triple_fault(void **state)
{
	struct lab l;

	LAB_UP(&l, 1, fault);
	for (int life = 0; life < 2; life++) {
		go(&l);
		while (atomic_load(&l.asked) == 0)
			twx_loop_poll(l.loop, 10);
		accel_kvm.pause(&l.m);
		assert_int_equal(atomic_exchange(&l.asked, 0), MACHINE_ASK_RESET);
	}
	assert_string_equal(l.text, "0:o500.1=46 0:o500.1=46 ");
	lab_down(&l);
}

struct pauser {
	struct twx_task task;
	struct lab *l;
	unsigned int left;
};

/* In a callback, where CPUs wait for the loop. */
static void pause_task(struct twx_task *t)
{
	struct pauser *p = container_of(t, struct pauser, task);
	struct lab *l = p->l;
	unsigned int before, after;

	accel_kvm.pause(&l->m);
	before = atomic_load(&l->n_said);
	twx_loop_yield(l->loop);
	after = atomic_load(&l->n_said);
	assert_int_equal(before, after);
	/* What was said was finished: memory and port are one step apart at most. */
	assert_in_range(number(l->mem + GUEST_COUNTER, 4), l->last_out, l->last_out + 1);
	assert_int_equal(accel_kvm.run(&l->m, NULL), 0);
	if (--p->left)
		twx_loop_defer(l->loop, &p->task);
	else
		twx_loop_stop(l->loop);
}

static void test_pause(void **state)
{
	struct lab l;
	struct pauser p = { .task.fn = pause_task, .l = &l, .left = 50 };
	unsigned int said;

	LAB_UP(&l, 1, count);
	l.quiet = true;
	go(&l);
	wait_for(&l, &l.n_said, 1);
	twx_loop_post(l.loop, &p.task);
	while (p.left)
		twx_loop_run(l.loop);
	said = atomic_load(&l.n_said);
	wait_for(&l, &l.n_said, said + 1);
	accel_kvm.pause(&l.m);
	accel_kvm.pause(&l.m);
	/* Every number once. */
	assert_int_equal(l.last_out, atomic_load(&l.n_said));
	lab_down(&l);
}

static void test_smp(void **state)
{
	struct lab l;

	LAB_UP(&l, 2, smp);
	/* Numbers 0 and 1, each of two CPUs in the package. */
	assert_string_equal(run_guest(&l), "0:o500.1=0 1:o500.1=1 1:o500.1=2 ");
	lab_down(&l);
}

static void test_eight(void **state)
{
	struct lab l;

	LAB_UP(&l, 8, smp);
	assert_string_equal(run_guest(&l), "0:o500.1=0 1:o500.1=1 1:o500.1=8 ");
	lab_down(&l);
}

static void test_long_mode(void **state)
{
	static const uint64_t tables[] = { 0x100000, 0x101003, 0x101000, 0x102003, 0x102000, 0x83 };
	struct lab l;

	LAB_UP(&l, 1, long64);
	for (unsigned int i = 0; i < array_size(tables); i += 2)
		memcpy(l.mem + tables[i], &tables[i + 1], 8);
	l.m.entry.long_mode = true;
	l.m.entry.cr3 = 0x100000;
	l.m.entry.rsi = 0x1122334455667788;
	go(&l);
	wait_for(&l, &l.n_done, 1);
	accel_kvm.pause(&l.m);
	if (atomic_load(&l.asked)) {
		lab_down(&l);
		skip(); /* a KVM that does not do 64 bits */
	}
	assert_string_equal(l.text, "0:o500.4=55667788 0:o500.4=11223344 0:o500.2=10 0:o500.2=18 ");
	lab_down(&l);
}

/* A guest goes on where it was, in another machine. */
static void test_save_load(void **state)
{
	struct lab a, b;
	struct twx_error e = { 0 };
	uint8_t *data = NULL;
	size_t len = 0;
	uint32_t last;

	LAB_UP(&a, 2, count);
	a.quiet = true;
	go(&a);
	wait_for(&a, &a.n_said, 5);
	accel_kvm.pause(&a.m);
	last = a.last_out;
	if (accel_kvm.save(&a.m, &data, &len, &e))
		fail_msg("%s", e.what);

	LAB_UP(&b, 2, count);
	memcpy(b.mem, a.mem, RAM_LEN);
	assert_int_equal(accel_kvm.reset(&b.m, &e), 0);
	if (accel_kvm.load(&b.m, data, len, &e) || accel_kvm.run(&b.m, &e))
		fail_msg("%s", e.what);
	wait_for(&b, &b.n_said, 3);
	accel_kvm.pause(&b.m);
	assert_memory_equal(b.text, "0:o500.4=", 9);
	assert_int_equal(strtoul(b.text + 9, NULL, 16), last + 1);
	/* The one that was saved can go on as well. */
	assert_int_equal(accel_kvm.run(&a.m, &e), 0);
	wait_for(&a, &a.n_said, last + 3);
	accel_kvm.pause(&a.m);
	assert_int_equal(a.last_out, atomic_load(&a.n_said));
	free(data);
	lab_down(&a);
	lab_down(&b);
}

static void test_load_refuses(void **state)
{
	struct lab l, other;
	struct twx_error e = { 0 };
	uint8_t *data = NULL;
	size_t len = 0, step;

	LAB_UP(&l, 1, count);
	assert_int_equal(accel_kvm.reset(&l.m, &e), 0);
	assert_int_equal(accel_kvm.save(&l.m, &data, &len, &e), 0);
	assert_int_equal(accel_kvm.load(&l.m, data, len, &e), 0);
	for (size_t n = 0; n < len; n += step) {
		step = n < 64 ? 1 : 97;
		assert_int_equal(accel_kvm.load(&l.m, data, n, &e), -EINVAL);
	}
	data = realloc(data, len + 1);
	data[len] = 0;
	assert_int_equal(accel_kvm.load(&l.m, data, len + 1, &e), -EINVAL);
	data[20] ^= 0x10; /* in the first leaf of CPUID */
	assert_int_equal(accel_kvm.load(&l.m, data, len, &e), -EINVAL);
	assert_non_null(strstr(e.what, "features"));
	data[20] ^= 0x10;
	LAB_UP(&other, 2, count);
	assert_int_equal(accel_kvm.load(&other.m, data, len, &e), -EINVAL);
	assert_non_null(strstr(e.what, "it has 1 CPUs, and this machine has 2"));
	lab_down(&other);
	lab_down(&l);
	free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ports),	   cmocka_unit_test(test_mmio),
		cmocka_unit_test(test_interrupts), cmocka_unit_test(test_many_vectors),
		cmocka_unit_test(test_doorbells),  cmocka_unit_test(test_lazy),
		cmocka_unit_test(test_hurry),	   cmocka_unit_test(test_triple_fault),
		cmocka_unit_test(test_pause),	   cmocka_unit_test(test_smp),
		cmocka_unit_test(test_eight),	   cmocka_unit_test(test_long_mode),
		cmocka_unit_test(test_save_load),  cmocka_unit_test(test_load_refuses),
	};

	if (access("/dev/kvm", R_OK | W_OK) < 0) {
		puts("there is no /dev/kvm that may be used");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
