/* SPDX-License-Identifier: BSD-3-Clause */
/* A QEMU command line: what twinax serves of it, what QEMU gets, and what is said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "cli/qemu_plan.h"

#define MAX_WORDS 64

static const struct qemu_facts new_qemu = { 10, 1, true, true };
static const struct qemu_facts old_qemu = { 7, 2, false, true };
static const struct qemu_facts no_kvm = { 10, 1, true, false };

/* Words are parted by blanks, lines of an expectation by newlines; '~' in a word stands for a
 * blank. */
struct sample {
	const char *args;
	const struct qemu_facts *facts; /* null: new_qemu */
	const char *serve, *qemu, *notes;
	const char *error;
};

#define MEM                                                                                        \
	"-object memory-backend-memfd,id=twinax-mem0,size=128M,share=on -machine "                 \
	"memory-backend=twinax-mem0 "
#define VHOST(n, netdev)                                                                           \
	"-chardev socket,id=twinax-chr" #n ",path=DIR/nic" #n " -netdev vhost-user,id=" netdev     \
	",chardev=twinax-chr" #n " "
#define VFIO "-device {\"driver\":\"vfio-user-pci\",\"romfile\":\"efi-e1000.rom\","
#define SOCK(n) "\"socket\":{\"type\":\"unix\",\"path\":\"DIR/nic" #n "\"}}"

