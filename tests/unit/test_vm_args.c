/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of `twinax vm`: what becomes of it, and the sentences where nothing does; the
 * keys of its console. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/macros.h"
#include "cli/console.h"
#include "cli/vm_args.h"

#define MAX_WORDS 64

/* Words are parted by blanks; '~' in a word stands for a blank. */
struct sample {
	const char *args;
	const char *items; /* a line each */
	const char *error; /* "what|hint" */
};

static const struct sample networks[] = {
	/* QEMU's default: an e1000 and `user` on hub 0. */
	{ .args = "-kernel k",
	  .items = "-netdev user,id=net0\n"
		   "-netdev hubport,id=hub0port0,hubid=0\n"
		   "-netdev hubport,id=hub0port1,hubid=0,netdev=net0\n"
		   "-device e1000,netdev=hub0port0\n" },
	/* A device alone does not take it away; a netdev does, and so do the others. */
	{ .args = "-device e1000,mac=2:0:0:0:0:9",
	  .items = "-netdev user,id=net0\n"
		   "-netdev hubport,id=hub0port0,hubid=0\n"
		   "-netdev hubport,id=hub0port1,hubid=0,netdev=net0\n"
		   "-device e1000,netdev=hub0port0\n"
		   "-device e1000,mac=02:00:00:00:00:09\n" },
	{ .args = "-netdev user,id=n0 -device e1000,netdev=n0",
	  .items = "-netdev user,id=n0\n-device e1000,netdev=n0\n" },
	{ .args = "--netdev user,id=n0 --device e1000,netdev=n0",
	  .items = "-netdev user,id=n0\n-device e1000,netdev=n0\n" },
	{ .args = "-nodefaults", .items = "" },
	{ .args = "-net none", .items = "" },
	{ .args = "-nic none", .items = "" },
	/* Any machine's default model is the one that there is. */
	{ .args = "-M q35 -nic user,hostfwd=tcp::1-:2,mac=02:00:00:00:00:01",
	  .items = "-netdev user,hostfwd=tcp::1-:2,id=net0\n"
		   "-device e1000,netdev=net0,mac=02:00:00:00:00:01\n" },
	{ .args = "-nic tap,ifname=t,model=virtio -nic hubport,hubid=2,id=h",
	  .items = "-netdev tap,ifname=t,id=net0\n"
		   "-netdev hubport,hubid=2,id=h\n"
		   "-device virtio-net-pci,netdev=net0\n"
		   "-device e1000,netdev=h\n" },
	/* Hubs: ports in the order of the command line, NICs of -net before those of -device. */
	{ .args = "-device e1000,netdev=a -netdev user,id=a -net nic,model=virtio,macaddr=1 "
		  "-net user,restrict=on",
	  .items = "-netdev user,id=a\n"
		   "-netdev user,restrict=on,id=net0\n"
		   "-netdev hubport,id=hub0port0,hubid=0\n"
		   "-netdev hubport,id=hub0port1,hubid=0,netdev=net0\n"
		   "-device virtio-net-pci,mac=52:54:00:00:00:01,netdev=hub0port0\n"
		   "-device e1000,netdev=a\n" },
	{ .args = "-net nic,vlan=1,name=card -net user,vlan=1,name=slirp -net nic -net "
		  "tap,vlan=0x2 "
		  "-net nic,vlan=2,addr=5",
	  .items = "-netdev user,id=slirp\n"
		   "-netdev tap,id=net0\n"
		   "-netdev hubport,id=hub1port0,hubid=1\n"
		   "-netdev hubport,id=hub1port1,hubid=1,netdev=slirp\n"
		   "-netdev hubport,id=hub0port0,hubid=0\n"
		   "-netdev hubport,id=hub2port0,hubid=2,netdev=net0\n"
		   "-netdev hubport,id=hub2port1,hubid=2\n"
		   "-device e1000,id=card,netdev=hub1port0\n"
		   "-device e1000,netdev=hub0port0\n"
		   "-device e1000,addr=5,netdev=hub2port1\n" },
	/* A port of the user's own counts. */
	{ .args = "-netdev hubport,id=p,hubid=0 -device e1000,netdev=p -net user",
	  .items = "-netdev hubport,id=p,hubid=0\n"
		   "-netdev user,id=net0\n"
		   "-netdev hubport,id=hub0port1,hubid=0,netdev=net0\n"
		   "-device e1000,netdev=p\n" },
	{ .args = "-net nic,netdev=a -netdev user,id=a",
	  .items = "-netdev user,id=a\n-device e1000,netdev=a\n" },
	/* A dump hears a hub at any of its ports, or makes one. */
	{ .args = "-net nic,vlan=3 -net dump,vlan=3,file=/tmp/a,len=99 -net dump",
	  .items = "-netdev hubport,id=hub3port0,hubid=3\n"
		   "-object filter-dump,file=/tmp/a,maxlen=99,id=dump0,netdev=hub3port0\n"
		   "-netdev hubport,id=hub0port0,hubid=0\n"
		   "-object filter-dump,id=dump1,file=qemu-vlan0.pcap,netdev=hub0port0\n"
		   "-device e1000,netdev=hub3port0\n" },
	/* What is no NIC of ours is for the machine, or for the library to refuse; JSON comes last.
	 */
	{ .args = "-nodefaults -device {\"driver\":\"e1000\",\"id\":\"x\"} -device "
		  "pcie-root-port,id=rp0 -device frob -object filter-x,id=f -set "
		  "device.x.mac=2:0:0:0:0:1 "
		  "-chardev null,id=c -qmp unix:/q",
	  .items = "-chardev null,id=c\n"
		   "-qmp unix:/q\n"
		   "-object filter-x,id=f\n"
		   "-device pcie-root-port,id=rp0\n"
		   "-device frob\n"
		   "-device {\"driver\":\"e1000\",\"id\":\"x\",\"mac\":\"02:00:00:00:00:01\"}\n" },
	/* Serial ports that need a chardev get one. */
	{ .args = "-nodefaults -serial null -serial file:/a,b -serial unix:/s,server=on,wait=off "
		  "-serial pipe:/p",
	  .items = "-chardev null,id=serial0\n"
		   "-chardev file,path=/a,,b,id=serial1\n"
		   "-chardev socket,path=/s,server=on,wait=off,id=serial2\n"
		   "-chardev pipe,path=/p,id=serial3\n" },
	{ .args = "-nodefaults -chardev socket,path=/s,id=c -mon chardev=c,mode=control",
	  .items = "-chardev socket,path=/s,id=c\n"
		   "-qmp unix:path=/s,server=off\n" },
	{ .args = "-nodefaults -chardev socket,id=c,path=/s,server=on,wait=off -mon "
		  "chardev=c,mode=control",
	  .items = "-chardev socket,id=c,path=/s,server=on,wait=off\n"
		   "-qmp unix:path=/s,server=on,wait=off\n" },
};

