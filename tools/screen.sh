# SPDX-License-Identifier: BSD-3-Clause
# The demo's screen: steps that fill in one below the other, a drawing above them that shows what flows where.
# Sourced by ./demo; POSIX sh. On a terminal the drawing and the running step are redrawn in place; elsewhere there
# are only plain lines, one per finished step.
#
#   screen_init                     looks at the terminal
#   screen_drawing A B C D E F...   nine texts, three for each box: guest, twinax, host; prints the drawing
#   screen_flow LEFT RIGHT WHAT     what the two cables carry: none, out, in, both, cut; and its name (11 characters)
#   screen_head TEXT                a heading
#   screen_busy LABEL TEXT          redraws the running step's line
#   screen_done LABEL TEXT          the step has succeeded
#   screen_failed LABEL TEXT        it has not
#   screen_bar DONE TOTAL           a bar as text, in $BAR
#   screen_line TEXT                any other line

screen_init() {
	TTY=false
	if [ -t 1 ] && [ "${TERM:-dumb}" != dumb ]; then TTY=true; fi
	ROWS=24
	if $TTY; then
		# shellcheck disable=SC2046
		set -- $(stty size 2>/dev/null </dev/tty)
		[ "${1:-0}" = 0 ] || ROWS=$1
		[ "${2:-0}" = 0 ] || [ "$2" -ge 80 ] || TTY=false # redrawing needs lines that do not wrap
	fi
	case ${LC_ALL:-${LC_CTYPE:-${LANG:-}}} in
	*[Uu][Tt][Ff]*) UTF=true ;;
	*) UTF=false ;;
	esac
	if $UTF; then
		TICK='✓' CROSS='✗' FULL='━' EMPTY='─'
		A_OUT='━━━━━━━━▶' A_IN='◀━━━━━━━━' A_BOTH='◀━━━━━━━▶' A_CUT='━━  ✗  ━━'
		TL='╭' TR='╮' BL='╰' BR='╯' H='─' V='│'
	else
		TICK='ok' CROSS='FAILED' FULL='#' EMPTY='.'
		A_OUT='========>' A_IN='<========' A_BOTH='<=======>' A_CUT='==  X  =='
		TL='+' TR='+' BL='+' BR='+' H='-' V='|'
	fi
	A_NONE='         '
	if $TTY; then
		BOLD=$(printf '\033[1m') GREEN=$(printf '\033[32m') RED=$(printf '\033[31m')
		CYAN=$(printf '\033[36m') PLAIN=$(printf '\033[0m')
	else
		BOLD='' GREEN='' RED='' CYAN='' PLAIN=''
	fi
	below=0     # lines printed below the drawing
	drawn=false # there is a drawing
}

screen_line() {
	if $TTY; then printf '\r\033[K%s\n' "$1"; else printf '%s\n' "$1"; fi
	below=$((below + 1))
}

screen_head() {
	screen_line ""
	screen_line "$BOLD$1$PLAIN"
}

screen_busy() {
	if $TTY; then printf '\r\033[K  %s·%s %-28s %s' "$CYAN" "$PLAIN" "$1" "$2"; fi
}

screen_done() { screen_line "$(printf '  %s%s%s %-28s %s' "$GREEN" "$TICK" "$PLAIN" "$1" "$2")"; }
screen_failed() { screen_line "$(printf '  %s%s%s %-28s %s' "$RED" "$CROSS" "$PLAIN" "$1" "$2")"; }

screen_bar() { # DONE TOTAL
	# shellcheck disable=SC2034 # the caller's
	BAR=$(awk -v d="$1" -v t="$2" -v f="$FULL" -v e="$EMPTY" 'BEGIN {
		if (t <= 0) t = 1
		if (d > t) d = t
		for (i = 0; i < 20; i++) s = s (i < d / t * 20 ? f : e)
		printf "%s %3d %%", s, d * 100 / t
	}')
}

screen_rule() { # CHAR COUNT
	i=0 rule=
	while [ $i -lt "$2" ]; do
		rule=$rule$1
		i=$((i + 1))
	done
}

arrow() {
	case $1 in
	out) arrow=$CYAN$A_OUT$PLAIN ;;
	in) arrow=$CYAN$A_IN$PLAIN ;;
	both) arrow=$CYAN$A_BOTH$PLAIN ;;
	cut) arrow=$RED$A_CUT$PLAIN ;;
	*) arrow=$A_NONE ;;
	esac
}

# 80 columns. The texts are ASCII of at most 15 characters: sh pads by bytes.
screen_box_lines() {
	screen_rule "$H" 17
	arrow "$flow_left"
	left=$arrow
	arrow "$flow_right"
	right=$arrow
	row() { printf ' %s %-15.15s %s%s%s %-15.15s %s%s%s %-15.15s %s\n' "$V" "$1" "$V" "$2" "$V" "$3" "$V" "$4" "$V" "$5" "$V"; }
	edge() { printf ' %s%s%s%11s%s%s%s%11s%s%s%s\n' "$1" "$rule" "$2" "" "$1" "$rule" "$2" "" "$1" "$rule" "$2"; }
	edge "$TL" "$TR"
	row "$d1" "vhost-user " "$d4" "  sockets  " "$d7"
	row "$d2" " $left " "$d5" " $right " "$d8"
	row "$d3" "$(printf ' %-10s' "$flow_what")" "$d6" "           " "$d9"
	edge "$BL" "$BR"
}

screen_drawing() {
	d1=$1 d2=$2 d3=$3 d4=$4 d5=$5 d6=$6 d7=$7 d8=$8 d9=$9
	flow_left=none flow_right=none flow_what=
	screen_line ""
	if $TTY; then printf '\r\033[K'; fi
	screen_box_lines
	drawn=true
	below=0
}

# Redraws in place, as long as the drawing is still on the screen.
screen_flow() {
	flow_left=$1 flow_right=$2 flow_what=${3:-}
	$TTY && $drawn || return 0
	[ $((below + 6)) -lt "$ROWS" ] || return 0
	printf '\r\033[%dA' $((below + 5))
	screen_box_lines
	[ "$below" = 0 ] || printf '\033[%dB' "$below"
	printf '\r'
}