static const struct sample samples[] = {
	/* The usual ways to write the usual thing. */
	{ .args = "-netdev user,id=n0 -device virtio-net-pci,netdev=n0 disk.img",
	  .serve =
		  "-netdev user,id=n0\n"
		  "-device virtio-net,netdev=n0,mac=52:54:00:12:34:56,export=vhost-user:DIR/nic0\n",
	  .qemu = MEM VHOST(
		  0, "n0") "-device virtio-net-pci,netdev=n0,mac=52:54:00:12:34:56 disk.img" },
	{ .args = "--netdev user,id=n0 --device virtio-net-pci,netdev=n0",
	  .serve =
		  "-netdev user,id=n0\n"
		  "-device virtio-net,netdev=n0,mac=52:54:00:12:34:56,export=vhost-user:DIR/nic0\n",
	  .qemu = MEM VHOST(0, "n0") "-device virtio-net-pci,netdev=n0,mac=52:54:00:12:34:56" },
	{ .args = "-nic user,model=virtio-net-pci,mac=02:00:00:00:00:01,hostfwd=tcp::5555-:22",
	  .serve = "-netdev user,hostfwd=tcp::5555-:22,id=net0\n"
		   "-device "
		   "virtio-net,netdev=net0,mac=02:00:00:00:00:01,export=vhost-user:DIR/nic0\n",
	  .qemu = MEM VHOST(0, "net0") "-device virtio-net-pci,netdev=net0,mac=02:00:00:00:00:01" },
	{ .args = "-nic model=virtio",
	  .serve = "-netdev user,id=net0\n"
		   "-device "
		   "virtio-net,netdev=net0,mac=52:54:00:12:34:56,export=vhost-user:DIR/nic0\n",
	  .qemu = MEM VHOST(0, "net0") "-device virtio-net-pci,netdev=net0,mac=52:54:00:12:34:56" },
	{ .args = "-net nic,model=virtio,macaddr=2:0:0:0:0:a -net "
		  "user,hostfwd=tcp::1-:2,hostfwd=udp::3-:4",
	  .serve = "-netdev user,hostfwd=tcp::1-:2,hostfwd=udp::3-:4,id=net0\n"
		   "-device "
		   "virtio-net,netdev=net0,mac=02:00:00:00:00:0a,export=vhost-user:DIR/nic0\n",
	  .qemu = MEM VHOST(0, "net0") "-device virtio-net-pci,mac=02:00:00:00:00:0a,netdev=net0" },
	{ .args = "-device "
		  "{\"driver\":\"virtio-net-pci\",\"netdev\":\"n0\",\"id\":\"nic\",\"mq\":true} "
		  "-netdev {\"type\":\"user\",\"id\":\"n0\",\"hostfwd\":[{\"str\":\"tcp::1-:2\"}]}",
	  .serve = "-netdev "
		   "{\"type\":\"user\",\"id\":\"n0\",\"hostfwd\":[{\"str\":\"tcp::1-:2\"}]}\n"
		   "-device "
		   "virtio-net,id=nic,netdev=n0,mac=52:54:00:12:34:56,export=vhost-user:DIR/nic0\n",
	  .qemu = MEM VHOST(
		  0,
		  "n0") "-device {\"driver\":\"virtio-net-pci\",\"netdev\":\"n0\",\"id\":\"nic\","
			"\"mq\":true,\"mac\":\"52:54:00:12:34:56\"}" },
	/* QEMU's front end keeps the transport and masks features; we are told what is ours. */
	{ .args = "-netdev tap,id=t0,queues=4,script=no -device "
		  "virtio-net-pci,netdev=t0,id=v,mq=on,vectors=10,"
		  "guest_tso4=off,host_mtu=9000,addr=0x5,iommu_platform=on",
	  .serve = "-netdev tap,id=t0,queues=4,script=no\n"
		   "-device virtio-net,id=v,host_mtu=9000,netdev=t0,mac=52:54:00:12:34:56,"
		   "export=vhost-user:DIR/nic0\n",
	  .qemu = MEM
	  "-chardev socket,id=twinax-chr0,path=DIR/nic0 -netdev "
	  "vhost-user,id=t0,chardev=twinax-chr0,queues=4 "
	  "-device "
	  "virtio-net-pci,netdev=t0,id=v,mq=on,vectors=10,guest_tso4=off,host_mtu=9000,addr=0x5,"
	  "iommu_platform=on,mac=52:54:00:12:34:56" },
	/* Dotted keys, commas in values. */
	{ .args = "-netdev stream,id=s,server=on,addr.type=unix,addr.path=/tmp/a,,b -device "
		  "virtio-net-pci-transitional,netdev=s",
	  .serve = "-netdev stream,id=s,server=on,addr.type=unix,addr.path=/tmp/a,,b\n"
		   "-device virtio-net,netdev=s,mac=52:54:00:12:34:56,export=vhost-user:DIR/nic0\n",
	  .qemu = MEM VHOST(
		  0, "s") "-device virtio-net-pci-transitional,netdev=s,mac=52:54:00:12:34:56" },
	{ .args = "-nic socket,model=virtio,mcast=230.0.0.1:1234,id=s",
	  .serve = "-netdev socket,mcast=230.0.0.1:1234,id=s\n"
		   "-device virtio-net,netdev=s,mac=52:54:00:12:34:56,export=vhost-user:DIR/nic0\n",
	  .qemu = MEM VHOST(0, "s") "-device virtio-net-pci,netdev=s,mac=52:54:00:12:34:56" },
	/* What only made sense while the NIC was in QEMU is left out. */
	{ .args = "-netdev tap,id=t0,vhost=on,poll-us=10,script=no -device "
		  "virtio-net-pci,netdev=t0",
	  .serve =
		  "-netdev tap,id=t0,script=no\n"
		  "-device virtio-net,netdev=t0,mac=52:54:00:12:34:56,export=vhost-user:DIR/nic0\n",
	  .qemu = MEM VHOST(0, "t0") "-device virtio-net-pci,netdev=t0,mac=52:54:00:12:34:56",
	  .notes = "netdev t0 goes without vhost=: the NIC is no longer in QEMU\n" },
	/* A chardev that a backend of ours has goes along with it; QEMU's own stay. */
	{ .args = "-chardev socket,id=g,path=/g -chardev socket,id=q,path=/q -netdev "
		  "user,id=n0,guestfwd=tcp:10.0.2.9:80-chardev:g -device virtio-net-pci,netdev=n0 "
		  "-serial chardev:q",
	  .serve =
		  "-chardev socket,id=g,path=/g\n"
		  "-netdev user,id=n0,guestfwd=tcp:10.0.2.9:80-chardev:g\n"
		  "-device virtio-net,netdev=n0,mac=52:54:00:12:34:56,export=vhost-user:DIR/nic0\n",
	  .qemu = MEM "-chardev socket,id=q,path=/q " VHOST(
		  0, "n0") "-device virtio-net-pci,netdev=n0,mac=52:54:00:12:34:56 -serial "
			   "chardev:q" },
	/* A word that happens to be a chardev's name does not take it away. */
	{ .args = "-chardev null,id=box -chardev null,id=cat -netdev "
		  "user,id=n0,hostname=box,guestfwd=tcp:10.0.2.9:80-cmd:cat -device "
		  "virtio-net-pci,netdev=n0 -serial chardev:box -serial chardev:cat",
	  .serve =
		  "-netdev user,id=n0,hostname=box,guestfwd=tcp:10.0.2.9:80-cmd:cat\n"
		  "-device virtio-net,netdev=n0,mac=52:54:00:12:34:56,export=vhost-user:DIR/nic0\n",
	  .qemu = MEM "-chardev null,id=box -chardev null,id=cat " VHOST(
		  0, "n0") "-device virtio-net-pci,netdev=n0,mac=52:54:00:12:34:56 -serial "
			   "chardev:box -serial chardev:cat" },
	/* PCI models. */
	{ .args = "-nic user,model=e1000",
	  .serve = "-netdev user,id=net0\n"
		   "-device e1000,netdev=net0,mac=52:54:00:12:34:56,export=vfio-user:DIR/nic0\n",
	  .qemu = MEM VFIO SOCK(0) " -nic none" },
	{ .args = "-M pc -kernel k",
	  .serve = "-netdev user,id=net0\n"
		   "-device e1000,netdev=net0,mac=52:54:00:12:34:56,export=vfio-user:DIR/nic0\n",
	  .qemu = MEM VFIO SOCK(0) " -M pc -kernel k -nic none" },
	{ .args = "-net nic -net tap,script=no",
	  .serve = "-netdev tap,script=no,id=net0\n"
		   "-device e1000,netdev=net0,mac=52:54:00:12:34:56,export=vfio-user:DIR/nic0\n",
	  .qemu = MEM VFIO SOCK(0) " -nic none" },
	{ .args = "-netdev user,id=n0 -device "
		  "e1000-82545em,netdev=n0,id=nic,addr=03.0,bus=pci.0,bootindex=1,"
		  "multifunction=on,mitigation=off,romfile=",
	  .serve = "-netdev user,id=n0\n"
		   "-device e1000-82545em,netdev=n0,id=nic,mitigation=off,mac=52:54:00:12:34:56,"
		   "export=vfio-user:DIR/nic0\n",
	  .qemu = MEM
	  "-device "
	  "{\"driver\":\"vfio-user-pci\",\"id\":\"nic\",\"addr\":\"03.0\",\"bus\":\"pci.0\","
	  "\"bootindex\":1,\"multifunction\":true,\"romfile\":\"\"," SOCK(0) " -nic none" },
	{ .args = "-global e1000.mitigation=off -global driver=e1000,property=acpi-index,value=7 "
		  "-global rtl8139.mac=x -nic model=e1000",
	  .serve = "-netdev user,id=net0\n"
		   "-device "
		   "e1000,mitigation=off,netdev=net0,mac=52:54:00:12:34:56,export=vfio-user:DIR/"
		   "nic0\n",
	  .qemu = MEM VFIO "\"acpi-index\":7," SOCK(
		  0) " -global e1000.mitigation=off -global "
		     "driver=e1000,property=acpi-index,value=7 -global rtl8139.mac=x -nic none" },
	{ .args = "-set device.a.mitigation=off -netdev user,id=n0 -device e1000,id=a,netdev=n0 "
		  "-set "
		  "netdev.n0.restrict=on -set drive.d.file=x",
	  .serve = "-netdev user,id=n0,restrict=on\n"
		   "-device e1000,id=a,netdev=n0,mitigation=off,mac=52:54:00:12:34:56,"
		   "export=vfio-user:DIR/nic0\n",
	  .qemu = MEM VFIO "\"id\":\"a\"," SOCK(0) " -set drive.d.file=x -nic none" },
	/* Both kinds, and QEMU's order of making them: -nic, -device, JSON. */
	{ .args = "-device {\"driver\":\"e1000\",\"netdev\":\"c\"} -netdev user,id=a -netdev "
		  "user,id=b "
		  "-netdev user,id=c -device virtio-net-pci,netdev=b -device rtl8139,netdev=a "
		  "-nic user,model=e1000",
	  .serve = "-netdev user,id=b\n-netdev user,id=c\n-netdev user,id=net0\n"
		   "-device e1000,netdev=net0,mac=52:54:00:12:34:56,export=vfio-user:DIR/nic0\n"
		   "-device e1000,netdev=c,mac=52:54:00:12:34:59,export=vfio-user:DIR/nic1\n"
		   "-device virtio-net,netdev=b,mac=52:54:00:12:34:57,export=vhost-user:DIR/nic2\n",
	  .qemu = MEM VFIO SOCK(0) " " VFIO SOCK(
		  1) " -netdev user,id=a -chardev socket,id=twinax-chr0,path=DIR/nic2 -netdev "
		     "vhost-user,id=b,chardev=twinax-chr0 -device "
		     "{\"driver\":\"virtio-net-pci\",\"netdev\":\"b\",\"mac\":\"52:54:00:12:34:"
		     "57\"} "
		     "-device rtl8139,netdev=a,mac=52:54:00:12:34:58",
	  .notes = "-device rtl8139,netdev=a stays with QEMU: twinax has no rtl8139\n"
		   "e1000 on net0 may be in another PCI slot than before, behind -device "
		   "rtl8139,netdev=a; "
		   "addr= in a -device keeps it\n" },
	/* Of two NICs the first stays first: devices in JSON come last. */
	{ .args = "-nic user,model=e1000 -nic user,model=virtio",
	  .serve = "-netdev user,id=net0\n-netdev user,id=net1\n"
		   "-device e1000,netdev=net0,mac=52:54:00:12:34:56,export=vfio-user:DIR/nic0\n"
		   "-device "
		   "virtio-net,netdev=net1,mac=52:54:00:12:34:57,export=vhost-user:DIR/nic1\n",
	  .qemu = MEM VFIO SOCK(0) " -chardev socket,id=twinax-chr0,path=DIR/nic1 -netdev "
				   "vhost-user,id=net1,chardev=twinax-chr0 -device "
				   "{\"driver\":\"virtio-net-pci\",\"netdev\":\"net1\",\"mac\":"
				   "\"52:54:00:12:34:57\"}" },
	{ .args = "-netdev user,id=a -netdev user,id=b -device e1000,netdev=a,addr=5 -device "
		  "virtio-net-pci,netdev=b,mq=off,vectors=3,disable-legacy=on,rombar=0",
	  .serve = "-netdev user,id=a\n-netdev user,id=b\n"
		   "-device e1000,netdev=a,mac=52:54:00:12:34:56,export=vfio-user:DIR/nic0\n"
		   "-device virtio-net,netdev=b,mac=52:54:00:12:34:57,export=vhost-user:DIR/nic1\n",
	  .qemu = MEM VFIO "\"addr\":\"5\"," SOCK(
		  0) " -chardev socket,id=twinax-chr0,path=DIR/nic1 -netdev "
		     "vhost-user,id=b,chardev=twinax-chr0 -device "
		     "{\"driver\":\"virtio-net-pci\",\"netdev\":\"b\",\"mq\":false,\"vectors\":3,"
		     "\"disable-legacy\":\"on\",\"rombar\":0,\"mac\":\"52:54:00:12:34:57\"}" },
	{ .args = "-device usb-kbd -device piix3-usb-uhci -nic user,model=e1000 -drive "
		  "if=virtio,file=x",
	  .serve = "-netdev user,id=net0\n"
		   "-device e1000,netdev=net0,mac=52:54:00:12:34:56,export=vfio-user:DIR/nic0\n",
	  .qemu = MEM VFIO SOCK(
		  0) " -device usb-kbd -device piix3-usb-uhci -drive if=virtio,file=x -nic none",
	  .notes = "e1000 on net0 may be in another PCI slot than before, behind -device "
		   "piix3-usb-uhci; "
		   "addr= in a -device keeps it\n" },
	/* Addresses in use are left out, whoever has them. */
	{ .args = "-nic user,model=virtio,mac=52:54:00:12:34:57 -nic user,model=virtio -nic "
		  "user,model=virtio",
	  .serve = "-netdev user,id=net0\n-netdev user,id=net1\n-netdev user,id=net2\n"
		   "-device "
		   "virtio-net,netdev=net0,mac=52:54:00:12:34:57,export=vhost-user:DIR/nic0\n"
		   "-device "
		   "virtio-net,netdev=net1,mac=52:54:00:12:34:56,export=vhost-user:DIR/nic1\n"
		   "-device "
		   "virtio-net,netdev=net2,mac=52:54:00:12:34:58,export=vhost-user:DIR/nic2\n",
	  .qemu = MEM VHOST(
		  0, "net0") "-device "
			     "virtio-net-pci,netdev=net0,mac=52:54:00:12:34:57 " VHOST(
				     1, "net1") "-device "
						"virtio-net-pci,netdev=net1,mac=52:54:00:12:34:"
						"56 " VHOST(2, "net2") "-device "
								       "virtio-net-pci,netdev=net2,"
								       "mac=52:54:00:12:34:58" },
	/* Hubs. */
	{ .args = "-net nic,model=virtio -net nic,model=virtio,netdev=x -netdev user,id=x -net "
		  "nic,model=virtio -net user",
	  .serve = "-netdev user,id=x\n-netdev user,id=net0\n"
		   "-netdev hubport,id=hub0port0,hubid=0,netdev=net0\n"
		   "-netdev hubport,id=hub0port1,hubid=0\n-netdev hubport,id=hub0port2,hubid=0\n"
		   "-device "
		   "virtio-net,netdev=hub0port1,mac=52:54:00:12:34:56,export=vhost-user:DIR/nic0\n"
		   "-device virtio-net,netdev=x,mac=52:54:00:12:34:57,export=vhost-user:DIR/nic1\n"
		   "-device "
		   "virtio-net,netdev=hub0port2,mac=52:54:00:12:34:58,export=vhost-user:DIR/nic2\n",
	  .qemu = MEM VHOST(
		  0, "hub0port1") "-device "
				  "virtio-net-pci,netdev=hub0port1,mac=52:54:00:12:34:"
				  "56 " VHOST(1, "x") "-device "
						      "virtio-net-pci,netdev=x,mac=52:54:00:"
						      "12:34:57 " VHOST(
							      2, "hub0port2") "-device "
									      "virtio-net-pci,"
									      "netdev=hub0port2,"
									      "mac=52:54:00:12:"
									      "34:58" },
	{ .args = "-netdev user,id=u -netdev hubport,id=p0,hubid=3,netdev=u -netdev "
		  "hubport,id=p1,hubid=3 "
		  "-netdev hubport,id=p2,hubid=3 -device virtio-net-pci,netdev=p1 -device "
		  "rtl8139,netdev=p2",
	  .notes = "-device virtio-net-pci,netdev=p1 stays with QEMU: twinax has no rtl8139\n"
		   "-device rtl8139,netdev=p2 stays with QEMU: twinax has no rtl8139\n" },
	{ .args = "-netdev user,id=u -nic hubport,hubid=2,model=virtio -netdev "
		  "hubport,hubid=2,id=p,netdev=u",
	  .serve = "-netdev user,id=u\n-netdev hubport,hubid=2,id=p,netdev=u\n-netdev "
		   "hubport,hubid=2,id=net0\n"
		   "-device "
		   "virtio-net,netdev=net0,mac=52:54:00:12:34:56,export=vhost-user:DIR/nic0\n",
	  .qemu = MEM VHOST(0, "net0") "-device virtio-net-pci,netdev=net0,mac=52:54:00:12:34:56" },
	/* Filters go with their netdev. */
	{ .args = "-object filter-dump,id=f,netdev=n0,file=x.pcap -object "
		  "rng-random,id=r,filename=/dev/urandom "
		  "-netdev user,id=n0 -device virtio-net-pci,netdev=n0",
	  .serve =
		  "-netdev user,id=n0\n-object filter-dump,id=f,netdev=n0,file=x.pcap\n"
		  "-device virtio-net,netdev=n0,mac=52:54:00:12:34:56,export=vhost-user:DIR/nic0\n",
	  .qemu = MEM "-object rng-random,id=r,filename=/dev/urandom " VHOST(
		  0, "n0") "-device virtio-net-pci,netdev=n0,mac=52:54:00:12:34:56" },
	{ .args = "-object filter-rewriter,id=f,netdev=n0 -netdev user,id=n0 -device "
		  "virtio-net-pci,netdev=n0",
	  .notes = "-device virtio-net-pci,netdev=n0 stays with QEMU: twinax has no "
		   "filter-rewriter\n" },
	/* What stays with QEMU. */
	{ .args = "-nic none" },
	{ .args = "-net none" },
	{ .args = "-nodefaults" },
	{ .args = "-M q35",
	  .notes = "QEMU's default NIC (e1000e) stays with QEMU: twinax has no e1000e\n" },
	{ .args = "-M pc-q35-7.2 -nic user",
	  .notes = "-nic user stays with QEMU: twinax has no e1000e\n" },
	{ .args = "-M none -nic user",
	  .notes = "-nic user stays with QEMU: the machine's default model is not known here "
		   "(write model=)\n" },
	{ .args = "-netdev user,id=n0" },
	{ .args = "-nic none -device virtio-net-pci" },
	{ .args = "-nic user,model=e1000",
	  .facts = &old_qemu,
	  .notes = "-nic user,model=e1000 stays with QEMU: e1000 takes QEMU 10.1 or newer with "
		   "vfio-user-pci, and "
		   "this is 7.2 (virtio-net-pci works)\n" },
	{ .args = "-netdev vhost-vdpa,id=v,vhostdev=/dev/x -device virtio-net-pci,netdev=v",
	  .notes = "-device virtio-net-pci,netdev=v stays with QEMU: netdev v is of type "
		   "vhost-vdpa, which "
		   "twinax does not have\n" },
	{ .args = "-netdev user,id=n0,smurf=1 -device virtio-net-pci,netdev=n0",
	  .notes = "-device virtio-net-pci,netdev=n0 stays with QEMU: netdev n0: Invalid parameter "
		   "'smurf'\n" },
	{ .args = "-readconfig f -device virtio-net-pci,netdev=n0" },
	/* Memory. */
	{ .args = "-m 2G,slots=2,maxmem=4G -nic model=virtio",
	  .serve = "-netdev user,id=net0\n"
		   "-device "
		   "virtio-net,netdev=net0,mac=52:54:00:12:34:56,export=vhost-user:DIR/nic0\n",
	  .qemu = "-object memory-backend-memfd,id=twinax-mem0,size=2048M,share=on -machine "
		  "memory-backend=twinax-mem0 " VHOST(
			  0, "net0") "-device virtio-net-pci,netdev=net0,mac=52:54:00:12:34:56 -m "
				     "2G,slots=2,maxmem=4G" },
	{ .args = "-mem-path /dev/hugepages -mem-prealloc -m 512 -nic model=virtio",
	  .serve = "-netdev user,id=net0\n"
		   "-device "
		   "virtio-net,netdev=net0,mac=52:54:00:12:34:56,export=vhost-user:DIR/nic0\n",
	  .qemu = "-object "
		  "memory-backend-file,id=twinax-mem0,size=512M,share=on,mem-path=/dev/hugepages "
		  "-machine memory-backend=twinax-mem0 " VHOST(
			  0, "net0") "-device virtio-net-pci,netdev=net0,mac=52:54:00:12:34:56 "
				     "-mem-prealloc -m 512" },
	{ .args = "-machine q35,memory-backend=m -object memory-backend-memfd,id=m,size=1G -nic "
		  "model=virtio",
	  .serve = "-netdev user,id=net0\n"
		   "-device "
		   "virtio-net,netdev=net0,mac=52:54:00:12:34:56,export=vhost-user:DIR/nic0\n",
	  .qemu = VHOST(
		  0,
		  "net0") "-device virtio-net-pci,netdev=net0,mac=52:54:00:12:34:56 -machine q35,"
			  "memory-backend=m -object memory-backend-memfd,id=m,size=1G" },
	{ .args = "-machine memory-backend=m -object memory-backend-file,id=m,size=1G,mem-path=/x "
		  "-nic model=virtio",
	  .error = "guest memory 'm' is not shared with NICs|add share=on to -object "
		   "memory-backend-file,id=m" },
	{ .args = "-object {\"qom-type\":\"memory-backend-memfd\",\"id\":\"m\",\"share\":false} "
		  "-numa node,memdev=m "
		  "-nic model=virtio",
	  .error = "guest memory 'm' is not shared with NICs|add share=on to -object "
		   "memory-backend-memfd,id=m" },
	{ .args = "-object memory-backend-ram,id=d,size=1G -device pc-dimm,memdev=d -nic "
		  "model=virtio",
	  .error = "guest memory 'd' is no file that NICs could share|make it -object "
		   "memory-backend-memfd,id=d,share=on,... with the rest as it is" },
	/* QEMU 7 without KVM. */
	{ .args = "-nic model=virtio -accel tcg",
	  .facts = &old_qemu,
	  .serve = "-netdev user,id=net0\n"
		   "-device "
		   "virtio-net,netdev=net0,mac=52:54:00:12:34:56,export=vhost-user:DIR/nic0\n",
	  .qemu = MEM VHOST(
		  0, "net0") "-device virtio-net-pci,netdev=net0,vectors=0,mac=52:54:00:12:34:56 "
			     "-accel tcg",
	  .notes = "virtio-net-pci gets vectors=0: QEMU 7 without KVM ends when a vhost-user NIC "
		   "uses MSI-X\n" },
	{ .args = "-nic model=virtio -accel kvm -accel tcg",
	  .facts = &old_qemu,
	  .serve = "-netdev user,id=net0\n"
		   "-device "
		   "virtio-net,netdev=net0,mac=52:54:00:12:34:56,export=vhost-user:DIR/nic0\n",
	  .qemu = MEM VHOST(0, "net0") "-device virtio-net-pci,netdev=net0,mac=52:54:00:12:34:56 "
				       "-accel kvm -accel tcg" },
	/* Names that are in use, values that look like options, words behind QEMU's name. */
	{ .args = "-name twinax-mem0,process=net0 -append -nic~none -nic model=virtio -newoption "
		  "-S",
	  .serve = "-netdev user,id=net1\n"
		   "-device "
		   "virtio-net,netdev=net1,mac=52:54:00:12:34:56,export=vhost-user:DIR/nic0\n",
	  .qemu = "-object memory-backend-memfd,id=twinax-mem1,size=128M,share=on -machine "
		  "memory-backend=twinax-mem1 " VHOST(
			  0,
			  "net1") "-device virtio-net-pci,netdev=net1,mac=52:54:00:12:34:56 -name "
				  "twinax-mem0,process=net0 -append -nic~none -newoption -S" },
	/* QEMU's errors, in its words. */
	{ .args = "-device virtio-net-pci,netdev=zz -nic none",
	  .error = "-device virtio-net-pci,netdev=zz: Property 'virtio-net-pci.netdev' can't find "
		   "value 'zz'|"
		   "define it: -netdev TYPE,id=zz" },
	{ .args = "-netdev user,id=a -device virtio-net-pci,netdev=a -device e1000,netdev=a",
	  .error = "-device e1000,netdev=a: Property 'e1000.netdev' can't take value 'a', it's in "
		   "use|" },
	{ .args = "-netdev user,id=a -netdev user,id=a",
	  .error = "-netdev user,id=a: Duplicate ID 'a' for netdev|" },
	{ .args = "-netdev user", .error = "-netdev user: Parameter 'id' is missing|" },
	{ .args = "-netdev {user",
	  .error =
		  "-netdev {user: this is not a JSON object: string or '}' expected near 'user'|" },
	{ .args = "-nic user,mac=01:00:00:00:00:00",
	  .error = "-nic user,mac=01:00:00:00:00:00: NIC cannot have multicast MAC address (odd "
		   "1st byte)|" },
	{ .args = "-nic user,mac=zebra",
	  .error = "-nic user,mac=zebra: invalid syntax for ethernet address|" },
	{ .args = "-net nic,vlan=0 -net user",
	  .error = "-net nic,vlan=0: Invalid parameter 'vlan'|" },
	{ .args = "-net hubport,hubid=0",
	  .error = "-net hubport,hubid=0: network backend 'hubport' is only supported with "
		   "-netdev/-nic|" },
	{ .args = "-netdev hubport,id=h,hubid=1,netdev=zz",
	  .error = "-netdev hubport,id=h,hubid=1,netdev=zz: netdev 'zz' not found|" },
	{ .args = "-object filter-dump,id=f,netdev=zz,file=x -nic none",
	  .error = "-object filter-dump,id=f,netdev=zz,file=x: Parameter 'netdev' expects a "
		   "network backend id|" },
	{ .args = "-netdev user,id=a -device e1000,netdev=a,frob=1",
	  .error = "-device e1000,netdev=a,frob=1: Property 'e1000.frob' not found|" },
};

