#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# DPDK's virtio-user, a polling vhost-user front end: frames go in at one NIC, through a hub, out at the other, and back.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" dpdk-testpmd

twinax_up tw -netdev hubport,id=h0,hubid=0 -device "virtio-net,id=nic0,netdev=h0,export=vhost-user:$T/0.sock" \
	-netdev hubport,id=h1,hubid=0 -device "virtio-net,id=nic1,netdev=h1,export=vhost-user:$T/1.sock" ||
	t_fail "twinax serve comes up" ""

# Commands are typed once the one before has had its effect; the counters tell.
moved() { [ "$(stat_of tw "$1" tx.frames)" -gt 2000 ]; }
mkfifo "$T/in"
kit_testpmd "$T/0.sock" "$T/1.sock" <"$T/in" >"$T/testpmd.log" 2>&1 &
pmd=$!
exec 7>"$T/in"
step "testpmd starts on both NICs" until_true 30 grep -q 'testpmd>' "$T/testpmd.log" || finish
echo 'start tx_first' >&7
step "frames cross from the first NIC to the second" until_true 30 moved nic0
step "and from the second to the first" until_true 30 moved nic1
echo stop >&7
echo quit >&7
step "testpmd ends" wait "$pmd"
holds "what the first received" "$(awk '/RX-packets/ && ++n == 1 { print ($2 > 1000) }' "$T/testpmd.log")" 1
holds "what the second received" "$(awk '/RX-packets/ && ++n == 2 { print ($2 > 1000) }' "$T/testpmd.log")" 1
step "twinax lives on" twinax_alive tw

# A second front end on the same sockets: nothing of the first has stayed.
kit_testpmd "$T/0.sock" "$T/1.sock" <"$T/in" >"$T/testpmd.log" 2>&1 &
pmd=$!
exec 7>"$T/in"
step "testpmd starts again" until_true 30 grep -q 'testpmd>' "$T/testpmd.log" || finish
before=$(stat_of tw nic1 tx.frames)
more() { [ "$(stat_of tw nic1 tx.frames)" -gt $((before + 2000)) ]; }
echo 'start tx_first' >&7
step "frames flow again" until_true 30 more
echo quit >&7
step "testpmd ends again" wait "$pmd"
finish