#define QEMU_HAS(option)                                                                           \
	"|QEMU has, with our NICs: twinax qemu -- qemu-system-x86_64 ... " option " ..."
#define QEMU_HELP "|what this machine does not have is in QEMU, with our NICs: twinax help qemu"

static const struct sample errors[] = {
	{ .args = "-frob", .error = "-frob: invalid option|try: twinax help vm" },
	{ .args = "-kernel", .error = "-kernel: requires an argument|" },
	{ .args = "disk.img", .error = "disk.img: this machine has no disks" QEMU_HAS("disk.img") },
	{ .args = "-drive file=x",
	  .error = "-drive: this machine has no disks" QEMU_HAS("-drive") },
	{ .args = "-hda x", .error = "-hda: this machine has no disks" QEMU_HAS("-hda") },
	{ .args = "--bios x", .error = "--bios: this machine has no firmware" QEMU_HAS("--bios") },
	{ .args = "-boot n", .error = "-boot: this machine has no firmware" QEMU_HAS("-boot") },
	{ .args = "-vnc :1", .error = "-vnc: this machine has no display" QEMU_HAS("-vnc") },
	{ .args = "-usb", .error = "-usb: this machine has no USB" QEMU_HAS("-usb") },
	{ .args = "-icount 1",
	  .error =
		  "-icount: this machine does not have that option of QEMU's" QEMU_HAS("-icount") },
	{ .args = "-cpu qemu64",
	  .error =
		  "-cpu qemu64: this machine takes -cpu host|max and nothing else|QEMU has others, "
		  "with our NICs: twinax qemu -- qemu-system-x86_64 ... -cpu qemu64 ..." },
	{ .args = "-cpu hos",
	  .error = "-cpu hos: this machine takes -cpu host|max and nothing else|QEMU has others, "
		   "with "
		   "our NICs: twinax qemu -- qemu-system-x86_64 ... -cpu hos ..." },
	{ .args = "-display gtk",
	  .error = "-display gtk: this machine takes -display none and nothing else|QEMU has "
		   "others, "
		   "with our NICs: twinax qemu -- qemu-system-x86_64 ... -display gtk ..." },
	{ .args = "-M microvm",
	  .error = "-M microvm: the machine here is a PC (pc or q35), not 'microvm'" QEMU_HELP },
	{ .args = "-machine pc,usb=on",
	  .error = "-machine pc,usb=on: Parameter 'usb' does not accept value 'on'|it takes one of "
		   "off" },
	{ .args = "-machine pc,memory-backend=m",
	  .error = "-machine pc,memory-backend=m: Invalid parameter 'memory-backend'" QEMU_HELP },
	{ .args = "-accel hvf",
	  .error = "-accel hvf: invalid accelerator hvf|there are kvm, qemu (CPU and memory of a "
		   "QEMU, tcg is the same without KVM) and qtest" },
	{ .args = "-accel kvm,binary=/x",
	  .error = "-accel kvm,binary=/x: binary= is the QEMU of -accel qemu|" },
	{ .args = "-accel kvm,kernel-irqchip=off",
	  .error =
		  "-accel kvm,kernel-irqchip=off: Parameter 'kernel-irqchip' does not accept value "
		  "'off'|it takes one of on" },
	{ .args = "-m 12x",
	  .error = "-m 12x: Parameter 'size' expects a size, not '12x'|a number of MiB, or one "
		   "with a "
		   "suffix: 512, 512M, 2G" },
	{ .args = "-m 1024G",
	  .error = "-m 1024G: 1024G is more than this machine can have, which is 508G|" },
	{ .args = "-m 1G,maxmem=2G",
	  .error = "-m 1G,maxmem=2G: Invalid parameter 'maxmem'" QEMU_HELP },
	{ .args = "-smp 9",
	  .error = "-smp 9: Parameter 'cpus' expects a value between 1 and 8" QEMU_HELP },
	{ .args = "-smp 0",
	  .error = "-smp 0: Parameter 'cpus' expects a value between 1 and 8" QEMU_HELP },
	{ .args = "-smp 2,maxcpus=4",
	  .error = "-smp 2,maxcpus=4: CPUs cannot be plugged in later: maxcpus=4 is not cpus=2|" },
	{ .args = "-smp 4,sockets=3",
	  .error = "-smp 4,sockets=3: Invalid CPU topology: sockets * cores is not 4|" },
	{ .args = "-smp 2,threads=2",
	  .error =
		  "-smp 2,threads=2: Parameter 'threads' does not accept value '2'|it takes one of "
		  "1" },
	{ .args = "-rtc base=localtime",
	  .error = "-rtc base=localtime: Parameter 'base' does not accept value 'localtime'|it "
		   "takes "
		   "one of utc" },
	{ .args = "-incoming tcp:0:1",
	  .error = "-incoming tcp:0:1: a machine is loaded from a file here|write -incoming "
		   "file:PATH, "
		   "or -loadvm PATH" },
	{ .args = "-serial vc",
	  .error = "-serial vc: there is no such serial device|it takes stdio, none, null, "
		   "file:PATH, "
		   "pipe:PATH, unix:PATH,server=on,wait=off or chardev:ID" },
	{ .args = "-serial none -serial none -serial none -serial none -serial none",
	  .error = "-serial none: this machine has 4 serial ports|" },
	{ .args = "-serial stdio -serial mon:stdio",
	  .error = "-serial mon:stdio: cannot use stdio by multiple character devices|" },
	{ .args = "-serial stdio -monitor stdio",
	  .error = "-monitor stdio: cannot use stdio by multiple character devices|" },
	{ .args = "-monitor vc",
	  .error = "-monitor vc: there is no such monitor|it takes none, stdio or "
		   "unix:PATH,server=on,wait=off" },
	{ .args = "-mon chardev=c,mode=control",
	  .error = "-mon chardev=c,mode=control: there is no -chardev socket,id=c,path=PATH|" },
	{ .args = "-chardev socket,id=c,path=/x -mon c",
	  .error = "-mon c: a monitor at a chardev speaks QMP here|add mode=control, or use "
		   "-monitor "
		   "unix:PATH" },
	{ .args = "-echr x", .error = "-echr x: 'x' is no code of a key, 0 to 255|" },
	{ .args = "-daemonize -nographic",
	  .error = "-daemonize: -nographic takes the terminal, which the background does not "
		   "have|" },
	{ .args = "-daemonize -serial stdio",
	  .error = "-daemonize: stdio takes the terminal, which the background does not have|" },
	{ .args = "-daemonize -chardev stdio,id=c",
	  .error = "-daemonize: stdio takes the terminal, which the background does not have|" },
	{ .args = "-chardev stdio,id=c -serial stdio",
	  .error = "cannot use stdio by multiple character devices|" },
	{ .args = "-qtest stdio -monitor stdio",
	  .error = "cannot use stdio by multiple character devices|" },
	{ .args = "-append x", .error = "-append only allowed with -kernel option|" },
	{ .args = "-initrd x -append x", .error = "-initrd only allowed with -kernel option|" },
	{ .args = "-accel qtest",
	  .error = "-accel qtest: nobody says what the machine shall do|add -qtest "
		   "unix:PATH,server=on,wait=off" },
	{ .args = "-accel kvm -qtest unix:/q",
	  .error = "-qtest: it takes the place of the CPUs, with -accel qtest|" },
	{ .args = "-accel kvm:qtest",
	  .error = "-accel qtest: it stands for no other accelerator|" },
	{ .args = "-qtest-log none", .error = "-qtest-log: there is no -qtest|" },
	/* Networks, in QEMU's words. */
	{ .args = "-net nic,vlan=-1",
	  .error = "-net nic,vlan=-1: Parameter 'vlan' expects a number from 0 up|" },
	{ .args = "-net user,vlan=one",
	  .error = "-net user,vlan=one: Parameter 'vlan' expects a number from 0 up|" },
	{ .args = "-netdev user,id=a -net nic,vlan=1,netdev=a",
	  .error =
		  "-net nic,vlan=1,netdev=a: a NIC is on a hub (vlan=) or on a netdev, not both|" },
	{ .args = "-net nic,frob=1", .error = "-net nic,frob=1: Invalid parameter 'frob'|" },
	{ .args = "-net dump,frob=1", .error = "-net dump,frob=1: Invalid parameter 'frob'|" },
	{ .args = "-net hubport,hubid=1",
	  .error = "-net hubport,hubid=1: network backend 'hubport' is only supported with "
		   "-netdev/-nic|" },
	{ .args = "-net nic,macaddr=01:00:00:00:00:01",
	  .error = "-net nic,macaddr=01:00:00:00:00:01: NIC cannot have multicast MAC address (odd "
		   "1st byte)|" },
	{ .args = "-device e1000,mac=01:00:00:00:00:01",
	  .error =
		  "-device e1000,mac=01:00:00:00:00:01: NIC cannot have multicast MAC address (odd "
		  "1st byte)|" },
	{ .args = "-netdev user", .error = "-netdev user: Parameter 'id' is missing|" },
	{ .args = "-netdev user,id=a -netdev user,id=a",
	  .error = "-netdev user,id=a: Duplicate ID 'a' for netdev|" },
	{ .args = "-set device.x.mac=1",
	  .error =
		  "-set device.x.mac=1: there is nothing of that name|it takes device.ID.KEY=VALUE "
		  "or netdev.ID.KEY=VALUE" },
};

