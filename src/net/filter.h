/* SPDX-License-Identifier: BSD-3-Clause */
/* Filters: what looks at, or takes, the frames that pass a backend. */
#ifndef NET_FILTER_H
#define NET_FILTER_H

#include <stdbool.h>
#include <stddef.h>

#include <twinax/net.h>

/* Which way a frame goes, seen from the backend: rx to it, tx from it. */
enum filter_queue { FILTER_RX = 1, FILTER_TX = 2, FILTER_ALL = 3 };

struct twx_filter_type {
	const char *name;
	const char *help;
	const struct twx_opt_desc *options; /* own and common ones */
	size_t priv_size;
	int (*open)(struct twx_filter *f, const struct twx_opts *opts, struct twx_error *e);
	void (*close)(struct twx_filter *f);
	/*
	 * True: taken, nobody else sees the frame until filter_inject(). Sizes have been checked.
	 * The frame's memory is gone when this returns.
	 */
	bool (*frame)(struct twx_filter *f, struct twx_port *sender, const struct twx_frame *frame);
	/* Optional: the cable was pulled; frames that were taken have nowhere to go. */
	void (*purge)(struct twx_filter *f);
	/* The own "key=value" pairs of `info network`, each followed by a comma. */
	void (*info)(struct twx_filter *f, char *buf, size_t size);
};

struct twx_filter {
	const struct twx_filter_type *type;
	struct twx_net *net;
	struct twx_port *port;
	char id[64];
	enum filter_queue queue;
	bool on;
	char position[72];
	bool insert_before;
	struct twx_filter *next, *prev; /* chain of the port; the head's prev is the tail */
	struct twx_filter *net_next;
	struct twx_opts *opts;
	void *priv;
};

/* The options that every filter has, to begin a type's table with. */
#define FILTER_COMMON_OPTIONS                                                                      \
	{ "netdev", TWX_OPT_STR,     NULL, "backend whose frames pass the filter",                 \
	  "ID",	    .required = true },                                                            \
		{ "queue", TWX_OPT_ENUM, "all", "rx: frames to the backend, tx: frames from it",   \
		  "all|rx|tx" },                                                                   \
		{ "status", TWX_OPT_STR, "on", "off: frames pass unseen", "on|off" },              \
		{ "position", TWX_OPT_STR, "tail", "place in the backend's chain",                 \
		  "head|tail|id=ID" },                                                             \
	{                                                                                          \
		"insert", TWX_OPT_STR, "behind", "side of the filter that position=id= names",     \
			"before|behind"                                                            \
	}

extern const struct twx_filter_type filter_dump;
extern const struct twx_filter_type filter_impair;

/*
 * Shows a frame from @sender to @receiver to the sender's chain in order, then to the receiver's in
 * reverse. True: a filter has taken it.
 */
bool filter_run(struct twx_port *sender, struct twx_port *receiver, const struct twx_frame *frame);

/*
 * Frames that @f took earlier, or makes up, go on behind it the given way (FILTER_RX or FILTER_TX):
 * through the filters that come after @f, then to the receiver or, while that is busy, into its
 * queue. Filters before @f do not see them. 1..TWX_BURST frames, copied where they have to wait; not
 * from inside frame(). Link down and no peer drop them.
 */
void filter_inject(struct twx_filter *f, enum filter_queue way, const struct twx_frame *frames,
		   int n);

/* As filter_run(), for the filters that come after @f on the way from @sender to @receiver. */
bool filter_run_behind(struct twx_filter *f, struct twx_port *sender, struct twx_port *receiver,
		       const struct twx_frame *frame);

/* The cable at @port was pulled: its filters let go of what they hold. */
void filter_purge(struct twx_port *port);

/* The line of `info network`, without what leads and ends it. */
void filter_info(struct twx_filter *f, char *buf, size_t size);

#endif
