# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=sh
# The table and the JSON of bench/user.sh, made from $T/results; sourced by it. POSIX sh.
#
# Lines of results: "tcp|cpu|all SUBJECT MTU DIR STREAMS NUMBER" (kbit/s; CPU seconds per GB of the process, of all), "rtt|p99
# SUBJECT NS", "crr SUBJECT NUMBER", "udp|udprate|udpall SUBJECT DIR SIZE NUMBER", "idle SUBJECT KIB", "flows SUBJECT KIB" (one
# flow), "bad KIND SUBJECT ...", "down SUBJECT ...". A run that stalls has no "tcp", but its CPU time counts.

# The median; "-" without one, or when half of the runs were bad.
med() { # KEY...
	# shellcheck disable=SC2046
	set -- "$*" $(stats_of "$T/results" "$@")
	[ "$5" -gt "$(grep -c "^bad $1 " "$T/results")" ] && echo "$2" || echo -
}

least() { # KEY...
	# shellcheck disable=SC2046
	set -- $(stats_of "$T/results" "$@")
	echo "$2"
}

scaled() { # NUMBER DIVISOR FORMAT
	[ "$1" = - ] && echo - || awk -v n="$1" -v d="$2" "BEGIN { printf \"$3\", n / d }"
}

gbit() { # SUBJECT MTU DIR STREAMS: what the table shows
	r_m=$(med tcp "$1" "$2" "$3" "$4")
	r_bad=$(grep -c "^bad tcp $1 $2 $3 $4 " "$T/results")
	if [ "$r_m" != - ]; then
		r_m=$(scaled "$r_m" 1e6 %.2f)
		[ "$r_bad" = 0 ] && echo "$r_m" || echo "$r_m ($r_bad bad)"
	elif [ "$r_bad" -gt 0 ]; then
		grep -q "^bad tcp $1 $2 $3 $4 stall" "$T/results" && echo stalled || echo failed
	else
		echo -
	fi
}

# Bars: "have need pass|SHORT|-"; numbers may be "-", and a bar without its numbers is none.
at_least() { # HAVE NEED...: the lowest that is a number
	awk -v v="$*" 'BEGIN {
		n = split(v, a, " ")
		for (i = 2; i <= n; i++) if (a[i] != "-" && (need == "" || a[i] < need)) need = a[i] + 0
		if (a[1] == "-" || need == "") print a[1], (need == "" ? "-" : need), "-"
		else print a[1], need, (a[1] + 0 >= need ? "pass" : "SHORT") }'
}
at_most() { # HAVE NEED
	awk -v h="$1" -v n="$2" 'BEGIN { print h, n, (h == "-" || n == "-" ? "-" : h + 0 <= n + 0 ? "pass" : "SHORT") }'
}
factor() { # NUMBER FACTOR
	[ "$1" = - ] && echo - || awk -v n="$1" -v f="$2" 'BEGIN { print n * f }'
}
higher() { printf '%s\n' "$@" | awk '$1 != "-" && (m == "" || $1 > m) { m = $1 } END { print m == "" ? "-" : m }'; }

show_bar() { # NAME UNIT DIVISOR FORMAT "HAVE NEED RESULT"
	# shellcheck disable=SC2086
	set -- "$1" "$2" "$3" "$4" $5
	printf '  %-52s %10s %-8s bar %10s  %s\n' "$1" "$(scaled "$5" "$3" "$4")" "$2" "$(scaled "$6" "$3" "$4")" "$7"
	echo "$1|$5|$6|$7" >>"$T/bars"
}

way() { [ "$1" = out ] && echo "namespace to host" || echo "host to namespace"; }

