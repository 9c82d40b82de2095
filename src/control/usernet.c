/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands about user-mode networks: forwards and egress rules. */
#include "control/commands.h"

static struct twx_backend *find(struct qmp_call *call)
{
	return twx_usernet_find(call->net, qmp_str(call, "netdev"), &call->e);
}

enum qmp_status qmp_hostfwd_add(struct qmp_call *call)
{
	struct twx_backend *b = find(call);

	return b && !twx_usernet_hostfwd_add(b, qmp_str(call, "rule"), &call->e) ? QMP_DONE
										 : QMP_FAILED;
}

enum qmp_status qmp_hostfwd_remove(struct qmp_call *call)
{
	struct twx_backend *b = find(call);

	return b && !twx_usernet_hostfwd_remove(b, qmp_str(call, "rule"), &call->e) ? QMP_DONE
										    : QMP_FAILED;
}

static json_t *forward(const struct twx_usernet_fwd *f)
{
	json_t *o = json_pack("{ss}", "protocol", f->proto);

	json_object_set_new(o, f->host_port ? "host" : "path", qmp_text(f->host));
	if (f->host_port)
		json_object_set_new(o, "host-port", json_integer(f->host_port));
	json_object_set_new(o, "guest", json_string(f->guest));
	json_object_set_new(o, "guest-port", json_integer(f->guest_port));
	return o;
}

enum qmp_status qmp_query_hostfwd(struct qmp_call *call)
{
	struct twx_backend *b = find(call);
	struct twx_usernet_fwd f = { .size = sizeof(f) };
	uint32_t i = 0;

	if (!b)
		return QMP_FAILED;
	call->ret = json_array();
	while ((i = twx_usernet_hostfwd_next(b, i, &f)) != 0)
		json_array_append_new(call->ret, forward(&f));
	return QMP_DONE;
}

enum qmp_status qmp_query_rules(struct qmp_call *call)
{
	struct twx_backend *b = find(call);
	struct twx_usernet_rule r = { .size = sizeof(r) };
	uint32_t i;

	if (!b)
		return QMP_FAILED;
	call->ret = json_array();
	for (i = 0; twx_usernet_rule_at(b, i, &r); i++)
		json_array_append_new(
			call->ret, json_pack("{sssosI}", "action", r.allow ? "allow" : "deny",
					     "rule", qmp_text(r.text), "hits", (json_int_t)r.hits));
	return QMP_DONE;
}