struct words {
	char *text;
	char *argv[MAX_WORDS + 1];
	int argc;
};

static void split(struct words *w, const char *line)
{
	char *save, *word;

	assert_true(asprintf(&w->text, "vm %s", line) > 0);
	w->argc = 0;
	for (word = strtok_r(w->text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		assert_true(w->argc < MAX_WORDS);
		for (char *c = word; *c; c++)
			if (*c == '~')
				*c = ' ';
		w->argv[w->argc++] = word;
	}
	w->argv[w->argc] = NULL;
}

static void parse(struct vm_args *a, struct words *w, const char *line)
{
	struct twx_error e = { 0 };

	split(w, line);
	if (vm_args_parse(a, w->argc, w->argv, &e)) {
		print_error("%s: %s\n", line, e.what);
		fail();
	}
}

static void done(struct vm_args *a, struct words *w)
{
	vm_args_free(a);
	free(w->text);
}

static void same(const char *line, const char *got, const char *wanted)
{
	if (!strcmp(got, wanted))
		return;
	print_error("command line: %s\ngot:    %s\nwanted: %s\n", line, got, wanted);
	fail();
}

static void test_networks(void **state)
{
	for (size_t i = 0; i < array_size(networks); i++) {
		struct vm_args a;
		struct words w;
		char *text = NULL;
		size_t len;
		FILE *f = open_memstream(&text, &len);

		parse(&a, &w, networks[i].args);
		for (size_t k = 0; k < a.n_items; k++)
			fprintf(f, "-%s %s\n", session_option[a.items[k].kind], a.items[k].text);
		fclose(f);
		same(networks[i].args, text, networks[i].items);
		free(text);
		done(&a, &w);
	}
}

static void test_errors(void **state)
{
	for (size_t i = 0; i < array_size(errors); i++) {
		struct twx_error e = { 0 };
		struct vm_args a;
		struct words w;
		char *text;
		int ret;

		split(&w, errors[i].args);
		ret = vm_args_parse(&a, w.argc, w.argv, &e);
		assert_true(ret < 0 && ret == -e.code);
		assert_true(asprintf(&text, "%s|%s", e.what, e.hint) > 0);
		same(errors[i].args, text, errors[i].error);
		free(text);
		done(&a, &w);
	}
}

static void test_machine(void **state)
{
	struct vm_args a;
	struct words w;

	parse(&a, &w,
	      "-M pc-q35-7.2,accel=kvm:tcg,usb=off -cpu host -enable-kvm -kernel K -initrd I "
	      "-append "
	      "a~b -m size=1.5G -smp 4,sockets=2,cores=2 -name guest=n,process=p -pidfile P -S "
	      "-no-reboot -no-shutdown -display none -vga none -parallel none -no-hpet -rtc "
	      "base=utc "
	      "-loadvm F -echr 2");
	assert_string_equal(a.machine, "pc-q35-7.2");
	assert_int_equal(a.n_accels, 3);
	assert_int_equal(a.accels[0], VM_KVM);
	assert_int_equal(a.accels[1], VM_QEMU);
	assert_int_equal(a.accels[2], VM_KVM);
	assert_true(a.tcg);
	assert_string_equal(a.kernel, "K");
	assert_string_equal(a.initrd, "I");
	assert_string_equal(a.append, "a b");
	assert_string_equal(a.name, "n");
	assert_string_equal(a.process, "p");
	assert_string_equal(a.pidfile, "P");
	assert_string_equal(a.load, "F");
	assert_int_equal(a.memory, 1536ull << 20);
	assert_int_equal(a.n_cpus, 4);
	assert_int_equal(a.escape, 2);
	assert_true(a.hold && a.no_reboot && a.no_shutdown && !a.daemonize);
	done(&a, &w);

	parse(&a, &w, "-smp sockets=2,cores=3 -incoming file:/x -m 0");
	assert_int_equal(a.n_cpus, 6);
	assert_int_equal(a.memory, 0);
	assert_string_equal(a.load, "/x");
	done(&a, &w);
}

/* The console is there unless somebody says otherwise. */
static void test_serials(void **state)
{
	static const struct {
		const char *args;
		unsigned int n;
		enum vm_serial_kind first;
	} cases[] = {
		{ "-kernel k", 1, VM_SERIAL_STDIO },
		{ "-nographic", 1, VM_SERIAL_STDIO },
		{ "-nodefaults", 0, VM_SERIAL_NONE },
		{ "-daemonize", 0, VM_SERIAL_NONE },
		{ "-qtest unix:/q", 0, VM_SERIAL_NONE },
		{ "-monitor stdio", 0, VM_SERIAL_NONE },
		{ "-serial none", 1, VM_SERIAL_NONE },
		{ "-nodefaults -serial mon:stdio", 1, VM_SERIAL_STDIO },
		{ "-serial chardev:c", 1, VM_SERIAL_CHARDEV },
		{ "-chardev stdio,id=c", 0, VM_SERIAL_NONE },
	};

	for (size_t i = 0; i < array_size(cases); i++) {
		struct vm_args a;
		struct words w;

		parse(&a, &w, cases[i].args);
		assert_int_equal(a.n_serials, cases[i].n);
		assert_int_equal(a.serial[0].kind, cases[i].first);
		done(&a, &w);
	}
}

/* QEMU's own test clients start it so. */
static void test_qtest(void **state)
{
	struct vm_args a;
	struct words w;

	parse(&a, &w,
	      "-M pc -m 64 -display none -nodefaults -qtest unix:/q,server=on,wait=off -qtest-log "
	      "none");
	assert_int_equal(a.n_accels, 1);
	assert_int_equal(a.accels[0], VM_QTEST);
	assert_string_equal(a.qtest, "unix:/q,server=on,wait=off");
	assert_string_equal(a.qtest_log, "none");
	done(&a, &w);
	parse(&a, &w, "-M pc,accel=qtest -accel qtest -qtest unix:/q");
	assert_int_equal(a.accels[0], VM_QTEST);
	done(&a, &w);
}

static void test_asks(void **state)
{
	static const struct {
		const char *args;
		enum vm_ask ask;
	} cases[] = {
		{ "-help", VM_ASK_USAGE },
		{ "--help", VM_ASK_USAGE },
		{ "-h", VM_ASK_USAGE },
		{ "-version", VM_ASK_VERSION },
		{ "-netdev help", VM_ASK_OPTION },
		{ "-device e1000,help", VM_ASK_OPTION },
		{ "-net nic,model=?", VM_ASK_OPTION },
		{ "-append help -kernel ?", VM_ASK_NOTHING },
	};

	for (size_t i = 0; i < array_size(cases); i++) {
		struct vm_args a;
		struct words w;

		parse(&a, &w, cases[i].args);
		assert_int_equal(a.ask, cases[i].ask);
		done(&a, &w);
	}
}

static void expect_qemu(const char *line, bool kvm, const char *wanted)
{
	struct qemu_launch l;
	struct vm_args a;
	struct words w;
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	parse(&a, &w, line);
	vm_qemu_words(&a, "Q", kvm, &l);
	for (size_t i = 0; i < l.argc; i++)
		fprintf(f, "%s%s", i ? " " : "", l.argv[i]);
	fclose(f);
	assert_null(l.argv[l.argc]);
	same(line, text, wanted);
	free(text);
	qemu_launch_free(&l);
	done(&a, &w);
}

static void test_qemu_words(void **state)
{
	expect_qemu(
		"-accel qemu -kernel K -append x -netdev user,id=n -device "
		"virtio-net-pci,netdev=n -m 100 -smp 2",
		false,
		"Q -nodefaults -display none -accel tcg -machine pc -m 102400k -smp 2 -kernel K "
		"-append x -netdev user,id=n -device virtio-net-pci,netdev=n -serial mon:stdio");
	/* QEMU has no vlan= any more; it has hubs. Root ports take a q35. */
	expect_qemu(
		"-net nic,vlan=1 -device pcie-root-port,id=r -serial none -serial null -qmp "
		"unix:/q -monitor unix:/m,server=on -S -no-reboot -name a,,b",
		true,
		"Q -nodefaults -display none -accel kvm -machine q35 -cpu host -smp 1 -name a,,b "
		"-chardev null,id=serial0 -netdev "
		"hubport,id=hub1port0,hubid=1 -device e1000,netdev=hub1port0 -device "
		"pcie-root-port,id=r -qmp unix:/q,server=on,wait=off -serial none "
		"-serial chardev:serial0 -monitor "
		"unix:/m,server=on,wait=off -S -no-reboot");
}

/* What our machine has anyway, QEMU's has when it is asked. */
static void test_qemu_machine(void **state)
{
	expect_qemu("-nodefaults -M q35,hpet=off,usb=off,smm=auto,accel=qemu,kernel_irqchip=on "
		    "-machine vmport=off -cpu max -smp 4,sockets=2,cores=2",
		    false,
		    "Q -nodefaults -display none -accel tcg -machine "
		    "q35,hpet=off,usb=off,vmport=off -cpu max -smp 4,sockets=2,cores=2");
	expect_qemu("-nodefaults -chardev socket,path=/s,id=c -mon c,mode=control", true,
		    "Q -nodefaults -display none -accel kvm -machine pc -cpu host -smp 1 -chardev "
		    "socket,path=/s,id=c -mon c,mode=control");
	expect_qemu("-nodefaults -no-hpet -cpu max", true,
		    "Q -nodefaults -display none -accel kvm -machine pc,hpet=off -cpu host -smp 1");
}

/* Hubs that carry frames: three of them with two sockets each, and a dump of the second. */

#define N_HUBS 3
#define N_SOCKETS (2 * N_HUBS)

struct hubs {
	struct twx_loop *loop;
	struct twx_net *net;
	int ours[N_SOCKETS];
	char dump[64];
	struct vm_args args;
	struct words words;
};

static void hubs_make(struct hubs *h)
{
	struct twx_net_config config = { .size = sizeof(config) };
	char line[1024] = "-nodefaults";
	struct twx_backend *backend;
	struct twx_filter *filter;
	struct twx_error e = { 0 };

	for (int i = 0; i < N_SOCKETS; i++) {
		int fds[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, fds), 0);
		h->ours[i] = fds[0];
		snprintf(line + strlen(line), sizeof(line) - strlen(line),
			 " -net dgram,local.type=fd,local.str=%d,vlan=%d", fds[1], i % N_HUBS);
	}
	snprintf(h->dump, sizeof(h->dump), "/tmp/twinax-test-vm-%d.pcap", (int)getpid());
	snprintf(line + strlen(line), sizeof(line) - strlen(line), " -net dump,vlan=1,file=%s",
		 h->dump);
	parse(&h->args, &h->words, line);
	assert_int_equal(twx_loop_new(&h->loop, NULL), 0);
	config.loop = h->loop;
	assert_int_equal(twx_net_new(&h->net, &config, NULL), 0);
	for (size_t i = 0; i < h->args.n_items; i++) {
		const struct session_item *item = &h->args.items[i];
		int ret = item->kind == SESSION_NETDEV
				  ? twx_backend_new(&backend, h->net, item->text, &e)
				  : twx_filter_new(&filter, h->net, item->text, &e);

		same(item->text, ret ? e.what : "", "");
	}
}