/* Words */

struct words {
	char *text;
	char *argv[MAX_WORDS + 1];
	int argc;
};

static void split(struct words *w, const char *line)
{
	char *save, *word;

	w->text = strdup(line);
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

static char *join_serve(const struct qemu_launch *l)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	for (size_t i = 0; i < l->n_items; i++)
		fprintf(f, "-%s %s\n", session_option[l->items[i].kind], l->items[i].text);
	fclose(f);
	return text;
}

static char *join_qemu(const struct qemu_launch *l)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_string_equal(l->argv[0], "qemu-system-x86_64");
	assert_null(l->argv[l->argc]);
	for (size_t i = 1; i < l->argc; i++) {
		fputs(i > 1 ? " " : "", f);
		for (const char *c = l->argv[i]; *c; c++)
			fputc(*c == ' ' ? '~' : *c, f);
	}
	fclose(f);
	return text;
}

static char *join_notes(const struct qemu_plan *plan)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	for (size_t i = 0; i < plan->n_notes; i++)
		fprintf(f, "%s\n", plan->notes[i]);
	fclose(f);
	return text;
}

static void expect(const struct sample *s, char *got, const char *wanted)
{
	if (strcmp(got, wanted ? wanted : "")) {
		print_error("command line: %s\ngot:    %s\nwanted: %s\n", s->args, got,
			    wanted ? wanted : "");
		fail();
	}
	free(got);
}

