/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small PC: its parts put together, and its life from power-on to the end.
 *
 * A machine is RAM (huge pages of this process; a memfd where a vhost-user back end maps it), two
 * address spaces, a PCI bus with its bridges, a handful of board devices, and an accelerator that
 * makes instructions go: KVM's vCPUs, or a client of the qtest protocol that says what a CPU would
 * do. There is no firmware; what it would do (number buses, place BARs, route interrupts, write
 * ACPI tables, load the kernel) is done here, before the CPUs start and again at each reset.
 *
 * The way of an access. A CPU stores to an address that is no RAM; KVM leaves the guest with an
 * exit and the vCPU's thread calls machine_mmio() (machine_io.c): posted, or under the loop's lock
 * to as_write() (bus/aspace.c), which finds the region; a BAR's region is the PCI bus's
 * (bus/pci_bus.c) and leads to pci_bar_write() and the NIC. Back: the NIC calls pci_notify() or
 * pci_set_intx(), the bus makes it a message or a line, and accel->message() or accel->gsi() hands
 * it to KVM. virtio's doorbells and vhost's interrupts skip this process: accel->doorbell(),
 * accel->message_fd().
 *
 * Threads. All of it belongs to the net's loop. vCPU threads enter the loop, or leave something to
 * it: posted writes, and what they ask for by machine_ask() (a reset cannot be done by a CPU that
 * is part of it).
 *
 * NICs come by the host type "machine" (machine_slot.c), which every NIC without export= gets; see
 * twx_net_set_host(). Files: machine_io.c accesses, machine_state.c save and load, bridges.c the
 * chipset's functions, serial.c, rtc.c, i8042.c, pm.c, fwcfg.c the board, linux.c and acpi.c what
 * firmware does, kvm*.c and qtest*.c the accelerators.
 *
 * Not modelled: firmware, disks, displays, USB, sound, HPET, SMM, NUMA, CPU hot-plug.
 */
#include "hosts/machine/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/macros.h"
#include "net/net_priv.h"

#define MEMORY_DEFAULT (128u << 20)
#define MEMORY_MIN (1u << 20)
#define MEMORY_MAX (PCI_MEM64_BASE - MEM_HIGH)

static const struct accel *const accels[] = { &accel_kvm, &accel_qtest };
static const uint8_t line_irq[4] = { 10, 10, 11, 11 };

const struct twx_hostops *machine_hostops(struct twx_machine *m)
{
	return net_hostops(m->net);
}

void machine_add_dev(struct twx_machine *m, struct board_dev *d)
{
	struct board_dev **at = &m->devs;

	while (*at != NULL)
		at = &(*at)->next;
	d->next = NULL;
	*at = d;
}

void machine_set_gsi(struct twx_machine *m, unsigned int gsi, bool level)
{
	m->accel->gsi(m, gsi, level);
}

void machine_tell(struct twx_machine *m, enum twx_machine_event ev)
{
	if (m->event != NULL)
		m->event(m->opaque, ev);
}

/* Made and taken apart. */

/* A file, for another process to map: both parts of it in one. Whoever gets it could cut it off
 * under our mapping, but for the seals. */
static int ram_file(struct twx_machine *m, uint64_t size)
{
	int fd = memfd_create("twinax-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING), high, err;

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		err = -errno;
		if (fd >= 0)
			close(fd);
		return err;
	}
	m->ram->keep_files = true;
	err = mem_add_take(m->ram, 0, m->ram_low, 0, fd, 0);
	if (err < 0 || m->ram_high == 0)
		return err;
	high = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return high < 0 ? -errno : mem_add_take(m->ram, MEM_HIGH, m->ram_high, 0, high, m->ram_low);
}

static int ram_private(struct twx_machine *m)
{
	int err = mem_add_anon(m->ram, 0, m->ram_low);

	if (err == 0 && m->ram_high > 0)
		err = mem_add_anon(m->ram, MEM_HIGH, m->ram_high);
	return err;
}

