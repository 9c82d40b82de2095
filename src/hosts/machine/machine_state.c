/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A machine in a file: saved while it stands still, loaded into one made with the same options.
 *
 * The file is a header and a row of records, each with a kind, a name, a length and that many bytes
 * (struct record; all numbers little-endian):
 *
 *   ram      runs of pages that are not all zeros, each with its address, in ascending order
 *   board    a device of the board by its name: its state tables (bus/state.h)
 *   pci      a function, by its id and place ("net0 at 00:03.0"): pci_save()
 *   accel    what the accelerator emulates, CPUs included; by the accelerator's name
 *   end      nothing; without it the file was cut
 *
 * RAM comes before the functions, whose rings lie in it. All that the machine has must be there
 * once, and nothing else. What a record says is checked like a guest's input: by the state tables'
 * checks, and against the machine's own size. A load that fails once memory has been read leaves a
 * machine that cannot be started nor loaded any more; whoever loads ends it.
 *
 * Saving writes a new file beside the old one and renames it at the end, so that a full disk costs
 * no older save.
 *
 * What is outside is not in the file: the flows of `user` (their peers see a reset), what a tap's
 * interface is set up with, a chardev's other end.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/endian.h"
#include "base/macros.h"
#include "hosts/machine/machine.h"

#define PAGE 4096u
#define RUN_MAX 256u /* pages; a run of zeros shorter than one page is not looked for */
#define NAME_MAX_LEN 128u
#define ACCEL_MAX (16u << 20)

static const char magic[8] = "twinaxVM";
#define VERSION 1u

enum kind { KIND_RAM = 1, KIND_BOARD, KIND_PCI, KIND_ACCEL, KIND_END, N_KINDS };
static const char *const kind_name[N_KINDS] = {
	[KIND_RAM] = "ram",	[KIND_BOARD] = "board", [KIND_PCI] = "pci",
	[KIND_ACCEL] = "accel", [KIND_END] = "end",
};

struct header {
	char magic[8];
	le32 version, n_cpus;
	le64 ram_low, ram_high;
};

struct record {
	le32 kind, name_len;
	le64 len; /* of what follows the name; 0 for ram, whose runs end by themselves */
};

struct run {
	le64 addr;
	le32 n_pages; /* 0: the last run */
	le32 zero;
};

struct file {
	struct twx_machine *m;
	FILE *f;
	const char *path;
	struct twx_error *e;
	int err;
};

static void failed(struct file *s, int err, const char *why)
{
	if (s->err == 0)
		s->err = twx_error_set(s->e, err, "%s: %s", s->path, why);
}

/* Saving */

static void put(struct file *s, const void *p, size_t len)
{
	if (s->err == 0 && len > 0 && fwrite(p, len, 1, s->f) != 1)
		failed(s, errno, strerror(errno));
}

static void put_record(struct file *s, enum kind kind, const char *name, const void *p, size_t len)
{
	struct record r = { le32_make(kind), le32_make((uint32_t)strlen(name)), le64_make(len) };

	put(s, &r, sizeof(r));
	put(s, name, strlen(name));
	put(s, p, len);
}

static bool is_zero(const uint8_t *page)
{
	return page[0] == 0 && memcmp(page, page + 1, PAGE - 1) == 0;
}

static void put_region(struct file *s, const struct mem_region *r)
{
	uint64_t n = r->size / PAGE, i = 0;

	while (i < n && s->err == 0) {
		uint32_t len = 0;
		struct run run;

		while (i < n && is_zero(r->host + i * PAGE))
			i++;
		while (i + len < n && len < RUN_MAX && !is_zero(r->host + (i + len) * PAGE))
			len++;
		run = (struct run){ le64_make(r->gpa + i * PAGE), le32_make(len), { 0 } };
		if (len > 0) {
			put(s, &run, sizeof(run));
			put(s, r->host + i * PAGE, (size_t)len * PAGE);
		}
		i += len;
	}
}

static void put_ram(struct file *s)
{
	struct run last = { 0 };

	put_record(s, KIND_RAM, "", NULL, 0);
	for (unsigned int i = 0; i < s->m->ram->n; i++)
		put_region(s, &s->m->ram->regions[i]);
	put(s, &last, sizeof(last));
}

