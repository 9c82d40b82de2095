#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# TCP of the user network with Linux as the guest, on a good path and on bad ones: every byte, no stall, nothing in the
# captures that the path does not explain; with and without SO_PEEK_OFF.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

BULK=$BUILD/tests/guest/tcp_bulk
need "$TWINAX" "$NETPEER" "$BULK" unshare
[ -w /dev/net/tun ] || { echo "1..0 # SKIP $T_NAME: /dev/net/tun is not open to us"; exit 77; }
unshare -U -r -n true 2>/dev/null || { echo "1..0 # SKIP $T_NAME: no user namespaces"; exit 77; }
"$BULK" serve 127.0.0.1 7100 &
"$NETPEER" echo 127.0.0.1 7777 &

net() { echo "user,id=n0,host-loopback=on${1:+,$1}"; }
impair() { echo "filter-impair,id=f0,netdev=n0,$1"; }
bulk() { timeout 280 "$TWINAX" run "$@" </dev/null; } # OPTION... -- COMMAND...

# How many of the frames of a capture tshark finds fault with, by kind.
faults() { # FILE
	tshark -r "$1" -T fields -E separator=, -e tcp.len -e tcp.analysis.retransmission -e tcp.analysis.out_of_order -e tcp.analysis.lost_segment \
		-e tcp.analysis.zero_window -e tcp.analysis.duplicate_ack 2>/dev/null | awk -F, '
		{ data += $1 > 0; resent += $2 != ""; early += $3 != ""; lost += $4 != ""; zero += $5 != ""; again += $6 != "" }
		END { print NR + 0, data + 0, resent + 0, early + 0, lost + 0, zero + 0, again + 0 }'
}

bounded() { # FILE PERCENT: "good", or what there is too much of
	# shellcheck disable=SC2046
	set -- "$2" $(faults "$1")
	echo "# of $2 frames, $3 with data: $4 sent again, $5 out of order, $6 after a gap, $7 with the window shut, $8 duplicate ACKs" >&3
	awk -v p="$1" -v all="$2" -v data="$3" -v resent="$4" -v early="$5" -v gap="$6" -v zero="$7" 'BEGIN {
		if (data < 50) print "only " data " frames with data"
		else if (resent + early > data * p / 100) print resent " sent again and " early " out of order of " data
		else if (gap > data * p / 100) print gap " gaps in " data
		else if (zero > all / 20) print zero " shut windows in " all
		else print "good" }'
}
exec 3>&1

# --- a path without faults -----------------------------------------------------------------------------------------

for peek in "" x-peek-off=off; do
	for mtu in 65520 1500; do
		what="MTU $mtu${peek:+, $peek}"
		step "1 GiB each way, $what" bulk -mtu $mtu -netdev "$(net $peek)" -- sh -c "'$BULK' get 10.0.2.2 7100 1073741824 && '$BULK' put 10.0.2.2 7100 1073741824"
		sed 's/^/# /' "$T/step.out"
		command -v tshark >/dev/null || { skip "captures" "no tshark"; continue; }
		step "300 MB each way into a capture, $what" bulk -mtu $mtu -netdev "$(net $peek)" -object "filter-dump,id=d0,netdev=n0,maxlen=96,file=$T/plain.pcap" -- \
			sh -c "'$BULK' get 10.0.2.2 7100 300000000 && '$BULK' put 10.0.2.2 7100 300000000"
		holds "nothing is sent again or out of order there" "$(bounded "$T/plain.pcap" 0)" good
	done
	step "2,000 connections at once${peek:+, $peek}" bulk -netdev "$(net $peek)" -- "$BULK" many 10.0.2.2 7100 2000 50000
done

# --- bad paths: options, bytes, percent of the frames that may be sent again or out of order --------------------------

while read -r options bytes percent; do
	for peek in "" x-peek-off=off; do
		for mtu in 65520 1500; do
			what="$options, MTU $mtu${peek:+, $peek}"
			step "$bytes bytes each way, $what" bulk -mtu $mtu -netdev "$(net $peek)" -object "filter-dump,id=d0,netdev=n0,maxlen=96,file=$T/bad.pcap" \
				-object "$(impair "$options")" -- sh -c "'$BULK' get 10.0.2.2 7100 $bytes && '$BULK' put 10.0.2.2 7100 $bytes"
			sed 's/^/# /' "$T/step.out"
			! command -v tshark >/dev/null || holds "what is sent again is in proportion" "$(bounded "$T/bad.pcap" "$percent")" good
		done
	done
	step "2,000 connections at once, $options" bulk -netdev "$(net)" -object "$(impair "$options,limit=20000")" -- "$BULK" many 10.0.2.2 7100 2000 20000
done <<END
loss=1%,seed=3 100000000 40
reorder=1%,delay=2ms,seed=4 50000000 40
duplicate=1%,seed=5 100000000 10
delay=10ms,jitter=5ms,seed=6 50000000 0
loss=1%,duplicate=0.1%,reorder=1%,delay=2ms,jitter=1ms,seed=7 20000000 60
END

# --- what people use -----------------------------------------------------------------------------------------------

step "UDP of QUIC's size" bulk -mtu 1500 -netdev "$(net)" -- "$NETPEER" udp 10.0.2.2 7777 1000 1350
if command -v nghttpd >/dev/null && command -v curl >/dev/null && command -v openssl >/dev/null && command -v python3 >/dev/null; then
	mkdir "$T/www"
	head -c 50000000 /dev/urandom >"$T/www/file"
	openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=10.0.2.2 -keyout "$T/key" -out "$T/cert" >/dev/null 2>&1
	nghttpd -a 127.0.0.1 -d "$T/www" 7443 "$T/key" "$T/cert" >/dev/null 2>&1 &
	cat >"$T/https.py" <<-'END'
		import functools, http.server, ssl, sys
		handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
		http.server.SimpleHTTPRequestHandler.protocol_version = "HTTP/1.1"
		server = http.server.ThreadingHTTPServer(("127.0.0.1", 7444), handler)
		tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
		tls.load_cert_chain(sys.argv[3], sys.argv[2])
		server.socket = tls.wrap_socket(server.socket, server_side=True)
		server.serve_forever()
	END
	python3 "$T/https.py" "$T/www" "$T/key" "$T/cert" >/dev/null 2>&1 &
	until_true 20 curl -sk -o /dev/null -r 0-1 https://127.0.0.1:7443/file
	until_true 20 curl -sk -o /dev/null -r 0-1 https://127.0.0.1:7444/file
	for version in 2:7443 1.1:7444; do
		for options in "" "loss=1%,delay=1ms,seed=8"; do
			fetch="curl -sk --http${version%:*} -w %{stderr}%{http_version} https://10.0.2.2:${version#*:}/file"
			# shellcheck disable=SC2086
			holds "HTTP/${version%:*} over TLS${options:+, $options}" \
				"$(bulk -netdev "$(net)" ${options:+-object "$(impair "$options")"} -- sh -c "$fetch 2>'$T/version' | sha256sum") $(cat "$T/version")" "$(sum "$T/www/file")*${version%:*}"
		done
	done
else
	skip "HTTP over TLS" "nghttpd, curl, openssl or python3 is not here"
fi
finish
