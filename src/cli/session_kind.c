/* SPDX-License-Identifier: BSD-3-Clause */
/* The options of a session by their names. */
#include "cli/session.h"

const char *const session_option[SESSION_N_KINDS] = {
	[SESSION_CHARDEV] = "chardev", [SESSION_NETDEV] = "netdev", [SESSION_OBJECT] = "object",
	[SESSION_DEVICE] = "device",   [SESSION_QMP] = "qmp",
};