static void put_taken(struct file *s, int err, enum kind kind, const char *name, uint8_t *data,
		      size_t len)
{
	if (err < 0)
		failed(s, -err, strerror(-err));
	else
		put_record(s, kind, name, data, len);
	free(data);
}

static void pci_name(char buf[NAME_MAX_LEN], const char *name, const char *place)
{
	snprintf(buf, NAME_MAX_LEN, "%s at %s", name, place);
}

static void put_function(void *opaque, struct pci_dev *dev, const char *name, const char *place)
{
	struct file *s = opaque;
	char full[NAME_MAX_LEN];
	uint8_t *data = NULL;
	size_t len = 0;
	int err;

	if (s->err < 0)
		return;
	pci_name(full, name, place);
	err = pci_save(dev, &data, &len);
	put_taken(s, err, KIND_PCI, full, data, len);
}

static void put_accel(struct file *s)
{
	const struct accel *a = s->m->accel;
	uint8_t *data = NULL;
	size_t len = 0;

	if (s->err == 0 && a->save != NULL)
		s->err = a->save(s->m, &data, &len, s->e);
	if (s->err == 0)
		put_record(s, KIND_ACCEL, a->name, data, len);
	free(data);
}

static void put_machine(struct file *s)
{
	struct twx_machine *m = s->m;
	struct header h = { .version = le32_make(VERSION),
			    .n_cpus = le32_make(m->n_cpus),
			    .ram_low = le64_make(m->ram_low),
			    .ram_high = le64_make(m->ram_high) };

	memcpy(h.magic, magic, sizeof(magic));
	put(s, &h, sizeof(h));
	put_ram(s);
	for (struct board_dev *d = m->devs; d != NULL && s->err == 0; d = d->next) {
		uint8_t *data = NULL;
		size_t len = 0;
		int err;

		if (d->state.sections == NULL)
			continue;
		err = state_save(&d->state, 1, &data, &len);
		put_taken(s, err, KIND_BOARD, d->name, data, len);
	}
	pci_bus_each(m->pci, put_function, s);
	put_accel(s);
	put_record(s, KIND_END, "", NULL, 0);
	if (s->err == 0 && (fflush(s->f) != 0 || fsync(fileno(s->f)) < 0))
		failed(s, errno, strerror(errno));
}

static int save_to(struct file *s, const char *tmp)
{
	int fd = hostops_open(machine_hostops(s->m), tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW,
			      0600);

	if (fd < 0)
		return twx_error_set(s->e, -fd, "cannot save to %s: %s", tmp, strerror(-fd));
	s->f = fdopen(fd, "wb");
	if (s->f == NULL) {
		close(fd);
		return twx_error_set(s->e, ENOMEM, "%s: out of memory", s->path);
	}
	put_machine(s);
	if (fclose(s->f) != 0)
		failed(s, errno, strerror(errno));
	if (s->err == 0) {
		int err = hostops_rename(machine_hostops(s->m), tmp, s->path);

		if (err < 0)
			failed(s, -err, strerror(-err));
	}
	if (s->err < 0)
		(void)hostops_unlink(machine_hostops(s->m), tmp);
	return s->err;
}

int twx_machine_save(struct twx_machine *m, const char *path, struct twx_error *e)
{
	struct twx_error own;
	struct file s = { .m = m, .path = path, .e = e != NULL ? e : &own };
	bool running = m->running;
	char *tmp = NULL;
	int err;

	if (!m->started)
		return twx_error_set(s.e, EINVAL, "the machine has not been started");
	if (asprintf(&tmp, "%s.part", path) < 0)
		return twx_error_set(s.e, ENOMEM, "%s: out of memory", path);
	if (running)
		machine_halt(m);
	err = save_to(&s, tmp);
	free(tmp);
	if (running) {
		int back = machine_go(m, err == 0 ? s.e : &own);

		err = err == 0 ? back : err;
	}
	return err;
}

/* Loading */

struct seen {
	const void *obj;
	struct seen *next;
};

struct loader {
	struct file s;
	struct seen *seen; /* devices and functions that had their record */
	bool ram, accel;
	/* What a walk over the bus looks for, and finds. */
	const char *name;
	struct pci_dev *dev;
	unsigned int n_functions, n_loaded;
};

