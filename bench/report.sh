# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=sh
# The table and the JSON of bench/run.sh, made from $T/results; sourced by it. POSIX sh.
#
# Lines of results: "kbit|cpu|vmm NAME DIR NUMBER" (one a run), "bad NAME DIR stall|fail WHY", "down NAME",
# "memory NAME idle|after PRIVATE RESIDENT" (KiB), "others PERCENT", "start ms NUMBER".

# What disturbed the runs: the median share of all CPUs that went to processes outside the run, or was stolen.
others() { stats_of "$T/results" others | cut -d' ' -f1; }

facts() {
	echo "host   $(uname -r), ${CONGESTION:-}, $(nproc) x $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), other processes used $(others) % of it during the runs"
	echo "guest  $(basename "$KIT_KERNEL" | sed 's/vmlinuz-//'), QEMU $QEMU_VERSION -accel $KIT_ACCEL -cpu $KIT_CPU, 1 vCPU, ${KIT_MEM}M, MTU 1500"
	echo "peers  passt ${PASST_VERSION:-absent}; user-mode Linux $(linux.uml --version 2>/dev/null || echo absent)"
	echo "runs   iperf3, 1 stream, median of $RUNS alternating runs of ${SECS} s each way; idle guests use $IDLE % of a CPU together"
}

# Gbit/s of one direction, or why there is no number.
cell() { # NAME DIR
	# shellcheck disable=SC2046
	set -- "$1" "$2" $(stats_of "$T/results" "kbit $1 $2")
	r_bad=$(grep -c "^bad $1 $2 " "$T/results")
	if [ "$6" -gt "$r_bad" ]; then
		awk -v m="$3" -v l="$4" -v h="$5" -v b="$r_bad" -v n="$RUNS" 'BEGIN {
			printf "%.2f (%.2f..%.2f)%s", m / 1e6, l / 1e6, h / 1e6, b ? " " b "/" n " bad" : "" }'
	elif [ "$r_bad" -gt 0 ]; then
		echo "$(sed -n "s/^bad $1 $2 \([a-z]*\).*/\1/p" "$T/results" | sort | uniq -c | sort -rn | awk '{ print $2; exit }'): $r_bad of $RUNS runs"
	else
		echo "not measured"
	fi
}

# The median that comparisons use: nothing if half the runs were bad.
median() { # KIND NAME DIR
	# shellcheck disable=SC2046
	set -- "$@" $(stats_of "$T/results" "$@")
	[ "$7" -gt "$(grep -c "^bad $2 $3 " "$T/results")" ] && echo "$4" || echo -
}

number() { # KIND NAME DIR
	r_m=$(median "$1" "$2" "$3")
	[ "$r_m" = - ] && echo - || printf '%.2f' "$r_m"
}

rows() { # NAME...
	printf '%-31s %-26s %-26s %-14s %s\n' "$R_HEAD" "guest to host" "host to guest" "back end's CPU" "with guest's"
	for r_c in "$@"; do
		printf '%-31s %-26s %-26s %6s %-7s %6s %s\n' "$(title "$r_c")" "$(cell "$r_c" out)" "$(cell "$r_c" in)" \
			"$(number cpu "$r_c" out)" "$(number cpu "$r_c" in)" \
			"$(with_guest "$r_c" out)" "$(with_guest "$r_c" in)"
	done
}

with_guest() { # NAME DIR
	echo "$(median cpu "$1" "$2") $(median vmm "$1" "$2")" | awk '{ if ($2 == "-") print "-"; else printf "%.2f\n", $1 + $2 }'
}

