/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A saved machine from a hostile source: the input is the file, read into a machine with a
 * virtio-net-pci and, behind a root port, another one. What is taken runs, takes frames, and works
 * after a reset; what is refused is refused with a sentence, and nothing runs on what it has left
 * in memory.
 */
#include <stdio.h>
#include <sys/mman.h>

#include "base/macros.h"
#include "fuzz.h"
#include "machine_kit.h"

static void plug(struct kit *k, int *peer)
{
	static const char *const nics[] = { "virtio-net-pci,netdev=n,addr=5,id=b",
					    "virtio-net-pci,netdev=h1,bus=rp,id=c" };
	struct twx_backend *b;
	struct twx_nic *nic;
	char text[96];
	int fd[2], rc;

	rc = socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd);
	assert(rc == 0);
	*peer = fd[1];
	snprintf(text, sizeof(text), "dgram,id=n,local.type=fd,local.str=%d", fd[0]);
	rc = twx_backend_new(&b, k->net, text, NULL);
	assert(rc == 0);
	rc = twx_backend_new(&b, k->net, "hubport,id=h1,hubid=0", NULL);
	assert(rc == 0);
	rc = twx_machine_device(k->machine, "pcie-root-port,id=rp,addr=6", NULL);
	assert(rc == 0);
	for (size_t i = 0; i < array_size(nics); i++) {
		rc = twx_nic_new(&nic, k->net, nics[i], NULL);
		assert(rc == 0);
	}
}

static int load(struct kit *k, const uint8_t *data, size_t size, struct twx_error *e)
{
	int fd = memfd_create("state", MFD_CLOEXEC), rc;
	char path[32];

	assert(fd >= 0);
	rc = write(fd, data, size) == (ssize_t)size;
	assert(rc);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	rc = twx_machine_load(k->machine, path, e);
	close(fd);
	return rc;
}

static void run(struct kit *k, int peer)
{
	static const char life[] = "clock_step 1000000000\n", reset[] = "outb 0xcf9 6\n",
			  look[] = "outl 0xcf8 0x80002800\ninl 0xcfc\n",
			  want[] = "OK\nOK 0x10001af4\n";
	const uint8_t frame[64] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 };

	kit_converse(k);
	for (int i = 0; i < 3; i++) {
		(void)send(peer, frame, sizeof(frame), MSG_DONTWAIT);
		(void)kit_talk(k, life, strlen(life));
	}
	(void)kit_talk(k, reset, strlen(reset));
	/* A step over many timers may be under way still. */
	for (int i = 0; i < 10000; i++) {
		(void)kit_talk(k, look, strlen(look));
		if (k->n_said >= strlen(want) && !strcmp(k->said + k->n_said - strlen(want), want))
			return;
	}
	assert(!"the machine does not answer");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct twx_error e = { 0 };
	struct kit k;
	int peer;

	kit_open(&k);
	plug(&k, &peer);
	if (load(&k, data, size, &e) == 0)
		run(&k, peer);
	else
		assert(e.what[0] && !twx_machine_running(k.machine));
	kit_close(&k);
	close(peer);
	return 0;
}
