/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * CPUs as threads: into the guest, out of it for what KVM cannot do by itself, and in again.
 *
 * Each CPU has a thread from the machine's making to its end. A thread waits until the machine runs
 * (kvm_threads_run() begins a turn), stays in its inner loop while it does, and waits again. A CPU
 * whose guest cannot go on (triple fault, an exit that nobody knows) leaves its turn by itself and
 * asks the loop for a reset or for the end.
 *
 * Getting a CPU out. A thread in KVM_RUN comes out for a signal, and one about to go in does not go
 * when run->immediate_exit is set; kvm_threads_pause() does both. The library has no signal
 * handlers, and needs none: CPU threads have all signals blocked, KVM_SET_SIGNAL_MASK unblocks one
 * for the time in the guest, and KVM_RUN puts the mask back before it returns, so that the signal
 * is still pending then and is eaten by sigtimedwait(). The program's own signals never go to these
 * threads.
 *
 * An access that has been carried out is finished only by the next KVM_RUN (the result goes to a
 * register, the instruction pointer moves). So a CPU leaves its turn where KVM_RUN says EINTR and
 * nowhere else: then the state that can be read is whole.
 *
 * Locks. k->lock guards the turns and is never held outside of this file. A CPU takes the loop's
 * lock only within machine_mmio(), machine_pio() and to write to the log; kvm_threads_pause() runs
 * on the loop and lets such CPUs in while it waits (twx_loop_yield()).
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "base/macros.h"
#include "hosts/machine/kvm.h"

/* One that nobody sends: Linux has it for a coprocessor that there never was. */
#define KICK_SIGNAL SIGSTKFLT
/* What the kernel takes for a signal set, and how long the library's is. */
#define KERNEL_SIGSET_LEN 8u

/* For the log, from a CPU's thread. */
__attribute__((format(printf, 2, 3))) static void say(struct kvm_cpu *c, const char *fmt, ...)
{
	struct twx_machine *m = c->k->m;
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	twx_loop_enter(m->loop);
	twx_log(m->net, TWX_LOG_ERROR, "machine: CPU %u stops: %s", c->id, text);
	twx_loop_leave(m->loop);
}

static uint64_t where(struct kvm_cpu *c)
{
	struct kvm_regs regs = { 0 };

	(void)kvm_do(c->fd, KVM_GET_REGS, &regs);
	return regs.rip;
}

/* Each exit's handler; false: this CPU's turn is over. */

static bool exit_io(struct kvm_cpu *c)
{
	struct kvm_run *run = c->run;
	bool write = run->io.direction == KVM_EXIT_IO_OUT;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size)
		machine_pio(c->k->m, c->id, run->io.port, data, run->io.size, write);
	return true;
}

static bool exit_mmio(struct kvm_cpu *c)
{
	struct kvm_run *run = c->run;

	machine_mmio(c->k->m, c->id, run->mmio.phys_addr, run->mmio.data, run->mmio.len,
		     run->mmio.is_write);
	return true;
}

/* Without an interrupt controller of the kernel's only; then nothing could wake it. */
static bool exit_halt(struct kvm_cpu *c)
{
	say(c, "halted for good at %#llx", (unsigned long long)where(c));
	machine_ask(c->k->m, MACHINE_ASK_PANIC);
	return false;
}

/* A triple fault: a PC's chipset resets the machine. */
static bool exit_shutdown(struct kvm_cpu *c)
{
	machine_ask(c->k->m, MACHINE_ASK_RESET);
	return false;
}

static bool exit_system(struct kvm_cpu *c)
{
	switch (c->run->system_event.type) {
	case KVM_SYSTEM_EVENT_RESET:
		machine_ask(c->k->m, MACHINE_ASK_RESET);
		return false;
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		machine_ask(c->k->m, MACHINE_ASK_SHUTDOWN);
		return false;
	}
	say(c, "the guest says that it has crashed (event %u)", c->run->system_event.type);
	machine_ask(c->k->m, MACHINE_ASK_PANIC);
	return false;
}

static bool exit_internal(struct kvm_cpu *c)
{
	struct kvm_run *run = c->run;
	uint64_t rip = where(c);

	if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION)
		say(c, "KVM cannot emulate the instruction at %#llx", (unsigned long long)rip);
	else
		say(c, "KVM's internal error %u at %#llx", run->internal.suberror,
		    (unsigned long long)rip);
	machine_ask(c->k->m, MACHINE_ASK_PANIC);
	return false;
}

static bool exit_refused(struct kvm_cpu *c)
{
	say(c, "the processor refuses its state, reason %#llx, at %#llx",
	    (unsigned long long)c->run->fail_entry.hardware_entry_failure_reason,
	    (unsigned long long)where(c));
	machine_ask(c->k->m, MACHINE_ASK_PANIC);
	return false;
}

static bool exit_nothing(struct kvm_cpu *c)
{
	(void)c;
	return true;
}

static bool exit_unknown(struct kvm_cpu *c)
{
	say(c, "KVM's exit %u, which is none of ours, at %#llx", c->run->exit_reason,
	    (unsigned long long)where(c));
	machine_ask(c->k->m, MACHINE_ASK_PANIC);
	return false;
}

static bool (*const exits[])(struct kvm_cpu *) = {
	[KVM_EXIT_IO] = exit_io,
	[KVM_EXIT_HLT] = exit_halt,
	[KVM_EXIT_MMIO] = exit_mmio,
	[KVM_EXIT_IRQ_WINDOW_OPEN] = exit_nothing,
	[KVM_EXIT_SHUTDOWN] = exit_shutdown,
	[KVM_EXIT_FAIL_ENTRY] = exit_refused,
	[KVM_EXIT_INTR] = exit_nothing,
	[KVM_EXIT_INTERNAL_ERROR] = exit_internal,
	[KVM_EXIT_SYSTEM_EVENT] = exit_system,
};