# "need have pass|short" in Gbit/s: need is the lower of 0.85 of the ceiling and what the peers demand.
bar() { # NAME DIR CEILING [PASST SLIRP]
	awk -v have="$(median kbit "$1" "$2")" -v top="$(median kbit "$3" "$2")" \
		-v passt="$([ $# -lt 5 ] || median kbit "$4" "$2")" -v slirp="$([ $# -lt 5 ] || median kbit "$5" "$2")" 'BEGIN {
		peers = 2 * passt > 3 * slirp ? 2 * passt : 3 * slirp
		need = 0.85 * top
		if (peers > 0 && (need <= 0 || peers < need)) need = peers
		if (have == "-" || need <= 0) print "- - unknown"
		else printf "%.2f %.2f %s\n", need / 1e6, have / 1e6, (have >= need) ? "pass" : "short" }'
}

ratio() { # NAME OTHER DIR
	awk -v a="$(median kbit "$1" "$3")" -v b="$(median kbit "$2" "$3")" 'BEGIN {
		if (a > 0 && b > 0) printf "%.2f\n", a / b; else print "-" }'
}

ratios() { # NAME OTHER...
	r_us=$1
	shift
	for r_c in "$@"; do
		printf '  %-29s %-26s %s\n' "times $(title "$r_c" | sed 's/:.*//')" "$(ratio "$r_us" "$r_c" out)" "$(ratio "$r_us" "$r_c" in)"
	done
}

bars() { # the arguments of bar without DIR
	r_us=$1
	shift
	# shellcheck disable=SC2046
	set -- $(bar "$r_us" out "$@") $(bar "$r_us" in "$@")
	printf '  %-29s %-26s %s\n' "bar" "$3: $2, bar $1" "$6: $5, bar $4"
}

# Bars that are a factor each way: NAME OTHER OUT IN.
factor() { # NAME OTHER DIR FACTOR
	awk -v a="$(median kbit "$1" "$3")" -v b="$(median kbit "$2" "$3")" -v f="$4" 'BEGIN {
		if (a == "-" || b == "-") print "not measured"
		else printf "%s, bar %s times\n", (a + 0 >= f * b) ? "pass" : "short", f }'
}

factors() {
	printf '  %-29s %-26s %s\n' "bar" "$(factor "$1" "$2" out "$3")" "$(factor "$1" "$2" in "$4")"
}

round_trips() {
	echo "$R_HEAD: median (least)"
	for r_c in e1000-vfio e1000 twinax slirp; do
		# shellcheck disable=SC2046
		set -- $(stats_of "$T/results" "rtt $r_c")
		[ "$4" = 0 ] || echo "$1 $2" | awk -v t="$(title "$r_c")" '{ printf "  %-46s %8.0f (%.0f)\n", t, $1 * 1000, $2 * 1000 }'
	done
	limit "times QEMU's own e1000" "$(rtt_ratio e1000-vfio e1000)" 2 ""
}

rtt_ratio() {
	echo "$(stats_of "$T/results" "rtt $1") $(stats_of "$T/results" "rtt $2")" |
		awk '{ if ($4 && $8) printf "%.2f\n", $1 / $5; else print "-" }'
}

# Below LIMIT is a pass.
limit() { # WHAT HAVE LIMIT UNIT
	awk -v w="$1" -v h="$2" -v l="$3" -v u="$4" 'BEGIN {
		if (h == "-" || h == "") print "  " w ": not measured"
		else printf "  %-46s %8s %s, bar %s: %s\n", w, h, u, l, (h + 0 < l + 0) ? "pass" : "short" }'
}

memory_line() { # NAME WHEN FIELD
	awk -v c="$1" -v w="$2" -v f="$3" '$1 == "memory" && $2 == c && $3 == w { print $f }' "$T/results"
}

