/* SPDX-License-Identifier: BSD-3-Clause */
/* smb=: a folder of the host as \\x.x.x.4\qemu, served by Samba's smbd. */

/*
 * Ports 139 and 445 of smbserver= are programs of guestfwd.c: each connection gets an smbd of its
 * own, with the connection as its standard input, which is how smbd runs without being a daemon and
 * without privilege. Its configuration and all that it writes are in a folder made for this backend
 * and removed with it. Guests come in as the user that runs us, with that user's rights in the
 * folder and no password. smbd ends with a signal to its process group: it leads one of its own.
 *
 * The folder's name goes into a file that smbd parses, where '%' begins a variable and a line's end
 * a new line: a name with such characters is refused.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/user/user.h"
#include "base/hostops.h"
#include "base/macros.h"
#include "net/net_priv.h"

#define SMBD "/usr/sbin/smbd"

struct user_smb {
	char dir[32]; /* smbd's, empty: there is none yet */
};

static const char config[] = "[global]\n"
			     "\tsecurity = user\n"
			     "\tmap to guest = Bad User\n"
			     "\tinterfaces = 127.0.0.1\n"
			     "\tbind interfaces only = yes\n"
			     "\tprivate dir = %1$s\n"
			     "\tpid directory = %1$s\n"
			     "\tlock directory = %1$s\n"
			     "\tstate directory = %1$s\n"
			     "\tcache directory = %1$s\n"
			     "\tncalrpc dir = %1$s/ncalrpc\n"
			     "\tlog file = %1$s/log.smbd\n"
			     "\tsmb passwd file = %1$s/smbpasswd\n"
			     "\tload printers = no\n"
			     "\tprinting = bsd\n"
			     "\tdisable spoolss = yes\n"
			     "\tusershare max shares = 0\n"
			     "[qemu]\n"
			     "\tpath = %2$s\n"
			     "\tread only = no\n"
			     "\tguest ok = yes\n"
			     "\tforce user = %3$s\n";

/* The folder's full name, as smbd's configuration can hold it. */
static int resolve_folder(struct user *u, const char *folder, char path[PATH_MAX],
			  struct twx_error *e)
{
	int fd = hostops_open(net_hostops(u->backend->net), folder, O_RDONLY | O_DIRECTORY, 0);
	char link[32];
	ssize_t n;

	if (fd < 0)
		return twx_error_set(e, -fd, "Error accessing shared directory '%s': %s", folder,
				     strerror(-fd));
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, PATH_MAX - 1);
	close(fd);
	if (n < 0)
		return twx_error_set(e, errno, "Error accessing shared directory '%s': %s", folder,
				     strerror(errno));
	path[n] = 0;
	for (ssize_t i = 0; i < n; i++) {
		if ((uint8_t)path[i] >= ' ' && !strchr("%\"\\;#", path[i]))
			continue;
		twx_error_set(e, EINVAL,
			      "Shared directory '%s' has a character that smbd's configuration "
			      "cannot hold",
			      folder);
		return twx_error_hint(e, "share a folder without %% \" \\ ; # in its name");
	}
	return 0;
}

static int write_config(struct user *u, const char *folder, struct twx_error *e)
{
	const struct twx_hostops *ops = net_hostops(u->backend->net);
	struct passwd entry, *pw = NULL;
	char *text = NULL, path[64], buf[4096];
	int fd, len;

	if (getpwuid_r(geteuid(), &entry, buf, sizeof(buf), &pw) || !pw)
		return twx_error_set(e, ENOENT, "Failed to retrieve user name");
	snprintf(path, sizeof(path), "%s/smb.conf", u->smb->dir);
	fd = hostops_open(ops, path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	len = fd < 0 ? fd : asprintf(&text, config, u->smb->dir, folder, pw->pw_name);
	if (len > 0 && write(fd, text, (size_t)len) != len)
		len = -EIO;
	free(text);
	if (fd >= 0)
		close(fd);
	if (len < 0)
		return twx_error_set(e, EIO,
				     "could not create samba server configuration file '%s'", path);
	return 0;
}

/* A port of the server: guestfwd=tcp:SERVER:PORT-cmd:SMBD. */
static int add_port(struct user *u, struct in_addr server, unsigned int port, struct twx_error *e)
{
	char rule[256], addr[INET_ADDRSTRLEN];
	const char *dir = u->smb->dir;

	inet_ntop(AF_INET, &server, addr, sizeof(addr));
	snprintf(rule, sizeof(rule), "tcp:%s:%u-cmd:exec setsid " SMBD " -l %s -s %s/smb.conf",
		 addr, port, dir, dir);
	if (!guestfwd_add(u, rule, NULL))
		return 0;
	twx_error_set(e, EINVAL, "Conflicting/invalid smbserver address");
	return twx_error_hint(e, "give smbserver= a free address inside net=");
}

/* Samba as Debian has it. */
static int find_smbd(struct user *u, struct twx_error *e)
{
	int fd = hostops_open(net_hostops(u->backend->net), SMBD, O_PATH, 0);

	if (fd >= 0) {
		close(fd);
		return 0;
	}
	twx_error_set(e, -fd, "Could not find '" SMBD "', please install it");
	return twx_error_hint(e, "smb= needs Samba: apt-get install samba");
}

int smb_init(struct user *u, const struct twx_opts *opts, struct twx_error *e)
{
	const char *folder = twx_opts_str(opts, "smb"), *text = twx_opts_str(opts, "smbserver");
	struct in_addr server = { u->cfg.net.s_addr | (htonl(0x0204) & ~u->cfg.mask.s_addr) };
	char path[PATH_MAX];
	int err;

	if (text && !inet_aton(text, &server))
		return twx_error_set(e, EINVAL, "Failed to parse SMB address");
	if (!folder)
		return 0;
	if (!u->cfg.ipv4) {
		twx_error_set(e, EINVAL, "Parameter 'smb' takes IPv4, which is off");
		return twx_error_hint(e, "leave ipv4=off or smb= out");
	}
	err = find_smbd(u, e);
	if (!err)
		err = resolve_folder(u, folder, path, e);
	if (err)
		return err;
	u->smb = calloc(1, sizeof(*u->smb));
	if (!u->smb)
		return twx_error_set(e, ENOMEM, "netdev %s: out of memory", u->backend->id);
	snprintf(u->smb->dir, sizeof(u->smb->dir), "/tmp/twinax-smb.");
	err = hostops_make_dir(net_hostops(u->backend->net), u->smb->dir);
	if (err) {
		u->smb->dir[0] = 0;
		return twx_error_set(e, -err, "could not create samba server dir in /tmp: %s",
				     strerror(-err));
	}
	err = write_config(u, path, e);
	if (!err)
		err = add_port(u, server, 139, e);
	if (!err)
		err = add_port(u, server, 445, e);
	return err;
}

/* After guestfwd_fini(), which ends the programs. */
void smb_fini(struct user *u)
{
	if (!u->smb)
		return;
	if (u->smb->dir[0])
		hostops_remove_dir(net_hostops(u->backend->net), u->smb->dir);
	free(u->smb);
	u->smb = NULL;
}
