/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A bzImage's compressed kernel, unpacked once and kept.
 *
 * Most of the time from power-on to a kernel's first line is spent unpacking it: Linux's xz decoder
 * needs half a second for Debian's. So does anybody else's, which is why unpacking here pays only
 * when the result is kept: in a directory that the program chooses (config.kernel_cache), as
 * "kernel-KEY", where KEY is a hash of which file the image is and when it was last changed, its
 * length, its beginning (the setup header) and the payload's end (where the compressor's checksum
 * of all of it is). The newest KEEP files stay. What a file says alone is no key: who makes an
 * image can make it look like another one there, and would be started in its place.
 *
 * Who may write there can change the kernel of the next guest, so files of other users, and files
 * that others may write, are not used. A file is complete from the moment that it has its name.
 * Pages of zeros are holes in it.
 *
 * Formats (Linux, arch/x86/boot/compressed/Makefile): xz and zstd, each followed by the unpacked
 * length, four bytes; each if its library was there at build time.
 */
#include "hosts/machine/linux_unpack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef TWINAX_HAVE_LZMA
#include <lzma.h>
#endif
#ifdef TWINAX_HAVE_ZSTD
#include <zstd.h>
#endif

#include "base/endian.h"
#include "base/macros.h"
#include "base/siphash.h"

#define PAGE 4096u
#define PACKED_MAX (256ull << 20)
#define UNPACKED_MAX (512ull << 20)
#define KEY_TAIL 65536u
#define KEEP 4u

struct packed {
	const uint8_t *data;
	size_t len;
	uint8_t *out;
	size_t out_len;
};

#ifdef TWINAX_HAVE_LZMA
static bool unpack_xz(const struct packed *p)
{
	uint64_t limit = 256ull << 20;
	size_t in = 0, out = 0;

	return lzma_stream_buffer_decode(&limit, 0, NULL, p->data, &in, p->len, p->out, &out,
					 p->out_len) == LZMA_OK &&
	       out == p->out_len;
}
#endif

#ifdef TWINAX_HAVE_ZSTD
static bool unpack_zstd(const struct packed *p)
{
	return ZSTD_decompress(p->out, p->out_len, p->data, p->len) == p->out_len;
}
#endif

static const struct {
	const char *magic;
	size_t magic_len;
	bool (*unpack)(const struct packed *p);
} formats[] = {
#ifdef TWINAX_HAVE_LZMA
	{ "\xfd"
	  "7zXZ",
	  6, unpack_xz },
#endif
#ifdef TWINAX_HAVE_ZSTD
	{ "\x28\xb5\x2f\xfd", 4, unpack_zstd },
#endif
	{ "", 0, NULL },
};

static bool (*unpacker(const uint8_t *p, size_t len))(const struct packed *p)
{
	for (size_t i = 0; i < array_size(formats) && formats[i].unpack; i++)
		if (len > formats[i].magic_len &&
		    memcmp(p, formats[i].magic, formats[i].magic_len) == 0)
			return formats[i].unpack;
	return NULL;
}

/* The cache */

struct which {
	uint64_t dev, ino, changed_s, changed_ns, len;
};

/* The time of change is the kernel's own: nobody sets it. */
static int which_file(const struct boot_file *f, struct which *w)
{
	struct stat st;

	if (fstat(f->fd, &st) < 0)
		return -errno;
	*w = (struct which){ st.st_dev, st.st_ino, (uint64_t)st.st_ctim.tv_sec,
			     (uint64_t)st.st_ctim.tv_nsec, f->len };
	return 0;
}

/* @end: of the payload. */
static int path_of(struct twx_machine *m, const struct boot_file *f, uint64_t end, char *path,
		   size_t room)
{
	static const struct siphash_key key = { 0x74656e72656b, 0x65686361 };
	uint64_t tail = min(end, (uint64_t)KEY_TAIL), hash;
	uint8_t *buf = malloc(BOOT_HEAD + KEY_TAIL + sizeof(struct which));
	struct which which;
	int rc = buf ? which_file(f, &which) : -ENOMEM, n;

	if (rc == 0)
		rc = boot_read(f, 0, buf, BOOT_HEAD, NULL);
	if (rc == 0)
		rc = boot_read(f, end - tail, buf + BOOT_HEAD, tail, NULL);
	if (rc == 0) {
		memcpy(buf + BOOT_HEAD + tail, &which, sizeof(which));
		hash = siphash(&key, buf, BOOT_HEAD + tail + sizeof(which));
		n = snprintf(path, room, "%s/kernel-%016llx", m->kernel_cache,
			     (unsigned long long)hash);
		rc = n < 0 || (size_t)n >= room ? -ENAMETOOLONG : 0;
	}
	free(buf);
	return rc;
}