static bool get(struct file *s, void *p, size_t len)
{
	if (s->err == 0 && len > 0 && fread(p, len, 1, s->f) != 1)
		failed(s, feof(s->f) ? EINVAL : errno,
		       feof(s->f) ? "the file was cut" : strerror(errno));
	return s->err == 0;
}

static int once(struct loader *l, const void *obj)
{
	struct seen *seen;

	for (seen = l->seen; seen != NULL; seen = seen->next)
		if (seen->obj == obj)
			return -EEXIST;
	seen = malloc(sizeof(*seen));
	if (seen == NULL)
		return -ENOMEM;
	*seen = (struct seen){ obj, l->seen };
	l->seen = seen;
	return 0;
}

static void get_ram(struct loader *l)
{
	struct file *s = &l->s;
	uint64_t next = 0;
	struct run run;

	if (l->ram)
		failed(s, EINVAL, "memory twice");
	l->ram = true;
	while (get(s, &run, sizeof(run)) && le32_get(run.n_pages) != 0) {
		uint64_t addr = le64_get(run.addr), len = (uint64_t)le32_get(run.n_pages) * PAGE;
		void *p = len <= (uint64_t)RUN_MAX * PAGE && addr >= next
				  ? mem_ptr(s->m->ram, (gpa){ addr }, len)
				  : NULL;

		if (p == NULL)
			failed(s, EINVAL, "memory that this machine does not have");
		if (p == NULL || !get(s, p, len))
			return;
		next = addr + len;
	}
}

static void find_function(void *opaque, struct pci_dev *dev, const char *name, const char *place)
{
	char full[NAME_MAX_LEN];
	struct loader *l = opaque;

	pci_name(full, name, place);
	l->n_functions++;
	if (l->name != NULL && strcmp(full, l->name) == 0)
		l->dev = dev;
}

static int load_pci(struct loader *l, const char *name, const uint8_t *data, size_t len)
{
	int err;

	l->name = name;
	l->dev = NULL;
	pci_bus_each(l->s.m->pci, find_function, l);
	if (l->dev == NULL)
		return twx_error_set(l->s.e, ENODEV,
				     "it has a function '%s', which this machine has not", name);
	err = once(l, l->dev);
	if (err < 0)
		return twx_error_set(l->s.e, -err, "%s: %s", name, strerror(-err));
	l->n_loaded++;
	return pci_load(l->dev, data, len, l->s.e);
}

static int load_board(struct loader *l, const char *name, const uint8_t *data, size_t len)
{
	struct board_dev *d = l->s.m->devs;
	int err;

	while (d != NULL && (d->state.sections == NULL || strcmp(d->name, name) != 0))
		d = d->next;
	if (d == NULL)
		return twx_error_set(l->s.e, ENODEV,
				     "it has a device '%s', which this machine has not", name);
	err = once(l, d);
	if (err < 0)
		return twx_error_set(l->s.e, -err, "%s: %s", name, strerror(-err));
	return state_load(&d->state, 1, data, len, l->s.e);
}

static int load_accel(struct loader *l, const char *name, const uint8_t *data, size_t len)
{
	struct twx_machine *m = l->s.m;

	if (strcmp(name, m->accel->name) != 0 || l->accel)
		return twx_error_set(l->s.e, EINVAL, "it is of accelerator '%s', this one is '%s'",
				     name, m->accel->name);
	l->accel = true;
	/* One without state has an empty record. */
	if (m->accel->load == NULL)
		return len == 0 ? 0 : twx_error_set(l->s.e, EINVAL, "it has a state of '%s'", name);
	return m->accel->load(m, data, len, l->s.e);
}

/* One record but `ram`; @name ends with a NUL. */
static void get_part(struct loader *l, enum kind kind, const char *name, uint64_t len)
{
	struct file *s = &l->s;
	uint8_t *data;
	int err = 0;

	if (len > (kind == KIND_ACCEL ? ACCEL_MAX : STATE_MAX)) {
		failed(s, EINVAL, "a record larger than any that is written");
		return;
	}
	data = malloc(len + 1);
	if (data == NULL)
		failed(s, ENOMEM, "out of memory");
	if (data != NULL && get(s, data, len)) {
		if (kind == KIND_PCI)
			err = load_pci(l, name, data, len);
		else if (kind == KIND_BOARD)
			err = load_board(l, name, data, len);
		else
			err = load_accel(l, name, data, len);
		if (err < 0) {
			twx_error_prefix(s->e, "%s: %s: ", s->path, kind_name[kind]);
			s->err = err;
		}
	}
	free(data);
}

