#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# `twinax run` as its user meets it: options, errors in one sentence with what to do, exit status.
# usage: test_run.sh TWINAX MAN_PAGE COMPLETION
set -u
twinax=$1
man=$2
completion=$3
dir=$(mktemp -d) || exit 1
n_failed=0
trap 'rm -rf "$dir"' EXIT

complain()
{
	echo "FAIL: $*"
	n_failed=$((n_failed + 1))
}

# bad TEXT HINT ARGUMENT...: exit status 1, one sentence with TEXT, a second line with HINT, nothing has run
bad()
{
	want=$1
	hint=$2
	shift 2
	timeout 20 "$twinax" run "$@" >"$dir/out" 2>"$dir/err" </dev/null
	status=$?
	[ $status -eq 1 ] || complain "run $*: exit status $status"
	sed -n 1p "$dir/err" | grep -qF -- "$want" || complain "run $*: no '$want' in: $(cat "$dir/err")"
	grep -q '^twinax: ' "$dir/err" || complain "run $*: not in the name of twinax: $(cat "$dir/err")"
	if [ -n "$hint" ]; then
		sed -n 2p "$dir/err" | grep -qF -- "$hint" || complain "run $*: no hint '$hint' in: $(cat "$dir/err")"
	fi
	[ "$(wc -l <"$dir/err")" -le 2 ] || complain "run $*: more than two lines: $(cat "$dir/err")"
	[ ! -s "$dir/out" ] || complain "run $*: stdout: $(cat "$dir/out")"
}

"$twinax" help run >"$dir/help" || complain "help run fails"
grep -q '^usage: twinax run' "$dir/help" || complain "help run explains nothing"
"$twinax" run -netdev help </dev/null | grep -q '^  user' || complain "run -netdev help"
"$twinax" run -netdev user,help </dev/null | grep -q 'hostfwd=' || complain "run -netdev user,help"

# What help names, the manual page and the completion know.
sed -n 's/^  -\([a-z-]*\) .*/\1/p' "$dir/help" | while read -r option; do
	roff=$(echo "$option" | sed 's/-/\\-/g')
	grep -qF -- "\\-$roff" "$man" || echo "$option: not in the manual page"
	grep -q -- "-$option[ \"]" "$completion" || echo "$option: not in the completion"
done >"$dir/unknown"
[ ! -s "$dir/unknown" ] || complain "$(cat "$dir/unknown")"

bad 'invalid option' 'help run' -nonsense
bad 'requires an argument' 'help run' -p
bad "'x' has a port that is none" 'HOSTPORT' -p x -- echo run
bad "'0:80' has an address that is none" '' -p 0:80 -- echo run
bad "'[::1:80' has" '' -p '[::1:80' -- echo run
bad "'0' has a port" '' -p 0 -- echo run
bad "'0:80' has" '' -p 0:80 -- echo run
bad "'80:65536' has a port" '' -p 80:65536 -- echo run
bad "'80-90:1-2' has two ranges" '' -p 80-90:1-2 -- echo run
bad "'90-80' has a port" '' -p 90-80 -- echo run
bad "'127.0.0.1:' has a port" '' -p 127.0.0.1: -- echo run
bad "'1:2:3:4' has an address" '' -p 1:2:3:4 -- echo run
bad "'sctp:80:80' has an address" '' -p sctp:80:80 -- echo run
bad 'only -netdev user publishes' '' -p 80 -netdev hubport,id=h,hubid=0 -- echo run
bad 'is no MTU' '' -mtu 100 -- echo run
bad 'is no MTU' '' -mtu 65522 -- echo run
bad 'is no MTU' '' -mtu 1500x -- echo run
bad 'has mtu= already' '' -mtu 1500 -netdev user,mtu=1400 -- echo run
bad 'cannot be the name of an interface' '' -ifname averyveryverylongname -- echo run
bad 'is no such descriptor' 'open descriptor' -ready-fd 77 -- echo run
bad 'is no such descriptor' 'open descriptor' -exit-fd x -- echo run
bad 'is no process id' '' -pid 0
bad 'no COMMAND with -pid' '' -pid 1 -- echo run
bad 'names another namespace' '' -pid 1 -netns /x
bad 'cannot open /nonexistent' '' -netns /nonexistent
bad 'cannot enter the network namespace' 'is no network namespace' -netns /etc/passwd
bad 'no process 4194305' '' -pid 4194305
bad 'nonsense' 'known types' -netdev nonsense -- echo run
bad "Invalid parameter 'nonsense'" 'user,help' -netdev user,nonsense=1 -- echo run

[ $n_failed -eq 0 ] || { echo "$n_failed failed"; exit 1; }