static void hubs_free(struct hubs *h)
{
	twx_net_free(h->net);
	twx_loop_free(h->loop);
	for (int i = 0; i < N_SOCKETS; i++)
		close(h->ours[i]);
	done(&h->args, &h->words);
}

static void test_hubs_apart(void **state)
{
	uint8_t frame[64] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0 }, got[2048];
	uint8_t file[4096];
	struct hubs h;
	ssize_t len;
	FILE *f;

	hubs_make(&h);
	for (int from = 0; from < N_SOCKETS; from++) {
		frame[11] = (uint8_t)from;
		assert_int_equal(send(h.ours[from], frame, sizeof(frame), 0), sizeof(frame));
		for (int i = 0; i < 8; i++)
			twx_loop_poll(h.loop, 0);
		for (int to = 0; to < N_SOCKETS; to++) {
			bool hears = to != from && to % N_HUBS == from % N_HUBS;

			len = recv(h.ours[to], got, sizeof(got), 0);
			assert_int_equal(len, hears ? (int)sizeof(frame) : -1);
			if (hears)
				assert_memory_equal(got, frame, sizeof(frame));
		}
	}
	hubs_free(&h);
	/* The dump has what both ends of hub 1 have sent, once each, and nothing else. */
	f = fopen(h.dump, "r");
	assert_non_null(f);
	len = (ssize_t)fread(file, 1, sizeof(file), f);
	fclose(f);
	unlink(h.dump);
	assert_int_equal(len, 24 + 2 * (16 + sizeof(frame)));
	assert_int_equal(file[24 + 16 + 11], 1);
	assert_int_equal(file[24 + 16 + sizeof(frame) + 16 + 11], 1 + N_HUBS);
}

