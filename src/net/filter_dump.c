/* SPDX-License-Identifier: BSD-3-Clause */
/* filter-dump: writes what passes a backend into a pcap file. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/hostops.h"
#include "base/iov.h"
#include "base/macros.h"
#include "net/filter.h"
#include "net/net_priv.h"

#define DUMP_BUFFER (64u << 10)
#define DUMP_TAG 4
#define DUMP_DELAY_NS                                                                              \
	(100 * UINT64_C(1000000)) /* a record is in the file after this at the latest */

/* The classic pcap format, in the byte order of the machine: readers tell by the magic. */
struct pcap_header {
	uint32_t magic;
	uint16_t version_major, version_minor;
	int32_t zone;
	uint32_t sigfigs;
	uint32_t snaplen;
	uint32_t linktype;
};

struct pcap_record {
	uint32_t sec, usec;
	uint32_t caplen, len;
};

struct dump {
	struct twx_filter *filter;
	int fd;
	bool broken; /* a write failed: no more dumping */
	uint32_t maxlen;
	struct twx_timer timer;
	size_t used;
	uint8_t *buf; /* DUMP_BUFFER and room for one record more */
};

#define DUMP_ROOM (DUMP_BUFFER + sizeof(struct pcap_record) + TWX_FRAME_MAX + DUMP_TAG)

static int dump_write(int fd, const uint8_t *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static void dump_flush(struct dump *d)
{
	int ret = dump_write(d->fd, d->buf, d->used);

	d->used = 0;
	twx_timer_cancel(&d->timer);
	if (ret < 0) {
		d->broken = true;
		twx_log(d->filter->net, TWX_LOG_WARNING,
			"filter %s: cannot write %s: %s; dumping stops, traffic goes on",
			d->filter->id, twx_opts_str(d->filter->opts, "file"), strerror(-ret));
	}
}

static void dump_timeout(struct twx_timer *timer)
{
	dump_flush(container_of(timer, struct dump, timer));
}

static void dump_append(struct dump *d, const void *data, size_t len)
{
	memcpy(d->buf + d->used, data, len);
	d->used += len;
}

/* Frame bytes [off, off + len), as far as the record has room. */
static void dump_append_frame(struct dump *d, const struct twx_frame *f, size_t off, size_t len)
{
	d->used += iov_copy_from(f->iov, f->n_iov, off, d->buf + d->used, len);
}

static bool dump_frame(struct twx_filter *f, struct twx_port *sender, const struct twx_frame *frame)
{
	bool tagged = frame->meta.flags & TWX_F_VLAN;
	uint16_t tci = frame->meta.vlan_tci;
	struct dump *d = f->priv;
	struct pcap_record rec;
	uint8_t head[16];
	uint32_t room;
	struct timespec now;

	if (d->broken)
		return false;
	clock_gettime(CLOCK_REALTIME, &now);
	rec.sec = (uint32_t)now.tv_sec;
	rec.usec = (uint32_t)(now.tv_nsec / 1000);
	rec.len = frame->len + (tagged ? DUMP_TAG : 0);
	rec.caplen = min(rec.len, d->maxlen);
	dump_append(d, &rec, sizeof(rec));
	room = rec.caplen;
	if (tagged) {
		uint32_t n = min(room, (uint32_t)sizeof(head));

		iov_copy_from(frame->iov, frame->n_iov, 0, head, 12);
		memcpy(head + 12, (uint8_t[]){ 0x81, 0x00, tci >> 8, tci & 0xff }, DUMP_TAG);
		dump_append(d, head, n);
		dump_append_frame(d, frame, 12, room - n);
	} else {
		dump_append_frame(d, frame, 0, room);
	}
	if (d->used >= DUMP_BUFFER)
		dump_flush(d);
	else if (!d->timer.slot)
		twx_timer_set(&d->timer, twx_loop_now(f->net->loop) + DUMP_DELAY_NS);
	return false;
}

static int dump_open_file(struct dump *d, const char *path, struct twx_error *e)
{
	const struct pcap_header header = {
		.magic = 0xa1b2c3d4,
		.version_major = 2,
		.version_minor = 4,
		.snaplen = d->maxlen,
		.linktype = 1,
	};
	int ret;

	ret = hostops_open(net_hostops(d->filter->net), path, O_CREAT | O_TRUNC | O_WRONLY, 0644);
	if (ret < 0)
		return twx_error_set(e, -ret, "filter %s: cannot open '%s': %s", d->filter->id,
				     path, strerror(-ret));
	d->fd = ret;
	ret = dump_write(d->fd, (const uint8_t *)&header, sizeof(header));
	if (ret < 0) {
		close(d->fd);
		return twx_error_set(e, -ret, "filter %s: cannot write '%s': %s", d->filter->id,
				     path, strerror(-ret));
	}
	return 0;
}

static int dump_open(struct twx_filter *f, const struct twx_opts *opts, struct twx_error *e)
{
	struct dump *d = f->priv;
	int ret;

	d->filter = f;
	d->maxlen = (uint32_t)twx_opts_int(opts, "maxlen");
	if (!d->maxlen)
		return twx_error_set(e, EINVAL,
				     "Property 'filter-dump.maxlen' doesn't take value '0'");
	d->buf = malloc(DUMP_ROOM);
	if (!d->buf)
		return twx_error_set(e, ENOMEM, "filter %s: out of memory", f->id);
	ret = dump_open_file(d, twx_opts_str(opts, "file"), e);
	if (ret < 0) {
		free(d->buf);
		return ret;
	}
	twx_timer_init(&d->timer, f->net->loop, dump_timeout);
	return 0;
}

static void dump_close(struct twx_filter *f)
{
	struct dump *d = f->priv;

	if (!d->broken)
		dump_flush(d);
	twx_timer_cancel(&d->timer);
	close(d->fd);
	free(d->buf);
}

static void dump_info(struct twx_filter *f, char *buf, size_t size)
{
	struct dump *d = f->priv;

	snprintf(buf, size, "file=%s,maxlen=%u,", twx_opts_str(f->opts, "file"), d->maxlen);
}

static const struct twx_opt_desc dump_options[] = {
	{ "file", TWX_OPT_STR, NULL, "pcap file to write", "PATH", .required = true },
	{ "maxlen", TWX_OPT_INT, "65536", "bytes kept of a frame", NULL, .max = UINT32_MAX },
	FILTER_COMMON_OPTIONS,
	{ NULL },
};

const struct twx_filter_type filter_dump = {
	.name = "filter-dump",
	.help = "writes frames into a pcap file",
	.options = dump_options,
	.priv_size = sizeof(struct dump),
	.open = dump_open,
	.close = dump_close,
	.frame = dump_frame,
	.info = dump_info,
};