static void expect_error(const struct sample *s, const struct twx_error *e)
{
	char *text;

	assert_true(asprintf(&text, "%s|%s", e->what, e->hint) > 0);
	expect(s, text, s->error);
	assert_true(e->code > 0);
}

static void run_sample(const struct sample *s)
{
	const struct qemu_facts *facts = s->facts ? s->facts : &new_qemu;
	struct qemu_launch l = { 0 };
	struct twx_error e = { 0 };
	struct qemu_args args;
	struct qemu_plan plan;
	struct words w;
	char *line;
	int ret;

	assert_true(asprintf(&line, "qemu-system-x86_64 %s", s->args) > 0);
	split(&w, line);
	qemu_args_parse(&args, w.argc, w.argv);
	ret = qemu_plan_make(&plan, &args, facts, &e);
	if (!ret && plan.n_taken)
		ret = qemu_launch_make(&l, &plan, "DIR", &e);
	if (ret || s->error) {
		expect_error(s, &e);
	} else {
		expect(s, join_notes(&plan), s->notes);
		expect(s, join_serve(&l), s->serve);
		expect(s, plan.n_taken ? join_qemu(&l) : strdup(""), s->qemu);
	}
	qemu_launch_free(&l);
	qemu_plan_free(&plan);
	qemu_args_free(&args);
	free(w.text);
	free(line);
}

