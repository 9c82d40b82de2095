/* SPDX-License-Identifier: BSD-3-Clause */
/* Every difference between `user` and libslirp 4.7, and why it is one. */
#include <stddef.h>

#include "diff.h"

const struct difference differences[] = {
	/* --- every packet --- */
	{ "*", "ip.tos",
	  "libslirp marks its own packets low-delay or CS6; we leave the field 0 (RFC 2474)" },
	{ "*", "ip.frag",
	  "we set DF, since nothing of ours is to be fragmented on the way (RFC 1191, RFC 6864)" },

	/* --- ARP --- */
	{ "arp wrong *", "*",
	  "libslirp answers ARP for hardware or protocols that are not Ethernet and IPv4; RFC 826 "
	  "has them dropped" },

	/* --- DHCP --- */
	{ "dhcp *", "eth.dst",
	  "without the broadcast flag the reply goes to the client itself (RFC 2131 4.1)" },
	{ "dhcp *", "ip.dst", "as above" },
	{ "dhcp *", "udp.len",
	  "libslirp pads every reply to 548 bytes; we stop behind the options, at least 300" },
	{ "dhcp *", "dhcp.opt.67",
	  "the boot file is told as an option too (RFC 2132 9.5); libslirp has it in the "
	  "header alone" },
	{ "dhcp discover broadcast flag", "dhcp.flags",
	  "the flags are copied from the request (RFC 2131 table 3)" },
	{ "dhcp request renew", "dhcp.ciaddr", "ciaddr is copied into an ACK (RFC 2131 table 3)" },
	{ "dhcp request wrong net", "dhcp.*",
	  "a NAK has no addresses and names the server (RFC 2131 table 3)" },
	{ "dhcp request foreign lease", "dhcp.*", "as above" },
	{ "dhcp third request taken", "dhcp.*", "as above" },
	{ "dhcp second discover", "dhcp.yiaddr",
	  "a client keeps the address that it was offered (RFC 2131 4.3.1); "
	  "libslirp offers another each time" },
	{ "dhcp inform", "*", "INFORM is answered (RFC 2131 4.3.5); libslirp ignores it" },
	{ "dhcp bootp", "dhcp.*",
	  "a plain BOOTP request gets a BOOTP reply (RFC 1534), not a DHCP ACK" },
	{ "dhcp short 237", "*",
	  "shorter than a BOOTP message up to its vendor area; libslirp reads on (CVE-2021-3592)" },

	/* --- ICMP and IP --- */
	{ "icmp echo own address*", "icmp.type",
	  "nobody has the address: host unreachable (RFC 792), not network" },
	{ "icmp echo nobody*", "icmp.type", "as above" },
	{ "icmp echo broadcast*", "*", "no ICMP error about a broadcast (RFC 1122 3.2.2)" },
	{ "icmp type 8 1", "*", "an echo request has code 0 (RFC 792)" },
	{ "ip protocol *", "*",
	  "protocol unreachable is told (RFC 1122 3.2.2.1); libslirp is silent" },

	/* --- UDP --- */
	{ "udp loopback itself*", "*",
	  "127.0.0.0/8 never leaves a host (RFC 1122 3.2.1.3): the guest cannot mean ours" },
	{ "udp closed port", "ip.src",
	  "the error comes from the address that the guest knows, not from 127.0.0.1" },
	{ "dns query *", "host.got",
	  "the forwarder draws an identifier of its own (RFC 5452, 9.2)" },
	{ "tcp dns refused", "*",
	  "the forwarder takes the connection: which resolver is asked turns out with the query" },
	{ "dns no server", "*", "the forwarder says SERVFAIL; it has tried all resolvers" },
	{ "dns other port", "*", "the alias has one service; its other ports are closed" },
	{ "udp port 0", "*", "port 0 is nobody's; dropped" },
	{ "udp from *", "host.got",
	  "a datagram from port 0, or from no address, cannot be answered (CVE-2014-3640)" },
	{ "udp net broadcast", "*", "no ICMP error about a broadcast (RFC 1122 3.2.2)" },
	{ "udp to nobody", "icmp.type", "nobody has the address: host unreachable, not network" },
	{ "udp to itself", "icmp.type", "as above" },
	{ "udp to class E", "*", "reserved addresses are dropped; libslirp tries to send" },
	{ "udp length *", "*",
	  "a UDP length under 8 is dropped; libslirp answers from what it reads (CVE-2021-3594)" },

	/* --- TFTP --- */
	{ "tftp ?*", "tftp.op",
	  "another of RFC 1350's error codes: 1 not found, 2 refused, 4 malformed" },
	{ "tftp write", "*", "a write request gets an ERROR (RFC 1350); libslirp is silent" },
	{ "tftp short *", "*",
	  "a request without two strings is dropped or malformed; libslirp says not found" },

	/* --- IPv6 --- */
	{ "ns option length [02]", "*",
	  "an option of length 0, or past the end, makes the message invalid (RFC 4861 7.1.1)" },
	{ "rs *", "eth.dst",
	  "an advertisement that was asked for goes to who asked (RFC 4861 6.2.6)" },
	{ "rs *", "ip6.dst", "as above" },
	{ "rs cut", "*", "half an option makes the message invalid (RFC 4861 6.1.1)" },
	{ "rs *", "ra.head", "that DHCPv6 has more to tell is said where it has: bootfile=" },
	{ "rs *", "ra.opt.5", "the MTU is told (RFC 4861 4.6.4)" },
	{ "rs *", "ra.opt.25",
	  "the name server is told; libslirp does so if the host has one by IPv6, our alias stands "
	  "for any" },
	{ "rs *", "ra.opt.31", "the search list is told (RFC 8106)" },
	{ "dhcp6 *", "ip6.hops", "64, as of all our packets; libslirp sends 255" },
	{ "dhcp6 *", "ip6.src", "the server answers from its address on the link" },
	{ "dhcp6 *", "udp.ports",
	  "from port 547 (RFC 8415 7.2); libslirp's is in the wrong byte order" },
	{ "dhcp6 *", "udp.len", "by the options that differ" },
	{ "dhcp6 *", "dhcp6.opt.2", "a server names itself (RFC 8415 18.3.10)" },
	{ "dhcp6 *", "dhcp6.opt.24", "the search list is told (RFC 3646)" },
	{ "dhcp6 *", "dhcp6.opt.59", "the same address, written as RFC 5952 has it" },
	{ "dhcp6 solicit", "*", "addresses are leased; libslirp ignores the message" },
	{ "udp6 *", "ip6.hops", "64, as of all our packets; libslirp sends 255" },
	{ "tftp6 *", "ip6.hops", "as above" },
	{ "echo6 fec0::3 *", "eth.src",
	  "all but neighbour discovery comes from the gateway's MAC" },
	{ "echo6 fec0::77 *", "*", "nobody has the address: address unreachable (RFC 4443 3.1)" },
	{ "udp6 closed port", "eth.src", "as above" },
	{ "udp6 closed port", "ip6.src",
	  "the error comes from the address that the guest knows, not from ::1" },

	/* --- TCP --- */
	{ "tcp *", "tcp.maxseg",
	  "we send segments of the guest's MSS within our MTU (RFC 9293 3.7.1); libslirp always "
	  "1440" },
	{ "tcp guest reset: rst", "host.read",
	  "a reset is mirrored as a reset (RFC 9293 3.5.2), not as an orderly end" },
	{ "forward refused by the guest", "host.read", "as above" },
	{ "tcp window 1000", "*",
	  "the window of the newest segment counts (RFC 9293 3.10.7.4); libslirp sends beyond it" },
	{ "tcp window opens", "tcp.payload", "as above: what was held back" },
	{ "tcp stray *rst*", "*", "a reset is never answered (RFC 9293 3.5.2)" },
	{ "tcp stray fin alone", "tcp.ack", "the reset acknowledges the FIN (RFC 9293 3.5.2)" },
	{ "tcp stray syn fin", "*",
	  "a SYN opens the connection, its FIN has to come again (RFC 9293 3.10.7.2)" },
	{ "tcp to nobody", "icmp.type", "nobody has the address: host unreachable, not network" },
	{ "tcp to broadcast", "*", "no ICMP error about a broadcast (RFC 1122 3.2.2)" },
	{ "tcp to multicast", "*", "as above" },
	{ "tcp to unspecified", "*",
	  "0.0.0.0 is nobody's; libslirp connects to the host's loopback" },
	{ "tcp to port 0", "*", "port 0 is nobody's; dropped" },

	/* --- TCP, now and then --- */
	{ "rare syn twice: *", "tcp.*",
	  "a SYN that comes again is answered again (RFC 9293 3.10.7.4); libslirp waits for its "
	  "timer" },
	{ "rare syn in a connection*", "tcp.*",
	  "a SYN in an open connection gets an ACK (RFC 5961 4); libslirp resets the connection" },
	{ "rare reuse in time-wait: *", "*",
	  "a later number opens a new connection (RFC 9293 3.6.1); libslirp resets it" },
	{ NULL, NULL, NULL },
};