static int ram_open(struct twx_machine *m, uint64_t size, struct twx_error *e)
{
	int err;

	if (size == 0)
		size = MEMORY_DEFAULT;
	if (size < MEMORY_MIN || size > MEMORY_MAX || size % 4096 != 0)
		return twx_error_set(e, EINVAL,
				     "memory: %llu bytes; it takes 1 MiB to 508 GiB in whole pages",
				     (unsigned long long)size);
	m->ram_low = min(size, MEM_HOLE);
	m->ram_high = size - m->ram_low;
	err = m->config->shared_memory ? ram_file(m, size) : ram_private(m);
	return err == 0 ? 0
			: twx_error_set(e, -err, "memory: cannot have %llu MiB: %s",
					(unsigned long long)(size >> 20), strerror(-err));
}

static int find_accel(struct twx_machine *m, const char *name, struct twx_error *e)
{
	for (size_t i = 0; i < array_size(accels); i++)
		if (strcmp(accels[i]->name, name) == 0)
			m->accel = accels[i];
	if (m->accel != NULL)
		return 0;
	twx_error_set(e, EINVAL, "there is no accelerator '%s'", name);
	return twx_error_hint(e, "known: kvm, qtest");
}

static int take_text(char **to, const char *from)
{
	*to = from != NULL ? strdup(from) : NULL;
	return *to != NULL || from == NULL ? 0 : -ENOMEM;
}

static int take_config(struct twx_machine *m, const struct twx_machine_config *c,
		       struct twx_error *e)
{
	if (c->n_cpus > MACHINE_MAX_CPUS)
		return twx_error_set(e, EINVAL, "%u CPUs; a machine has 1 to %u", c->n_cpus,
				     MACHINE_MAX_CPUS);
	m->n_cpus = max(c->n_cpus, 1u);
	m->no_reboot = c->no_reboot;
	m->event = c->event;
	m->opaque = c->opaque;
	if (take_text(&m->kernel, c->kernel) < 0 || take_text(&m->initrd, c->initrd) < 0 ||
	    take_text(&m->append, c->append) < 0 ||
	    take_text(&m->kernel_cache, c->kernel_cache) < 0)
		return twx_error_set(e, ENOMEM, "machine: out of memory");
	return find_accel(m, c->accel, e);
}

static int board_open(struct twx_machine *m, struct twx_error *e)
{
	int err = board_bridges(m, e);

	err = err == 0 ? board_rtc(m, e) : err;
	err = err == 0 ? board_i8042(m, e) : err;
	err = err == 0 ? board_pm(m, e) : err;
	err = err == 0 ? board_fwcfg(m, e) : err;
	for (unsigned int i = 0; i < array_size(m->config->serial) && err == 0; i++)
		if (m->config->serial[i] != NULL)
			err = board_serial(m, i, m->config->serial[i], e);
	return err;
}

static void post_run(struct twx_task *t)
{
	struct twx_machine *m = container_of(t, struct twx_machine, post_task);

	/* First: what is posted after the rings were looked at brings the task again. */
	atomic_store(&m->post_pending, false);
	machine_drain(m);
}

static void ask_run(struct twx_task *t);

static int machine_init(struct twx_machine *m, struct twx_error *e)
{
	int err;

	m->ram = malloc(sizeof(*m->ram));
	if (m->ram == NULL)
		return twx_error_set(e, ENOMEM, "machine: out of memory");
	mem_init(m->ram);
	err = ram_open(m, m->config->memory, e);
	if (err < 0)
		return err;
	err = pci_bus_new(&m->pci, &machine_bus_ops, m, &m->mem, &m->io, m->ram, m->loop);
	if (err == 0)
		err = pci_bus_add_ecam(m->pci, ECAM_BASE, 255);
	if (err < 0)
		return twx_error_set(e, -err, "PCI bus: %s", strerror(-err));
	for (unsigned int i = 0; m->accel->threads && i < m->n_cpus; i++) {
		m->post[i] = calloc(1, sizeof(*m->post[i]));
		if (m->post[i] == NULL)
			return twx_error_set(e, ENOMEM, "machine: out of memory");
	}
	err = m->accel->open(m, e);
	return err == 0 ? board_open(m, e) : err;
}

int twx_machine_new(struct twx_machine **out, const struct twx_machine_config *config,
		    struct twx_error *e)
{
	struct twx_machine_config c = { 0 };
	struct twx_error own;
	struct twx_machine *m;
	int err;