/* An unpacked kernel of that length, ours alone. */
static int cache_open(struct twx_machine *m, const char *path, uint64_t len, struct boot_file *out)
{
	struct stat st;

	out->fd = hostops_open(machine_hostops(m), path, O_RDONLY | O_NOFOLLOW, 0);
	if (out->fd < 0)
		return out->fd;
	if (fstat(out->fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
	    !(st.st_mode & 022) && (uint64_t)st.st_size == len) {
		out->len = len;
		return 0;
	}
	close(out->fd);
	return -EPERM;
}

static int write_at(int fd, const uint8_t *p, size_t len, size_t off)
{
	ssize_t n;

	for (; len; p += n, off += (size_t)n, len -= (size_t)n) {
		n = pwrite(fd, p, len, (off_t)off);
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
	}
	return 0;
}

/* Pages of zeros are left out. */
static int write_pages(int fd, const uint8_t *p, size_t len)
{
	static const uint8_t zeros[PAGE];
	int rc = 0;

	for (size_t off = 0; off < len && rc == 0; off += PAGE) {
		size_t n = min((size_t)PAGE, len - off);

		if (memcmp(p + off, zeros, n) != 0)
			rc = write_at(fd, p + off, n, off);
	}
	if (rc == 0 && ftruncate(fd, (off_t)len) < 0)
		rc = -errno;
	return rc;
}

/* All but the newest. */
static void cache_trim(struct twx_machine *m)
{
	struct {
		char name[32];
		struct timespec when;
	} oldest = { .name = "" };
	unsigned int n = 0;
	int fd = hostops_open(machine_hostops(m), m->kernel_cache, O_RDONLY | O_DIRECTORY, 0);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	char path[4096];
	struct dirent *d;
	struct stat st;

	while (dir && (d = readdir(dir))) {
		if (strncmp(d->d_name, "kernel-", 7) != 0 || strlen(d->d_name) >= 32 ||
		    fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (n++ == 0 || st.st_mtim.tv_sec < oldest.when.tv_sec) {
			memcpy(oldest.name, d->d_name, strlen(d->d_name) + 1);
			oldest.when = st.st_mtim;
		}
	}
	if (dir)
		closedir(dir);
	else if (fd >= 0)
		close(fd);
	if (n > KEEP && (size_t)snprintf(path, sizeof(path), "%s/%s", m->kernel_cache,
					 oldest.name) < sizeof(path))
		(void)hostops_unlink(machine_hostops(m), path);
}

static int unpack_to(int fd, struct packed *p)
{
	bool (*unpack)(const struct packed *) = unpacker(p->data, p->len);
	int rc;

	if (!unpack)
		return -ENOTSUP;
	p->out = mmap(NULL, p->out_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p->out == MAP_FAILED)
		return -ENOMEM;
	rc = unpack(p) ? write_pages(fd, p->out, p->out_len) : -EINVAL;
	munmap(p->out, p->out_len);
	/* A name must not outlive a power cut that its bytes do not. */
	return rc == 0 && fdatasync(fd) < 0 ? -errno : rc;
}

/* The file first: where none can be made, nothing is unpacked at every start for nobody. */
static int cache_make(struct twx_machine *m, const char *path, struct packed *p)
{
	const struct twx_hostops *h = machine_hostops(m);
	char tmp[4096];
	int fd, rc;

	if ((size_t)snprintf(tmp, sizeof(tmp), "%s.%d", path, (int)getpid()) >= sizeof(tmp))
		return -ENAMETOOLONG;
	fd = hostops_open(h, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	rc = unpack_to(fd, p);
	close(fd);
	if (rc == 0)
		rc = hostops_rename(h, tmp, path);
	if (rc < 0)
		(void)hostops_unlink(h, tmp);
	else
		cache_trim(m);
	return rc;
}

int unpack_payload(struct twx_machine *m, const struct boot_file *f, uint64_t off, uint64_t len,
		   struct boot_file *out)
{
	struct packed p = { 0 };
	uint8_t *data, magic[8];
	char path[4096];
	le32 size;
	int rc;

	if (!m->kernel_cache)
		return -ENOTSUP;
	if (off > f->len || len > f->len - off || len > PACKED_MAX || len < 64)
		return -EINVAL;
	rc = boot_read(f, off, magic, sizeof(magic), NULL);
	if (rc < 0 || !unpacker(magic, sizeof(magic)))
		return -ENOTSUP;
	rc = boot_read(f, off + len - sizeof(size), &size, sizeof(size), NULL);
	p.out_len = le32_get(size);
	if (rc < 0 || p.out_len < PAGE || p.out_len > UNPACKED_MAX)
		return -ENOTSUP;
	rc = path_of(m, f, off + len, path, sizeof(path));
	if (rc < 0 || cache_open(m, path, p.out_len, out) == 0)
		return rc;
	data = malloc(len);
	if (!data)
		return -ENOMEM;
	p.data = data;
	p.len = len - sizeof(size);
	rc = boot_read(f, off, data, len, NULL);
	if (rc == 0)
		rc = cache_make(m, path, &p);
	free(data);
	return rc == 0 ? cache_open(m, path, p.out_len, out) : rc;
}
