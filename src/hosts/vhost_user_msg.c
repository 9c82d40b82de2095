/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages: received without blocking, checked against one table, handed to their handlers, answered. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hosts/vhost_user.h"

#define MESSAGES_PER_ROUND 32 /* so that a flood of them does not starve the other ports of the loop */

#define HEAD(member) offsetof(union vu_payload, member)
#define U64 sizeof(uint64_t), sizeof(uint64_t)
#define STATE sizeof(struct vhost_vring_state), sizeof(struct vhost_vring_state)
#define NOTHING 0, 0
/* The specification counts 20 bytes, and structs on 64-bit machines 4 of padding more. */
#define INFLIGHT 20, 24
#define SLOT (HEAD(slot.region) + sizeof(struct vu_region))

enum { ANSWERS = 1, ANSWERS_FD = 2 };

/* Sizes and counts are inclusive. @feature is the protocol feature without which the message is not
 * legal, or -1. */
static const struct vu_rule {
	const char *name;
	uint32_t min, max;
	uint8_t min_fds, max_fds;
	int8_t feature;
	uint8_t flags;
	vu_handler *handle;
} rules[] = {
	/* clang-format off */
	[VU_GET_FEATURES] = { "GET_FEATURES", NOTHING, 0, 0, -1, ANSWERS, vu_get_features },
	[VU_SET_FEATURES] = { "SET_FEATURES", U64, 0, 0, -1, 0, vu_set_features },
	[VU_SET_OWNER] = { "SET_OWNER", NOTHING, 0, 0, -1, 0, vu_set_owner },
	[VU_RESET_OWNER] = { "RESET_OWNER", NOTHING, 0, 0, -1, 0, vu_reset_owner },
	/* User-mode Linux sends room for two regions and says one. */
	[VU_SET_MEM_TABLE] = { "SET_MEM_TABLE", HEAD(table.regions), HEAD(table.regions) + VU_TABLE_REGIONS * sizeof(struct vu_region),
			       0, VU_TABLE_REGIONS, -1, 0, vu_set_mem_table },
	[VU_SET_LOG_BASE] = { "SET_LOG_BASE", sizeof(uint64_t), 2 * sizeof(uint64_t), 0, 1, VU_P_LOG_SHMFD, ANSWERS, vu_set_log_base },
	[VU_SET_LOG_FD] = { "SET_LOG_FD", 0, sizeof(uint64_t), 1, 1, -1, 0, vu_set_log_fd },
	[VU_SET_VRING_NUM] = { "SET_VRING_NUM", STATE, 0, 0, -1, 0, vu_set_vring_num },
	[VU_SET_VRING_ADDR] = { "SET_VRING_ADDR", sizeof(struct vhost_vring_addr), sizeof(struct vhost_vring_addr), 0, 0, -1, 0, vu_set_vring_addr },
	[VU_SET_VRING_BASE] = { "SET_VRING_BASE", STATE, 0, 0, -1, 0, vu_set_vring_base },
	[VU_GET_VRING_BASE] = { "GET_VRING_BASE", STATE, 0, 0, -1, ANSWERS, vu_get_vring_base },
	[VU_SET_VRING_KICK] = { "SET_VRING_KICK", U64, 0, 1, -1, 0, vu_set_vring_kick },
	[VU_SET_VRING_CALL] = { "SET_VRING_CALL", U64, 0, 1, -1, 0, vu_set_vring_call },
	[VU_SET_VRING_ERR] = { "SET_VRING_ERR", U64, 0, 1, -1, 0, vu_set_vring_err },
	[VU_GET_PROTOCOL_FEATURES] = { "GET_PROTOCOL_FEATURES", NOTHING, 0, 0, -1, ANSWERS, vu_get_protocol_features },
	[VU_SET_PROTOCOL_FEATURES] = { "SET_PROTOCOL_FEATURES", U64, 0, 0, -1, 0, vu_set_protocol_features },
	[VU_GET_QUEUE_NUM] = { "GET_QUEUE_NUM", NOTHING, 0, 0, VU_P_MQ, ANSWERS, vu_get_queue_num },
	[VU_SET_VRING_ENABLE] = { "SET_VRING_ENABLE", STATE, 0, 0, -1, 0, vu_set_vring_enable },
	[VU_SEND_RARP] = { "SEND_RARP", U64, 0, 0, VU_P_RARP, 0, vu_send_rarp },
	[VU_NET_SET_MTU] = { "NET_SET_MTU", U64, 0, 0, VU_P_NET_MTU, 0, vu_set_mtu },
	[VU_SET_BACKEND_REQ_FD] = { "SET_BACKEND_REQ_FD", 0, sizeof(uint64_t), 1, 1, VU_P_BACKEND_REQ, 0, vu_set_req_fd },
	/* Its struct has 6 bytes of padding. */
	[VU_IOTLB_MSG] = { "IOTLB_MSG", HEAD(iotlb.type) + 1, sizeof(struct vhost_iotlb_msg), 0, 0, -1, 0, vu_iotlb_msg },
	[VU_GET_CONFIG] = { "GET_CONFIG", HEAD(config.data), HEAD(config.data) + VU_CONFIG_MAX, 0, 0, VU_P_CONFIG, ANSWERS, vu_get_config },
	[VU_SET_CONFIG] = { "SET_CONFIG", HEAD(config.data), HEAD(config.data) + VU_CONFIG_MAX, 0, 0, VU_P_CONFIG, 0, vu_set_config },
	[VU_GET_INFLIGHT_FD] = { "GET_INFLIGHT_FD", INFLIGHT, 0, 0, VU_P_INFLIGHT_SHMFD, ANSWERS | ANSWERS_FD, vu_get_inflight_fd },
	[VU_SET_INFLIGHT_FD] = { "SET_INFLIGHT_FD", INFLIGHT, 1, 1, VU_P_INFLIGHT_SHMFD, 0, vu_set_inflight_fd },
	[VU_RESET_DEVICE] = { "RESET_DEVICE", NOTHING, 0, 0, VU_P_RESET_DEVICE, 0, vu_reset_device },
	[VU_GET_MAX_MEM_SLOTS] = { "GET_MAX_MEM_SLOTS", NOTHING, 0, 0, VU_P_CONFIGURE_MEM_SLOTS, ANSWERS, vu_get_max_mem_slots },
	[VU_ADD_MEM_REG] = { "ADD_MEM_REG", SLOT, SLOT, 1, 1, VU_P_CONFIGURE_MEM_SLOTS, 0, vu_add_mem_reg },
	/* Some front ends attach the region's fd; it is closed unused, as the specification asks. */
	[VU_REM_MEM_REG] = { "REM_MEM_REG", SLOT, SLOT, 0, 1, VU_P_CONFIGURE_MEM_SLOTS, 0, vu_rem_mem_reg },
	[VU_SET_STATUS] = { "SET_STATUS", U64, 0, 0, VU_P_STATUS, 0, vu_set_status },
	[VU_GET_STATUS] = { "GET_STATUS", NOTHING, 0, 0, VU_P_STATUS, ANSWERS, vu_get_status },
	/* clang-format on */
};