static void test_samples(void **state)
{
	for (size_t i = 0; i < array_size(samples); i++)
		run_sample(&samples[i]);
}

/* Options have a value or none; a command may stand before QEMU. */
static void test_args(void **state)
{
	static const struct {
		const char *line;
		int n_command;
		const char *tokens; /* name or '.', ':' and a value */
	} lines[] = {
		{ "qemu-system-x86_64 -S -m 1G disk.img -M pc --nographic", 1,
		  "S m:1G . machine:pc nographic " },
		{ "taskset -c 1 /usr/bin/qemu-system-x86_64 -k de", 4, "k:de " },
		{ "env A=b /usr/bin/kvm -snapshot -hda -nic", 3, "snapshot hda:-nic " },
		{ "./my-vm -nic user", 1, "nic:user " },
		{ "qemu-system-x86_64 -append", 1, "append " },
		{ "qemu-system-x86_64 -new on -newer -newest", 1, "new:on newer newest " },
		{ "qemu-system-x86_64 - -D qemu-system-x", 1, " D:qemu-system-x " },
	};

	for (size_t i = 0; i < array_size(lines); i++) {
		struct qemu_args args;
		struct words w;
		char *text = NULL;
		size_t len;
		FILE *f = open_memstream(&text, &len);

		split(&w, lines[i].line);
		qemu_args_parse(&args, w.argc, w.argv);
		assert_int_equal(args.n_command, lines[i].n_command);
		for (size_t k = 0; k < args.n; k++)
			fprintf(f, "%s%s%s ", args.tokens[k].name ? args.tokens[k].name : ".",
				args.tokens[k].value ? ":" : "",
				args.tokens[k].value ? args.tokens[k].value : "");
		fclose(f);
		assert_string_equal(text, lines[i].tokens);
		free(text);
		free(w.text);
		qemu_args_free(&args);
	}
}