	e = e != NULL ? e : &own;
	memcpy(&c, config, min(config->size, sizeof(c)));
	if (c.net == NULL || c.accel == NULL)
		return twx_error_set(e, EINVAL,
				     "machine: config.net and config.accel are required");
	m = calloc(1, sizeof(*m));
	if (m == NULL)
		return twx_error_set(e, ENOMEM, "machine: out of memory");
	m->net = c.net;
	m->loop = twx_net_loop(c.net);
	m->trace = twx_loop_trace(m->loop);
	m->config = &c;
	m->post_task.fn = post_run;
	m->ask_task.fn = ask_run;
	as_init(&m->mem, "memory", UINT64_MAX);
	as_init(&m->io, "I/O", 0xffff);
	err = take_config(m, &c, e);
	if (err == 0)
		err = machine_init(m, e);
	m->config = NULL;
	if (err < 0) {
		twx_machine_free(m);
		return err;
	}
	twx_net_set_host(m->net, &machine_host_type, m);
	*out = m;
	return 0;
}

static void free_nics(struct twx_machine *m)
{
	struct twx_nic *nic = m->net->nics, *next;

	for (; nic != NULL; nic = next) {
		next = nic->next;
		if (nic->host != NULL && nic->host->opaque == m)
			twx_nic_free(nic);
	}
}

void twx_machine_free(struct twx_machine *m)
{
	if (m == NULL)
		return;
	if (m->running)
		m->accel->pause(m);
	if (m->net->host_opaque == m)
		twx_net_set_host(m->net, NULL, NULL);
	free_nics(m);
	while (m->devs != NULL) {
		struct board_dev *d = m->devs;

		m->devs = d->next;
		d->free(d->opaque);
	}
	if (m->pci != NULL)
		pci_bus_free(m->pci);
	if (m->accel != NULL)
		m->accel->close(m);
	twx_loop_undefer(m->loop, &m->post_task);
	twx_loop_undefer(m->loop, &m->ask_task);
	as_fini(&m->mem);
	as_fini(&m->io);
	if (m->ram != NULL)
		mem_fini(m->ram);
	for (unsigned int i = 0; i < MACHINE_MAX_CPUS; i++)
		free(m->post[i]);
	free(m->ram);
	free(m->kernel);
	free(m->initrd);
	free(m->append);
	free(m->kernel_cache);
	free(m);
}

/* Life. */

/* What firmware would do. */
static int boot(struct twx_machine *m, struct twx_error *e)
{
	struct pci_windows w = {
		.mem = PCI_MEM_BASE,
		.mem_len = PCI_MEM_END - PCI_MEM_BASE,
		.mem64 = PCI_MEM64_BASE,
		.mem64_len = PCI_MEM64_LEN,
		.io = PCI_PORT_BASE,
		.io_len = PCI_PORT_END - PCI_PORT_BASE + 1,
	};
	int err;

	/* A client of qtest needs none; CPUs would run what is at address 0, and fall over it. */
	if (m->kernel == NULL && !m->accel->threads)
		return 0;
	if (m->kernel == NULL) {
		twx_error_set(e, ENOENT, "there is no kernel to start");
		return twx_error_hint(e, "name one, also where a saved machine is loaded: a reset "
					 "starts it anew");
	}
	memcpy(w.line_irq, line_irq, sizeof(line_irq));
	board_route_lines(m, line_irq);
	err = pci_bus_assign(m->pci, &w, e);
	return err == 0 ? boot_load(m, &m->entry, e) : err;
}

int machine_power_on(struct twx_machine *m, bool with_kernel, struct twx_error *e)
{
	int err = 0;

	for (struct board_dev *d = m->devs; d != NULL; d = d->next)
		if (d->reset != NULL)
			d->reset(d->opaque);
	pci_bus_reset(m->pci);
	if (with_kernel)
		err = boot(m, e);
	return err == 0 ? m->accel->reset(m, e) : err;
}

static void run_each(void *opaque, struct pci_dev *dev, const char *name, const char *place)
{
	(void)name;
	(void)place;
	pci_run(dev, *(bool *)opaque);
}

int machine_go(struct twx_machine *m, struct twx_error *e)
{
	bool running = true;
	int err;

	pci_bus_each(m->pci, run_each, &running);
	err = m->accel->run(m, e);
	m->running = err == 0;
	running = m->running;
	if (!running)
		pci_bus_each(m->pci, run_each, &running);
	return err;
}

