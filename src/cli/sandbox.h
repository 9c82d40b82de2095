/* SPDX-License-Identifier: BSD-3-Clause */
/* Less for a process that has opened what it needs. */
#ifndef CLI_SANDBOX_H
#define CLI_SANDBOX_H

/*
 * A root folder with nothing in it but /etc and /run, both read-only, and no capability but to bind
 * low ports; no program gets more. Threads do not go along: to be called before there are any. 0,
 * or 1 after an error message.
 */
int sandbox_enter(const char *name);
/* From here on, system calls that a network has no use for answer EPERM. The same. */
int sandbox_filter(const char *name);

#endif
