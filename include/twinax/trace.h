/* SPDX-License-Identifier: BSD-3-Clause */
/* Named hops on every frame's way, in release builds, a predictable branch when off. */
#ifndef TWINAX_TRACE_H
#define TWINAX_TRACE_H

#include <stdint.h>

#include <twinax/export.h>

/* X(symbol, "name", "what happens there"); the names are stable, tests and `trace` use them. */
#define TWX_HOPS(X)                                                                                    \
	X(KICK, "virtio kick", "the guest's doorbell, read from its eventfd")                          \
	X(TX_POP, "virtio tx pop", "a descriptor chain fetched, checked, translated")                  \
	X(RX_LEASE, "virtio rx reserve", "guest buffers lent to the backend")                          \
	X(RX_COPY, "virtio rx copy", "frame copied into guest buffers")                                \
	X(USED, "virtio used", "buffers handed back to the guest")                                     \
	X(SIGNAL, "virtio signal", "interrupt raised by the call eventfd")                             \
	X(SIGNAL_SKIP, "virtio signal skip", "interrupt suppressed by the guest")                      \
	X(VFIO_WRITE, "vfio-user write", "the guest's store to a register, read from the socket")      \
	X(VFIO_READ, "vfio-user read", "the guest's load from a register, which waits for us")         \
	X(VFIO_IRQ, "vfio-user interrupt", "the client's eventfd is written")                          \
	X(VFIO_UNMASK, "vfio-user unmask", "the client is ready for the next INTx")                    \
	X(E1000_TDT, "e1000 TDT", "the transmit tail was written: descriptors are there")              \
	X(E1000_TX, "e1000 tx", "a frame's descriptors fetched, checked, translated")                  \
	X(E1000_RX, "e1000 rx", "frame copied into guest buffers, descriptors written back")           \
	X(E1000_IRQ, "e1000 interrupt", "the interrupt line is raised")                                \
	X(VM_EXIT, "vm exit", "a CPU left the guest for an access to a device's register")             \
	X(VM_LOOKUP, "address lookup", "the address has led to the region of a device")                \
	X(VM_MESSAGE, "vm message", "a message interrupt (MSI, MSI-X) for the machine's CPUs")         \
	X(VM_LINE, "vm line", "an interrupt line of the machine's PCI bus changes")                    \
	X(PORT_SEND, "port send", "burst handed to the peer")                                          \
	X(PORT_RECEIVE, "port receive", "the peer's receive is called")                                \
	X(QUEUE_APPEND, "queue append", "frame copied into the peer's queue")                          \
	X(QUEUE_FLUSH, "queue flush", "queued frame delivered")                                        \
	X(HUB_COPY, "hub copy", "frame passed to another port of the hub")                             \
	X(FILTER, "filter", "a filter saw the frame")                                                  \
	X(OFFLOAD_CSUM, "offload csum", "checksum finished in software")                               \
	X(OFFLOAD_SEG, "offload segment", "frame cut into segments in software")                       \
	X(DROP, "drop", "frame dropped")                                                               \
	X(TAP_READ, "tap readv", "frame read from the tap device")                                     \
	X(TAP_WRITE, "tap writev", "frame written to the tap device")                                  \
	X(USER_IN, "user input", "frame parsed by the user-mode stack")                                \
	X(USER_TCP, "user tcp", "TCP segment matched to its flow")                                     \
	X(USER_UDP, "user udp", "UDP datagram matched to its flow")                                    \
	X(USER_ICMP, "user icmp", "ICMP message handled")                                              \
	X(USER_ARP, "user arp", "ARP packet handled")                                                  \
	X(SENDMSG, "sendmsg", "payload given to the host's kernel")                                    \
	X(RECVMSG, "recvmsg", "payload taken from the host's kernel")                                  \
	X(USER_OUT, "user output", "frame built for the guest")

enum twx_hop {
#define X(sym, name, help) TWX_HOP_##sym,
	TWX_HOPS(X)
#undef X
		TWX_N_HOPS
};

struct twx_hop_record {
	uint64_t t; /* ns, CLOCK_MONOTONIC */
	uint32_t len;
	uint32_t arg;	  /* per hop: frames in the burst, queue depth, GSO size, drop cause */
	uint16_t hop;
	char where[22]; /* port or object, cut */
};

/* One per loop; only its thread touches it. The ring is allocated when tracing is first enabled. */
struct twx_trace {
	uint64_t mask; /* bit per hop; 0 while off */
	struct twx_hop_record *ring;
	uint32_t n, size; /* records ever written, ring size (a power of two) */
	uint32_t holds;	  /* twx_trace_hold() without a release yet */
	uint64_t asked;	  /* while held: the mask that the last release returns to */
};

TWX_EXPORT void twx_trace_record(struct twx_trace *tr, enum twx_hop hop, const char *where, uint32_t len,
				 uint32_t arg);
/* Enables every hop whose name matches the shell @pattern ("port *"); 0 or -ENOENT, -ENOMEM. */
TWX_EXPORT int twx_trace_enable(struct twx_trace *tr, const char *pattern);
TWX_EXPORT void twx_trace_disable(struct twx_trace *tr); /* frees the ring, unless it is held */
/* All hops for a while: 0 or -ENOMEM. Holds nest; the last release leaves what enable and disable have
 * asked for before and meanwhile. */
TWX_EXPORT int twx_trace_hold(struct twx_trace *tr);
TWX_EXPORT void twx_trace_release(struct twx_trace *tr);
TWX_EXPORT const char *twx_hop_name(enum twx_hop hop);
TWX_EXPORT const char *twx_hop_help(enum twx_hop hop);

struct twx_loop;
TWX_EXPORT struct twx_trace *twx_loop_trace(struct twx_loop *loop);

#define TWX_TRACE(tr, hop, where, len, arg)                                                            \
	do {                                                                                           \
		if (__builtin_expect(((tr)->mask >> (hop)) & 1, 0))                                    \
			twx_trace_record((tr), (hop), (where), (uint32_t)(len), (uint32_t)(arg));      \
	} while (0)

#endif