/* False at the end, or after an error. */
static bool get_record(struct loader *l)
{
	struct file *s = &l->s;
	char name[NAME_MAX_LEN + 1] = "";
	uint32_t kind, name_len;
	struct record r;

	if (!get(s, &r, sizeof(r)))
		return false;
	kind = le32_get(r.kind);
	name_len = le32_get(r.name_len);
	if (name_len > NAME_MAX_LEN) {
		failed(s, EINVAL, "a record's name is too long");
		return false;
	}
	if (!get(s, name, name_len))
		return false;
	if (kind == KIND_END)
		return false;
	if (kind == KIND_RAM)
		get_ram(l);
	else if (kind == KIND_BOARD || kind == KIND_PCI || kind == KIND_ACCEL)
		get_part(l, kind, name, le64_get(r.len));
	else
		failed(s, EINVAL, "a record of a kind that there is not");
	return s->err == 0;
}

static void get_header(struct file *s)
{
	const struct twx_machine *m = s->m;
	struct header h;

	if (!get(s, &h, sizeof(h)))
		return;
	if (memcmp(h.magic, magic, sizeof(magic)) != 0)
		failed(s, EINVAL, "this is no saved machine");
	else if (le32_get(h.version) != VERSION)
		failed(s, EINVAL, "it was saved by another version of twinax");
	else if (le32_get(h.n_cpus) != m->n_cpus)
		failed(s, EINVAL, "it has another number of CPUs (-smp)");
	else if (le64_get(h.ram_low) != m->ram_low || le64_get(h.ram_high) != m->ram_high)
		failed(s, EINVAL, "its memory has another size (-m)");
}

static void check_complete(struct loader *l)
{
	struct twx_machine *m = l->s.m;
	struct seen *seen;

	if (!l->ram || (m->accel->load != NULL && !l->accel))
		failed(&l->s, EINVAL, "memory or CPUs are not in it");
	l->n_functions = 0;
	l->name = NULL;
	pci_bus_each(m->pci, find_function, l);
	if (l->n_functions != l->n_loaded)
		failed(&l->s, EINVAL, "this machine has NICs or ports that are not in it");
	for (struct board_dev *d = m->devs; d != NULL; d = d->next) {
		for (seen = l->seen; seen != NULL && seen->obj != d; seen = seen->next)
			;
		if (seen == NULL && d->state.sections != NULL)
			failed(&l->s, EINVAL, "a device of the board is not in it");
	}
}

static int load_from(struct loader *l)
{
	struct file *s = &l->s;

	get_header(s);
	while (s->err == 0 && get_record(l))
		;
	if (s->err == 0)
		check_complete(l);
	while (l->seen != NULL) {
		struct seen *seen = l->seen;

		l->seen = seen->next;
		free(seen);
	}
	return s->err;
}

int twx_machine_load(struct twx_machine *m, const char *path, struct twx_error *e)
{
	struct twx_error own;
	struct loader l = { .s = { .m = m, .path = path, .e = e != NULL ? e : &own } };
	int fd, err;

	e = l.s.e;
	err = machine_fresh(m, e);
	if (err < 0)
		return err;
	fd = hostops_open(machine_hostops(m), path, O_RDONLY, 0);
	if (fd < 0)
		return twx_error_set(e, -fd, "cannot load %s: %s", path, strerror(-fd));
	l.s.f = fdopen(fd, "rb");
	if (l.s.f == NULL) {
		close(fd);
		return twx_error_set(e, ENOMEM, "%s: out of memory", path);
	}
	err = machine_power_on(m, false, e);
	if (err == 0)
		err = load_from(&l);
	fclose(l.s.f);
	m->spoilt = err < 0 && l.ram;
	if (err < 0)
		return err;
	m->started = true;
	return machine_go(m, e);
}
