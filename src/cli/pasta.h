/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the personality pasta share. */
#ifndef CLI_PASTA_H
#define CLI_PASTA_H

#include <stdbool.h>

#include "cli/kv.h"

/*
 * -t and -u: "none", or "[ADDR/]PORT[-PORT][:PORT[-PORT]],...,~PORT[-PORT]" becomes hostfwd=
 * options of
 * @netdev. 0 or -errno.
 */
int pasta_ports(struct kv *netdev, bool udp, const char *spec, struct twx_error *e);

#endif