static void test_help(void **state)
{
	static const char *const asks[] = { "-h",
					    "--version",
					    "-device help",
					    "-device ?",
					    "-device e1000,help",
					    "-nic model=help",
					    "-net nic,model=?",
					    "-cpu help",
					    "-M help",
					    "-netdev user,help",
					    "-object help" };
	static const char *const runs[] = { "-append help", "-name help", "-kernel help",
					    "-nic user,hostname=help", "help" };

	for (size_t i = 0; i < array_size(asks) + array_size(runs); i++) {
		bool ask = i < array_size(asks);
		struct qemu_args args;
		struct words w;
		char *line;

		assert_true(asprintf(&line, "qemu-system-x86_64 %s",
				     ask ? asks[i] : runs[i - array_size(asks)]) > 0);
		split(&w, line);
		qemu_args_parse(&args, w.argc, w.argv);
		if (qemu_args_ask(&args) != ask) {
			print_error("%s\n", line);
			fail();
		}
		qemu_args_free(&args);
		free(w.text);
		free(line);
	}
}

static void test_accel(void **state)
{
	static const struct {
		const char *line;
		bool tcg, tcg_without_kvm;
	} lines[] = {
		{ "x", true, true },
		{ "x -enable-kvm", false, false },
		{ "x -accel kvm", false, false },
		{ "x -accel accel=kvm", false, false },
		{ "x -accel tcg,thread=single", true, true },
		{ "x -accel kvm -accel tcg", false, true },
		{ "x -M pc,accel=kvm", false, false },
		{ "x -M pc,accel=kvm:tcg", false, true },
		{ "x -M accel=tcg:kvm", true, true },
		{ "x -M pc,accel=kvm -M q35", false, false },
	};

	for (size_t i = 0; i < array_size(lines); i++) {
		struct qemu_args args;
		struct words w;

		split(&w, lines[i].line);
		qemu_args_parse(&args, w.argc, w.argv);
		if (qemu_is_tcg(&args, &new_qemu) != lines[i].tcg ||
		    qemu_is_tcg(&args, &no_kvm) != lines[i].tcg_without_kvm) {
			print_error("%s\n", lines[i].line);
			fail();
		}
		qemu_args_free(&args);
		free(w.text);
	}
}