int machine_fresh(const struct twx_machine *m, struct twx_error *e)
{
	if (m->started)
		return twx_error_set(e, EALREADY, "the machine has been started");
	if (!m->spoilt)
		return 0;
	twx_error_set(e, EINVAL, "a load has failed and left memory half filled");
	return twx_error_hint(e, "end this machine and make it anew");
}

/* The CPUs first: what they left is carried out before the devices stand still. */
void machine_halt(struct twx_machine *m)
{
	bool running = false;

	m->accel->pause(m);
	m->running = false;
	machine_drain(m);
	pci_bus_each(m->pci, run_each, &running);
}

int twx_machine_start(struct twx_machine *m, struct twx_error *e)
{
	struct twx_error own;
	int err;

	e = e != NULL ? e : &own;
	err = machine_fresh(m, e);
	if (err == 0)
		err = machine_power_on(m, true, e);
	if (err < 0)
		return err;
	m->started = true;
	return machine_go(m, e);
}

bool twx_machine_running(const struct twx_machine *m)
{
	return m->running;
}

int twx_machine_pause(struct twx_machine *m, struct twx_error *e)
{
	(void)e;
	if (!m->running)
		return 0;
	machine_halt(m);
	machine_tell(m, TWX_MACHINE_STOP);
	return 0;
}

int twx_machine_resume(struct twx_machine *m, struct twx_error *e)
{
	struct twx_error own;
	int err;

	e = e != NULL ? e : &own;
	if (m->running)
		return 0;
	if (!m->started)
		return twx_error_set(e, EINVAL, "the machine has not been started");
	err = machine_go(m, e);
	if (err == 0)
		machine_tell(m, TWX_MACHINE_RESUME);
	return err;
}

static void end(struct twx_machine *m, enum twx_machine_event ev)
{
	if (m->running)
		machine_halt(m);
	/* CPUs may have asked again on their way out; it ends once. */
	atomic_store(&m->ask, 0);
	machine_tell(m, ev);
}

int twx_machine_reset(struct twx_machine *m, struct twx_error *e)
{
	bool running = m->running;
	struct twx_error own;
	int err;

	e = e != NULL ? e : &own;
	if (m->no_reboot && m->started) {
		end(m, TWX_MACHINE_SHUTDOWN);
		return 0;
	}
	if (running)
		machine_halt(m);
	/* What CPUs have asked for on their way out (a guest tries several ways to reset) is done.
	 */
	atomic_fetch_and(&m->ask, ~(unsigned int)(MACHINE_ASK_RESET | MACHINE_ASK_PANIC));
	err = machine_power_on(m, true, e);
	if (err == 0) {
		machine_tell(m, TWX_MACHINE_RESET);
		err = running ? machine_go(m, e) : 0;
	}
	/* Half of it is new and half is old: nothing for its CPUs to go on with. */
	if (err < 0)
		machine_tell(m, TWX_MACHINE_PANIC);
	return err;
}

void twx_machine_power_button(struct twx_machine *m)
{
	board_power_button(m);
}

void machine_ask(struct twx_machine *m, enum machine_ask what)
{
	atomic_fetch_or(&m->ask, what);
	if (!atomic_exchange(&m->ask_pending, true))
		twx_loop_post(m->loop, &m->ask_task);
}

static void ask_run(struct twx_task *t)
{
	struct twx_machine *m = container_of(t, struct twx_machine, ask_task);
	struct twx_error e = { 0 };
	unsigned int ask;

	atomic_store(&m->ask_pending, false);
	ask = atomic_exchange(&m->ask, 0);
	if (ask & MACHINE_ASK_PANIC) {
		end(m, TWX_MACHINE_PANIC);
	} else if (ask & MACHINE_ASK_SHUTDOWN) {
		end(m, TWX_MACHINE_SHUTDOWN);
	} else if (ask & MACHINE_ASK_RESET) {
		if (twx_machine_reset(m, &e) < 0)
			twx_log(m->net, TWX_LOG_ERROR, "machine: cannot start again: %s", e.what);
	}
}

int twx_machine_probe(const char *accel, struct twx_error *e)
{
	struct twx_error own;

	e = e != NULL ? e : &own;
	if (strcmp(accel, "kvm") == 0)
		return kvm_probe(e);
	if (strcmp(accel, "qtest") == 0)
		return 0;
	twx_error_set(e, EINVAL, "there is no accelerator '%s'", accel);
	return twx_error_hint(e, "known: kvm, qtest");
}