static void test_keys(void **state)
{
	struct console_keys k = { .escape = 1 };

	assert_int_equal(console_key(&k, 'x'), CONSOLE_PASS);
	assert_int_equal(console_key(&k, 3), CONSOLE_PASS);
	assert_int_equal(console_key(&k, 1), CONSOLE_NOTHING);
	assert_int_equal(console_key(&k, 'x'), CONSOLE_QUIT);
	assert_int_equal(console_key(&k, 1), CONSOLE_NOTHING);
	assert_int_equal(console_key(&k, 1), CONSOLE_ESCAPE);
	assert_int_equal(console_key(&k, 'a'), CONSOLE_PASS);
	assert_int_equal(console_key(&k, 1), CONSOLE_NOTHING);
	assert_int_equal(console_key(&k, 'a'), CONSOLE_ESCAPE);
	assert_int_equal(console_key(&k, 1), CONSOLE_NOTHING);
	assert_int_equal(console_key(&k, 'h'), CONSOLE_HELP);
	assert_int_equal(console_key(&k, 1), CONSOLE_NOTHING);
	assert_int_equal(console_key(&k, 'c'), CONSOLE_MONITOR);
	assert_int_equal(console_key(&k, 1), CONSOLE_NOTHING);
	assert_int_equal(console_key(&k, 'q'), CONSOLE_NOTHING);
	assert_int_equal(console_key(&k, 'q'), CONSOLE_PASS);
	k.escape = 0;
	assert_int_equal(console_key(&k, 1), CONSOLE_PASS);
	assert_int_equal(console_key(&k, 0), CONSOLE_PASS);
}