bars_tcp() {
	for r_d in out in; do
		r_cap=$([ $r_d = out ] && echo 0.5 || echo 0.6)
		r_own=$(med tcp twinax 65520 $r_d 1)
		for r_m in 65520 1500; do
			r_have=$(med tcp twinax $r_m $r_d 1)
			r_top=$(factor "$(med tcp veth $r_m $r_d 1)" "$r_cap")
			r_peer=$(higher "$(med tcp pasta $r_m $r_d 1)" "$(med tcp slirp $r_m $r_d 1)")
			if [ $r_m = 65520 ]; then
				show_bar "$(way $r_d), MTU 65520: 1.3 of the best peer" Gbit/s 1e6 %.2f "$(at_least "$r_have" "$(factor "$r_peer" 1.3)" "$r_top")"
			else
				show_bar "$(way $r_d), MTU 1500: 0.85 of 65520" Gbit/s 1e6 %.2f "$(at_least "$r_have" "$(factor "$r_own" 0.85)" "$r_top")"
				show_bar "$(way $r_d), MTU 1500: 10 times the best peer" Gbit/s 1e6 %.2f "$(at_least "$r_have" "$(factor "$r_peer" 10)" "$r_top")"
			fi
			show_bar "$(way $r_d), MTU $r_m: lowest run" Gbit/s 1e6 %.2f "$(at_least "$(least tcp twinax $r_m $r_d 1)" "$(factor "$r_have" 0.5)")"
			for r_p in 4 16; do
				show_bar "$(way $r_d), MTU $r_m: $r_p streams" Gbit/s 1e6 %.2f "$(at_least "$(med tcp twinax $r_m $r_d $r_p)" "$r_have" "$r_top")"
			done
			show_bar "$(way $r_d), MTU $r_m: CPU per GB" s 1 %.3f "$(at_most "$(med cpu twinax $r_m $r_d 1)" \
				"$(factor "$(med cpu pasta $r_m $r_d 1)" "$([ $r_m = 65520 ] && echo 0.9 || echo 0.3)")")"
		done
	done
}

bars_rest() {
	for r_d in out in; do
		for r_z in 64 1400; do
			show_bar "UDP $r_z B, $(way $r_d): 2 times pasta" "per CPU s" 1 %.0f \
				"$(at_least "$(med udp twinax $r_d $r_z)" "$(factor "$(med udp pasta $r_d $r_z)" 2)")"
		done
	done
	show_bar "connect, request, close: 1.5 times pasta" "a second" 1 %.0f "$(at_least "$(med crr twinax)" "$(factor "$(med crr pasta)" 1.5)")"
	show_bar "round trip, 64 B, median: at most pasta's" us 1e3 %.1f "$(at_most "$(med rtt twinax)" "$(med rtt pasta)")"
	show_bar "round trip, 64 B, p99: at most pasta's" us 1e3 %.1f "$(at_most "$(med p99 twinax)" "$(med p99 pasta)")"
	show_bar "private memory, idle" KiB 1 %.0f "$(at_most "$(med idle twinax)" 2048)"
	show_bar "memory of an idle flow, of 10000" KiB 1 %.3f "$(at_most "$(med flows twinax)" 1)"
}

rows_tcp() {
	printf '%-18s %6s %5s  %-14s %-14s  %-15s %s\n' "Gbit/s, TCP" MTU flows "to the host" "to the ns" "CPU s/GB" "CPU s/GB, all"
	for r_s in $READY; do
		for r_m in 65520 1500; do
			for r_p in 1 4 16; do
				[ "$(gbit "$r_s" $r_m out $r_p)" != - ] || [ "$(gbit "$r_s" $r_m in $r_p)" != - ] || continue
				printf '%-18s %6s %5s  %-14s %-14s  %-7s %-7s %-7s %s\n' "$(title "$r_s")" $r_m $r_p "$(gbit "$r_s" $r_m out $r_p)" "$(gbit "$r_s" $r_m in $r_p)" \
					"$(scaled "$(med cpu "$r_s" $r_m out $r_p)" 1 %.2f)" "$(scaled "$(med cpu "$r_s" $r_m in $r_p)" 1 %.2f)" \
					"$(scaled "$(med all "$r_s" $r_m out $r_p)" 1 %.2f)" "$(scaled "$(med all "$r_s" $r_m in $r_p)" 1 %.2f)"
			done
		done
	done
}