static void test_memory_size(void **state)
{
	static const struct {
		const char *args, *size;
	} lines[] = {
		{ "", "128M" },
		{ "-m 512", "512M" },
		{ "-m 0", "128M" },
		{ "-m size=1.5G", "1536M" },
		{ "-m 2g", "2048M" },
		{ "-m 512 -m slots=2,maxmem=1G", "512M" },
		{ "-m 512 -m 1G", "1024M" },
		{ "-m 1000k", "1024000" },
		{ "-m 1001b", "8192" },
		{ "-M pc,memory.size=3G", "3072M" },
		{ "-m 1T", "1048576M" },
		{ "-m elephant", "128M" },
	};

	for (size_t i = 0; i < array_size(lines); i++) {
		struct twx_error e = { 0 };
		struct qemu_memory m;
		struct qemu_args args;
		struct qemu_plan plan;
		struct words w;
		char *line, *wanted;

		assert_true(asprintf(&line, "qemu-system-x86_64 -nic none %s", lines[i].args) > 0);
		assert_true(asprintf(&wanted,
				     "memory-backend-memfd,id=twinax-mem0,size=%s,share=on",
				     lines[i].size) > 0);
		split(&w, line);
		qemu_args_parse(&args, w.argc, w.argv);
		assert_int_equal(qemu_plan_make(&plan, &args, &new_qemu, &e), 0);
		assert_int_equal(qemu_memory_plan(&m, &plan, &e), 0);
		assert_string_equal(m.object, wanted);
		qemu_memory_free(&m);
		qemu_plan_free(&plan);
		qemu_args_free(&args);
		free(w.text);
		free(line);
		free(wanted);
	}
}