report_table() {
	echo
	facts
	echo
	echo "Gbit/s, median (lowest..highest); CPU seconds per GB: guest to host, host to guest"
	R_HEAD="QEMU guest" rows twinax passt slirp tap
	ratios twinax passt slirp tap
	bars twinax tap passt slirp
	echo
	R_HEAD="QEMU guest with an e1000" rows e1000-vfio e1000
	ratios e1000-vfio e1000
	factors e1000-vfio e1000 2 1.2
	echo
	R_HEAD="Round trip of a ping, us" round_trips
	echo
	R_HEAD="user-mode Linux guest" rows uml-twinax uml-tap
	ratios uml-twinax uml-tap
	bars uml-twinax uml-tap
	echo
	echo "The process twinax serve"
	limit "private memory, one idle guest" "$(memory_line twinax idle 4)" 2048 KiB
	limit "resident beyond the guest's memory, idle" "$(memory_line twinax idle 5)" 8192 KiB
	limit "private memory, after the runs" "$(memory_line twinax after 4)" 2048 KiB
	limit "resident beyond the guest's memory, after" "$(memory_line twinax after 5)" 8192 KiB
	limit "from exec to listening, median of 20" "$(stats_of "$T/results" start ms | cut -d' ' -f1)" 20 ms
	[ -z "$(memory_line passt after 4)" ] ||
		echo "  (passt after the runs: $(memory_line passt after 4) KiB private, $(memory_line passt after 5) KiB resident)"
	report_bad
	echo
}

report_bad() {
	grep -q '^bad\|^down' "$T/results" || return 0
	echo
	echo "Runs that do not count"
	sed -n 's/^down \(.*\)/  \1: did not come up/p; s/^bad \(.*\)/  \1/p' "$T/results" | sort | uniq -c
}

# --- JSON ------------------------------------------------------------------------------------------------------------

json_list() { awk -v key="$*" 'index($0, key " ") == 1 { printf "%s%s", n++ ? ", " : "", $NF }' "$T/results"; }
json_number() { case $1 in '' | -) echo null ;; *) echo "$1" ;; esac; }
json_text() { printf '%s' "$1" | tr -d '"\\' | tr '\n' ' '; }

json_runs() {
	r_n=0
	for r_c in $ALL; do
		for r_d in out in; do
			[ $r_n = 0 ] || echo ,
			r_n=$((r_n + 1))
			printf '    {"name": "%s", "direction": "%s", "kbit": [%s], "median": %s, "bad": %s, "cpu": [%s], "vmm_cpu": [%s]}' \
				"$r_c" "$r_d" "$(json_list kbit "$r_c" "$r_d")" "$(json_number "$(median kbit "$r_c" "$r_d")")" \
				"$(grep -c "^bad $r_c $r_d " "$T/results")" "$(json_list cpu "$r_c" "$r_d")" "$(json_list vmm "$r_c" "$r_d")"
		done
	done
	echo
}

json_bars() { # NAME DIR ...: as bar
	r_us=$1 r_d=$2
	# shellcheck disable=SC2046
	set -- $(bar "$@")
	printf '    {"name": "%s", "direction": "%s", "need": %s, "have": %s, "result": "%s"}' "$r_us" "$r_d" \
		"$(json_number "$1")" "$(json_number "$2")" "$3"
}

report_json() {
	echo "{"
	printf '  "facts": "%s",\n  "seconds": %s,\n  "others_percent": %s,\n' "$(json_text "$(facts)")" "$SECS" "$(json_number "$(others)")"
	printf '  "runs": [\n%s\n  ],\n' "$(json_runs)"
	printf '  "bars": [\n%s,\n%s,\n%s,\n%s\n  ],\n' "$(json_bars twinax out tap passt slirp)" \
		"$(json_bars twinax in tap passt slirp)" "$(json_bars uml-twinax out uml-tap)" "$(json_bars uml-twinax in uml-tap)"
	printf '  "memory_kib": {"idle_private": %s, "idle_resident": %s, "after_private": %s, "after_resident": %s},\n' \
		"$(json_number "$(memory_line twinax idle 4)")" "$(json_number "$(memory_line twinax idle 5)")" \
		"$(json_number "$(memory_line twinax after 4)")" "$(json_number "$(memory_line twinax after 5)")"
	printf '  "start_ms": [%s]\n}\n' "$(json_list start ms)"
}