static const struct vu_rule *rule_of(uint32_t request)
{
	if (request >= sizeof(rules) / sizeof(rules[0]) || rules[request].handle == NULL)
		return NULL;
	return &rules[request];
}

const char *vu_msg_name(uint32_t request)
{
	const struct vu_rule *rule = rule_of(request);

	return rule != NULL ? rule->name : "unknown request";
}

void vu_msg_close_fds(struct vu_msg *m)
{
	for (uint32_t i = 0; i < m->n_fds; i++)
		if (m->fds[i] >= 0)
			close(m->fds[i]);
	m->n_fds = 0;
}

/* Every fd that arrived is ours to close, also those that there is no room for. */
static bool collect_fds(struct vu_msg *m, struct msghdr *mh)
{
	bool ok = (mh->msg_flags & MSG_CTRUNC) == 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c != NULL; c = CMSG_NXTHDR(mh, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			if (m->n_fds < VU_MAX_FDS) {
				m->fds[m->n_fds++] = fd;
			} else {
				close(fd);
				ok = false;
			}
		}
	}
	return ok;
}

/* Up to @want bytes of the message in hand: >0, 0 at end of file, -EAGAIN or another -errno. */
static int receive_some(struct vu_host *vu, void *to, uint32_t want)
{
	struct vu_msg *m = &vu->msg;
	union {
		char buf[CMSG_SPACE(VU_MAX_FDS * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = to, .iov_len = want };
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.buf, .msg_controllen = sizeof(control.buf),
	};
	ssize_t n;

	do {
		n = recvmsg(vu->fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (!collect_fds(m, &mh))
		return -E2BIG;
	m->got += (uint32_t)n;
	return (int)n;
}

/* 1: a whole message is there; 0: not yet; -errno, -EPIPE for a peer that is gone. */
static int receive_message(struct vu_host *vu)
{
	struct vu_msg *m = &vu->msg;
	int n;

	for (;;) {
		uint32_t head = sizeof(m->head);
		bool in_head = m->got < head;

		/* Checked before the first payload byte is read. */
		if (m->got == head && m->head.size > sizeof(m->p))
			return -EMSGSIZE;
		if (!in_head && m->got == head + m->head.size)
			return 1;
		n = in_head ? receive_some(vu, (uint8_t *)&m->head + m->got, head - m->got)
			    : receive_some(vu, m->p.raw + (m->got - head),
					   head + m->head.size - m->got);
		if (n == 0)
			return -EPIPE;
		if (n < 0)
			return n == -EAGAIN ? 0 : n;
	}
}

/* Attaches the message's fd to its answer. */
static void attach_fd(struct msghdr *mh, void *control, int fd)
{
	struct cmsghdr *c = control;

	mh->msg_control = control;
	mh->msg_controllen = CMSG_SPACE(sizeof(fd));
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
}

/* An answer that does not fit the socket means that the front end has stopped reading. */
static bool answer(struct vu_host *vu, bool with_fd)
{
	struct vu_msg *m = &vu->msg;
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec iov[2] = {
		{ .iov_base = &m->head, .iov_len = sizeof(m->head) },
		{ .iov_base = m->p.raw, .iov_len = m->head.size },
	};
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n;

	if (with_fd && m->n_fds > 0)
		attach_fd(&mh, &control, m->fds[0]);
	m->head.flags = VU_VERSION | VU_REPLY;
	do {
		n = sendmsg(vu->fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n == (ssize_t)(sizeof(m->head) + m->head.size);
}

/* What can be said against a message without knowing its request's meaning. */
static int check(const struct vu_host *vu, const struct vu_rule *rule, const struct vu_msg *m)
{
	if (rule == NULL)
		return -EOPNOTSUPP;
	if (m->head.size < rule->min || m->head.size > rule->max)
		return -EBADMSG;
	if (m->n_fds < rule->min_fds || m->n_fds > rule->max_fds)
		return -EBADMSG;
	if (rule->feature >= 0 && (vu->protocol & VU_BIT(rule->feature)) == 0)
		return -EPROTO;
	return 0;
}

static const char *complaint(int err)
{
	switch (err) {
	case -EOPNOTSUPP:
		return "not supported";
	case -EBADMSG:
		return "wrong payload size or number of file descriptors";
	case -EPROTO:
		return "its protocol feature was not negotiated";
	case -EFAULT:
		return "address outside the memory table";
	case -EBUSY:
		return "a ring is running";
	default:
		return strerror(-err);
	}
}

/*
 * An error is told by the acknowledgement if the front end asked for one; without it, or where the
 * message itself is malformed, the end of the connection is the only answer that cannot be missed.
 */
static bool dispatch(struct vu_host *vu, const char **why)
{
	struct vu_msg *m = &vu->msg;
	const struct vu_rule *rule = rule_of(m->head.request);
	bool answers = rule != NULL && (rule->flags & ANSWERS) != 0, ack;
	int err = check(vu, rule, m);
	bool malformed = err == -EBADMSG;

	if ((m->head.flags & VU_VERSION_MASK) != VU_VERSION || (m->head.flags & VU_REPLY) != 0) {
		*why = "a header of another version";
		return false;
	}
	if (err == 0)
		err = rule->handle(vu, m);
	ack = (m->head.flags & VU_NEED_REPLY) != 0 && (vu->protocol & VU_BIT(VU_P_REPLY_ACK)) != 0;
	if (err < 0)
		VU_LOG(vu, WARNING, "%s (request %u) refused: %s", vu_msg_name(m->head.request),
		       m->head.request, complaint(err));
	if (err < 0 && (malformed || answers || !ack)) {
		*why = "a message that cannot be carried out";
		return false;
	}
	if (!answers && ack) {
		m->p.u64 = (uint64_t)(err < 0);
		m->head.size = sizeof(m->p.u64);
	}
	if ((answers || ack) && !answer(vu, answers && (rule->flags & ANSWERS_FD) != 0)) {
		*why = "it does not read its answers";
		return false;
	}
	return true;
}

bool vu_msg_receive(struct vu_host *vu, const char **why)
{
	for (int i = 0; i < MESSAGES_PER_ROUND; i++) {
		int got = receive_message(vu);
		bool ok;

		if (got == 0)
			return true;
		if (got < 0) {
			*why = got == -EPIPE ? "it closed the connection" :
			       got == -EMSGSIZE ? "a payload that no message has" :
			       got == -E2BIG ? "more than 8 file descriptors in one message" : strerror(-got);
			vu_msg_close_fds(&vu->msg);
			return false;
		}
		ok = dispatch(vu, why);
		vu_msg_close_fds(&vu->msg);
		vu->msg.got = 0;
		if (!ok)
			return false;
	}
	return true;
}