/* Lists come back as they were, whatever is between the commas. */
static void test_lists(void **state)
{
	static const char *const texts[] = {
		"user,id=n0,hostfwd=tcp::1-:2,hostfwd=udp::3-:4",
		"a,,b,c=d,,,,e,f",
		"type=user,id=x",
		"k=v",
		"",
		"{\"driver\":\"e1000\",\"n\":5,\"b\":false,\"o\":{\"x\":[1,null]},\"s\":\"a,b\"}",
	};
	static const char *const same[] = {
		NULL, NULL, "user,id=x", NULL, NULL, NULL,
	};
	struct twx_error e;
	struct kv *kv;

	for (size_t i = 0; i < array_size(texts); i++) {
		char *text;

		assert_int_equal(kv_parse(&kv, texts[i], "type", &e), 0);
		text = kv_print(kv);
		assert_string_equal(text, same[i] ? same[i] : texts[i]);
		free(text);
		kv_free(kv);
	}
	assert_int_equal(kv_parse(&kv, "user,id=a,x=1,x=2,on", "type", &e), 0);
	assert_string_equal(kv_get(kv, "x"), "2");
	assert_string_equal(kv_get(kv, "on"), "on");
	kv_set(kv, "x", "3");
	kv_set(kv, "id", NULL);
	kv_set(kv, "y", "a,b");
	char *text = kv_print(kv);

	assert_string_equal(text, "user,x=3,on,y=a,,b");
	free(text);
	kv_free(kv);
	assert_true(kv_parse(&kv, "{\"a\":1,\"a\":2}", NULL, &e) < 0);
	assert_true(kv_parse(&kv, "{", NULL, &e) < 0);
}

/* The installed QEMU's own list of options is in the table, each with its value or without. */
static void test_qemu_help(void **state)
{
	FILE *f = popen("qemu-system-x86_64 -help 2>/dev/null", "r");
	char line[4096];
	int n = 0;

	while (f && fgets(line, sizeof(line), f)) {
		const struct qemu_option *o = qemu_options;
		char name[64];

		if (line[0] != '-' ||
		    sscanf(line + strspn(line, "-"), "%63[A-Za-z0-9_-]", name) != 1)
			continue;
		while (o->name && strcmp(o->name, name))
			o++;
		if (!o->name) {
			print_error("-%s is not in the table\n", name);
			fail();
		}
		n++;
	}
	if (f)
		pclose(f);
	if (!n)
		skip();
}

/* A word that needs a value is refused without one; a word that needs none is not. */
static void test_qemu_values(void **state)
{
	int n = 0;

	for (const struct qemu_option *o = qemu_options; o->name; o++) {
		char command[256], line[4096] = "";
		FILE *f;
		bool known, refused;

		/* Alone, a word without a value would start a machine. */
		snprintf(command, sizeof(command), "qemu-system-x86_64 -%s %s2>&1 </dev/null",
			 o->name, o->has_value ? "" : "-version ");
		f = popen(command, "r");
		assert_non_null(f);
		line[fread(line, 1, sizeof(line) - 1, f)] = '\0';
		if (pclose(f) == 127 << 8)
			skip();
		known = !strstr(line, "invalid option");
		refused = strstr(line, "requires an argument");
		if (known && refused != o->has_value) {
			print_error("%s: %s\n", command, line);
			fail();
		}
		n += known;
	}
	assert_true(n > 80);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lists),	    cmocka_unit_test(test_args),
		cmocka_unit_test(test_help),	    cmocka_unit_test(test_accel),
		cmocka_unit_test(test_memory_size), cmocka_unit_test(test_samples),
		cmocka_unit_test(test_qemu_help),   cmocka_unit_test(test_qemu_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