static bool handle(struct kvm_cpu *c)
{
	uint32_t reason = c->run->exit_reason;

	kvm_lazy_drain(c->k, c->id);
	if (reason < array_size(exits) && exits[reason])
		return exits[reason](c);
	return exit_unknown(c);
}

static void set_immediate(struct kvm_cpu *c, bool on)
{
	__atomic_store_n(&c->run->immediate_exit, on, __ATOMIC_SEQ_CST);
}

/*
 * The flag that kept this CPU out goes before it looks whether it is to stay out: whoever wants it
 * out clears k->go first and sets the flag afterwards, so one of the two sees the other.
 */
static bool shall_go(struct kvm_cpu *c)
{
	static const struct timespec now = { 0 };
	sigset_t kick;

	set_immediate(c, false);
	sigemptyset(&kick);
	sigaddset(&kick, KICK_SIGNAL);
	while (sigtimedwait(&kick, NULL, &now) > 0)
		;
	return atomic_load(&c->k->go);
}

static void take_turn(struct kvm_cpu *c)
{
	bool leaving = false;

	if (!shall_go(c))
		return;
	for (;;) {
		if (ioctl(c->fd, KVM_RUN, 0) == 0) {
			if (!handle(c)) {
				/* Once more, to finish what the exit was about. */
				leaving = true;
				set_immediate(c, true);
			}
		} else if (errno == EINTR || errno == EAGAIN) {
			if (leaving || !shall_go(c))
				return;
			kvm_lazy_drain(c->k, c->id);
		} else {
			say(c, "KVM cannot run it: %s, at %#llx", strerror(errno),
			    (unsigned long long)where(c));
			machine_ask(c->k->m, MACHINE_ASK_PANIC);
			return;
		}
	}
}

static void *cpu_main(void *opaque)
{
	struct kvm_cpu *c = opaque;
	struct kvm *k = c->k;

	pthread_mutex_lock(&k->lock);
	while (!k->quit) {
		if (c->turn == k->turn) {
			pthread_cond_wait(&k->go_cond, &k->lock);
			continue;
		}
		c->turn = k->turn;
		pthread_mutex_unlock(&k->lock);
		take_turn(c);
		pthread_mutex_lock(&k->lock);
		k->n_in--;
		pthread_cond_signal(&k->out_cond);
	}
	pthread_mutex_unlock(&k->lock);
	return NULL;
}

/* All signals but the kick stay blocked in the guest too. */
static int set_mask(struct kvm_cpu *c)
{
	struct {
		struct kvm_signal_mask head;
		uint8_t set[KERNEL_SIGSET_LEN];
	} mask = { .head.len = KERNEL_SIGSET_LEN };
	uint64_t bits = ~(1ull << (KICK_SIGNAL - 1));

	memcpy(mask.head.sigset, &bits, sizeof(bits));
	return kvm_do(c->fd, KVM_SET_SIGNAL_MASK, &mask);
}

static int start_thread(struct kvm_cpu *c)
{
	char name[16];
	int err = set_mask(c);

	if (err < 0)
		return err;
	err = pthread_create(&c->thread, NULL, cpu_main, c);
	if (err)
		return -err;
	c->has_thread = true;
	snprintf(name, sizeof(name), "CPU %u/KVM", c->id);
	(void)pthread_setname_np(c->thread, name);
	return 0;
}

int kvm_threads_start(struct kvm *k, struct twx_error *e)
{
	sigset_t all, before;
	int err = 0;

	/* Threads inherit the mask. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (unsigned int i = 0; !err && i < k->n_cpus; i++)
		err = start_thread(&k->cpus[i]);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err < 0)
		return twx_error_set(e, -err, "cannot start a thread for each CPU: %s",
				     strerror(-err));
	return 0;
}

void kvm_threads_run(struct kvm *k)
{
	pthread_mutex_lock(&k->lock);
	if (!atomic_load(&k->go)) {
		atomic_store(&k->go, true);
		k->turn++;
		k->n_in = k->n_cpus;
		pthread_cond_broadcast(&k->go_cond);
	}
	pthread_mutex_unlock(&k->lock);
}

void kvm_kick(struct kvm *k)
{
	if (k->cpus[0].has_thread && atomic_load(&k->go))
		pthread_kill(k->cpus[0].thread, KICK_SIGNAL);
}

static void wait_out(struct kvm *k)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	pthread_cond_timedwait(&k->out_cond, &k->lock, &until);
}

bool kvm_threads_pause(struct kvm *k)
{
	bool was;

	pthread_mutex_lock(&k->lock);
	was = atomic_exchange(&k->go, false);
	if (was)
		for (unsigned int i = 0; i < k->n_cpus; i++) {
			set_immediate(&k->cpus[i], true);
			pthread_kill(k->cpus[i].thread, KICK_SIGNAL);
		}
	while (k->n_in > 0) {
		/* Some may wait for the loop, to finish an access. */
		pthread_mutex_unlock(&k->lock);
		twx_loop_yield(k->m->loop);
		pthread_mutex_lock(&k->lock);
		if (k->n_in > 0)
			wait_out(k);
	}
	pthread_mutex_unlock(&k->lock);
	return was;
}

void kvm_threads_end(struct kvm *k)
{
	kvm_threads_pause(k);
	pthread_mutex_lock(&k->lock);
	k->quit = true;
	pthread_cond_broadcast(&k->go_cond);
	pthread_mutex_unlock(&k->lock);
	for (unsigned int i = 0; i < k->n_cpus; i++)
		if (k->cpus[i].has_thread)
			pthread_join(k->cpus[i].thread, NULL);
}
