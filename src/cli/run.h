/* SPDX-License-Identifier: BSD-3-Clause */
/* `twinax run`: what its files, and the programs that it can be called as, share. */
#ifndef CLI_RUN_H
#define CLI_RUN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <twinax/netns.h>
#include <twinax/twinax.h>

#include "cli/kv.h"
#include "cli/session.h"

/* --- run_command.c: COMMAND in namespaces of its own --- */

struct run_command {
	const char *name; /* of this program, for messages */
	pid_t pid;	  /* 0: there is none */
	int sock;	  /* ours of a pair; -1 */
	int user_ns, net_ns, mnt_ns;
};
/*
 * A child in new user, network and mount namespaces that waits for run_command_go(). To be called
 * before there are threads. 0, or 1 after an error message.
 */
int run_command_start(struct run_command *c, char *const *argv);
/* COMMAND takes its place; 0, or its exit status (127, 126) after an error message. */
int run_command_go(struct run_command *c, const char *name);
void run_command_close(
	struct run_command *c); /* the descriptors; the child ends if it still waits */

/* --- run_world.c: a namespace, a network, and the cable between them --- */

struct run_world {
	struct session session;
	const char *netdev; /* id of the backend that the namespace is connected with */
	struct twx_netns_config tap;
	bool configure;	     /* addresses as the network has them */
	bool resolv;	     /* and its name server */
	struct in_addr addr; /* in place of the network's choice; or 0 */
	struct twx_guest_config guest;
};
/* Makes everything; 0, or 1 after an error message. */
int run_world_make(struct run_world *w);

/* --- run_main.c, run_target.c: from the making to the end --- */

struct run {
	const char *name; /* of this program, for messages */
	struct run_world world;
	struct run_command command;
	char *const *argv;     /* COMMAND; null: there is none */
	struct kv *netdev;     /* of the namespace */
	pid_t pid;	       /* whose namespace it is, or 0 */
	const char *path;      /* a file that is one, or null */
	const char *user_path; /* and one that is the user namespace, or null */
	bool path_stays;       /* that the file is gone is not the end */
	const char *path_base;
	int path_dir;
	struct stat path_is;
	bool background;     /* the caller goes on when the network is there */
	bool keep_stderr;    /* and messages go on */
	const char *pidfile; /* written then; or null */
	const char *log;     /* a file for messages, but not COMMAND's; or null */
	int report;	     /* to the process that waits for that; -1: none does */
	int ready_fd, exit_fd;
	const char *ready_text;
	uint32_t exit_events;
	int (*made)(struct run *r); /* the network is there, COMMAND not yet; 1 after an error
				       message */
	void *opaque;		    /* of made */
	int status;
	struct twx_child child;
	struct twx_watch signals, exit_watch, pid_watch, mounts, file;
};
void run_init(struct run *r, const char *name);
/* Everything; the exit status. */
int run_main(struct run *r);
void run_end(struct run *r);
void run_stop(struct run *r); /* the loop ends */
/* The user's shell, for where no COMMAND is given. */
char **run_shell(void);
/* Whether the user-mode network of this library has the option. */
bool run_user_has(const char *option);

/* The namespace by r->pid or r->path; 0, or 1 after an error message. */
int run_target_open(struct run *r);
void run_target_close(struct run *r);
/* Adds @w; closes @fd if that fails, or takes -errno as it. */
int run_watch_fd(struct run *r, struct twx_watch *w, int fd, uint32_t events, twx_watch_fn *fn,
		 const char *what);

/* --- run_ports.c --- */

/*
 * "[tcp|udp:][ADDR:]PORT[-PORT][:PORT[-PORT]]", IPv6 addresses in brackets, becomes hostfwd=
 * options of @netdev. 0 or -errno.
 */
int run_publish(struct kv *netdev, const char *spec, struct twx_error *e);

#endif