static uint64_t cpu_ns(pthread_t thread)
{
	struct timespec t;
	clockid_t clock;

	assert_int_equal(pthread_getcpuclockid(thread, &clock), 0);
	assert_int_equal(clock_gettime(clock, &t), 0);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* A pipe whose writer has gone, holding more than a machine takes that does not read: the console
 * waits, and burns no processor while it does. */
static void test_console_waits(void **state)
{
	const struct timespec ms = { .tv_nsec = 1000000 }, rest = { .tv_nsec = 200000000 };
	static const char typed[32768];
	struct console c = { .raw = true };
	struct twx_error e = { 0 };
	int in[2], before = dup(STDIN_FILENO), fd;
	uint64_t burnt;

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(fcntl(in[1], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(dup2(in[0], STDIN_FILENO), STDIN_FILENO);
	close(in[0]);
	fd = console_start(&c, &e);
	assert_true(fd >= 0);
	for (int idle = 0; idle < 50;) {
		idle = write(in[1], typed, sizeof(typed)) > 0 ? 0 : idle + 1;
		nanosleep(&ms, NULL);
	}
	close(in[1]);
	burnt = cpu_ns(c.thread);
	nanosleep(&rest, NULL);
	assert_true(cpu_ns(c.thread) - burnt < 5000000);
	close(fd);
	console_stop(&c);
	assert_int_equal(dup2(before, STDIN_FILENO), STDIN_FILENO);
	close(before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_networks),      cmocka_unit_test(test_errors),
		cmocka_unit_test(test_machine),	      cmocka_unit_test(test_serials),
		cmocka_unit_test(test_qtest),	      cmocka_unit_test(test_asks),
		cmocka_unit_test(test_qemu_machine),  cmocka_unit_test(test_qemu_words),
		cmocka_unit_test(test_keys),	      cmocka_unit_test(test_hubs_apart),
		cmocka_unit_test(test_console_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
