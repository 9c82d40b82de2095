/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Less for a process that has opened what it needs.
 *
 * sandbox_enter() makes a mount namespace (and a user namespace around it, for who may not do that
 * otherwise) whose root is a tmpfs with /etc, which the name server's forwarder reads, and /run,
 * where what /etc/resolv.conf leads to may lie. Mounts there go on following the host's, so that
 * none is kept busy. The filter is a list of what is refused: the C library's and the kernel's next
 * version may need calls that nobody has thought of.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/macros.h"
#include "cli/cli.h"
#include "cli/sandbox.h"

#ifdef TWINAX_HAVE_SECCOMP
#include <seccomp.h>
#endif

#define ROOT "/tmp" /* any folder: nothing of it is seen afterwards */

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

static int own_mounts(void)
{
	unsigned int uid = geteuid(), gid = getegid();
	char map[64];
	int err;

	if (!unshare(CLONE_NEWNS))
		return 0;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
		return -errno;
	snprintf(map, sizeof(map), "%u %u 1\n", uid, uid);
	err = write_file("/proc/self/uid_map", map);
	if (!err)
		err = write_file("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "%u %u 1\n", gid, gid);
	return err ? err : write_file("/proc/self/gid_map", map);
}

/* @from as it is now and will be, for reading, at @to. */
static int show(const char *from, const char *to)
{
	struct stat st;

	if (stat(from, &st))
		return 0;
	if (mkdir(to, 0755) || mount(from, to, NULL, MS_BIND | MS_REC, NULL))
		return -errno;
	/* Its own flags stay: in a user namespace none may be taken away. */
	mount(NULL, to, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL);
	return 0;
}

static int small_root(void)
{
	int err;

	if (mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) ||
	    mount("tmpfs", ROOT, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=64k,mode=0755"))
		return -errno;
	err = show("/etc", ROOT "/etc");
	if (!err)
		err = show("/run", ROOT "/run");
	if (err)
		return err;
	if (chdir(ROOT) || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) ||
	    chdir("/") || mount(NULL, "/", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL))
		return -errno;
	return 0;
}

static int few_capabilities(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct now[2], data[2] = { 0 };
	const uint32_t keep = 1u << CAP_NET_BIND_SERVICE;

	if (syscall(SYS_capget, &head, now))
		return -errno;
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
		if (cap != CAP_NET_BIND_SERVICE)
			prctl(PR_CAPBSET_DROP, cap);
	data[0].effective = data[0].permitted = now[0].permitted & keep;
	return syscall(SYS_capset, &head, data) ? -errno : 0;
}

int sandbox_enter(const char *name)
{
	int err = own_mounts();

	if (!err)
		err = small_root();
	if (!err)
		err = few_capabilities();
	if (!err && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		err = -errno;
	return err ? cli_fail_text(name, NULL, "cannot make the sandbox: %s", strerror(-err)) : 0;
}

#ifdef TWINAX_HAVE_SECCOMP

/* By name: a kernel, or an architecture, need not have each. */
static const char *const refused[] = {
	"acct",
	"add_key",
	"adjtimex",
	"bpf",
	"chroot",
	"clock_settime",
	"delete_module",
	"execve",
	"execveat",
	"finit_module",
	"fsconfig",
	"fsmount",
	"fsopen",
	"fspick",
	"init_module",
	"io_uring_setup",
	"ioperm",
	"iopl",
	"kcmp",
	"kexec_file_load",
	"kexec_load",
	"keyctl",
	"mount",
	"mount_setattr",
	"move_mount",
	"name_to_handle_at",
	"open_by_handle_at",
	"open_tree",
	"perf_event_open",
	"personality",
	"pivot_root",
	"process_vm_readv",
	"process_vm_writev",
	"ptrace",
	"quotactl",
	"reboot",
	"request_key",
	"setdomainname",
	"sethostname",
	"setns",
	"settimeofday",
	"swapoff",
	"swapon",
	"syslog",
	"umount2",
	"unshare",
	"userfaultfd",
	"vhangup",
};

int sandbox_filter(const char *name)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int err = ctx ? 0 : -ENOMEM, nr;
	size_t i;

	/* A tree instead of a list; where libseccomp is too old for it, the list does. */
	if (!err)
		seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	for (i = 0; i < array_size(refused) && !err; i++) {
		nr = seccomp_syscall_resolve_name(refused[i]);
		if (nr != __NR_SCMP_ERROR)
			err = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), nr, 0);
	}
	if (!err)
		err = seccomp_load(ctx);
	if (ctx)
		seccomp_release(ctx);
	return err ? cli_fail_text(name, NULL, "cannot load the system call filter: %s",
				   strerror(-err))
		   : 0;
}

#endif