rows_rest() {
	printf '%-18s %-17s %-9s %-10s %s\n' "MTU 65520" "us: median, p99" "CRR a s" "idle KiB" "KiB a flow"
	for r_s in $READY; do
		printf '%-18s %-8s %-8s %-9s %-10s %s\n' "$(title "$r_s")" "$(scaled "$(med rtt "$r_s")" 1e3 %.1f)" "$(scaled "$(med p99 "$r_s")" 1e3 %.1f)" \
			"$(med crr "$r_s")" "$(med idle "$r_s")" "$(med flows "$r_s")"
	done
	echo
	printf '%-18s %-24s %-24s %-24s %s\n' "UDP a CPU s (rate)" "64 B to the host" "64 B to the ns" "1400 B to the host" "1400 B to the ns"
	for r_s in $READY; do
		grep -q "^udp $r_s \|^bad udp $r_s " "$T/results" || continue
		printf '%-18s' "$(title "$r_s")"
		for r_z in 64 1400; do
			for r_d in out in; do
				r_u=$(med udp "$r_s" $r_d $r_z)
				[ "$r_u" = - ] && r_u=- || r_u="$r_u ($(med udprate "$r_s" $r_d $r_z))"
				printf ' %-24s' "$r_u"
			done
		done
		echo
	done
}

user_table() {
	: >"$T/bars"
	echo
	echo "host   $(uname -r), $(cat /proc/sys/net/ipv4/tcp_congestion_control), $(nproc) CPUs, load $(cut -d' ' -f1 /proc/loadavg)"
	echo "peers  pasta ${PASTA_VERSION:-absent}; $(slirp4netns --version 2>/dev/null | head -n 1)"
	echo "runs   median of $RUNS alternating runs of $SECS s each way; CPU: the process's; all: $([ -n "$USER_CGROUP" ] && echo "what the run started" || echo "the machine's")"
	echo
	! wants "$WORK" tcp || { rows_tcp; echo; }
	rows_rest
	echo
	echo "Bars"
	! wants "$WORK" tcp || bars_tcp
	bars_rest
	grep -q '^bad\|^down' "$T/results" || return 0
	echo
	echo "Runs that do not count"
	sed -n 's/^down \(.*\)/  \1: did not come up/p; s/^bad \(.*\)/  \1/p' "$T/results" | sed 's/ stall .*/ stall/' | sort | uniq -c
}

user_json() {
	awk -v secs="$SECS" -v pasta="$PASTA_VERSION" -F '|' '
		FNR == 1 { f++ }
		f == 1 { split($0, w, " "); key = $0; sub(/ [^ ]*$/, "", key); v = w[length(w)]
			if (w[1] == "bad" || w[1] == "down") next
			if (!(key in have)) order[++n] = key
			have[key] = have[key] (have[key] == "" ? "" : ", ") v; next }
		{ bar[++m] = sprintf("    {\"name\": \"%s\", \"have\": %s, \"need\": %s, \"result\": \"%s\"}", $1, $2 == "-" ? "null" : $2, $3 == "-" ? "null" : $3, $4) }
		END {
			printf "{\n  \"seconds\": %s,\n  \"pasta\": \"%s\",\n  \"runs\": {\n", secs, pasta
			for (i = 1; i <= n; i++) printf "    \"%s\": [%s]%s\n", order[i], have[order[i]], i < n ? "," : ""
			printf "  },\n  \"bars\": [\n"
			for (i = 1; i <= m; i++) printf "%s%s\n", bar[i], i < m ? "," : ""
			printf "  ]\n}\n"
		}' "$T/results" "$T/bars"
}
