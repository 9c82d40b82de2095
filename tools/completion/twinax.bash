# SPDX-License-Identifier: BSD-3-Clause
# bash completion for twinax: types and options come from the program's own help.

# First column of the indented lines of a help text.
_twinax_names()
{
	"$1" vm "-$2" "$3" 2>/dev/null | sed -n 's/^  \([^ ]*\).*/\1/p'
}

# The value of -netdev, -device, -object, -chardev: a type first, then keys.
_twinax_list()
{
	local prog=$1 option=$2 cur=$3 type name
	compopt -o nospace 2>/dev/null
	if [[ $cur != *,* ]]; then
		COMPREPLY=($(compgen -W "$(_twinax_names "$prog" "$option" help)" -- "$cur"))
		return
	fi
	type=${cur%%,*}
	name=$(_twinax_names "$prog" "$option" "$type,help" | sed -n 's/=.*/=/p')
	COMPREPLY=($(compgen -P "${cur%,*}," -W "id= $name" -- "${cur##*,}"))
}

# The value of such an option in the word being typed, $cur.
_twinax_value()
{
	_twinax_list "$1" "$2" "$cur"
	# What readline regards as done must not come twice.
	if [[ $cur == *[=:]* && $COMP_WORDBREAKS == *[=:]* ]]; then
		local done=${cur%"${cur##*[=:]}"} i
		for i in "${!COMPREPLY[@]}"; do
			COMPREPLY[i]=${COMPREPLY[i]#"$done"}
		done
	fi
}

# twinax's options, QEMU's name, QEMU's options as far as they are about networks; files otherwise.
_twinax_qemu()
{
	local prog=$1 before=" ${line% *} "
	case $prev in
	-netdev | -device | -object) _twinax_value "$prog" "${prev#-}" ;;
	-nic) _twinax_value "$prog" netdev ;;
	-qmp)
		COMPREPLY=($(compgen -W "unix:" -- "$cur"))
		compopt -o nospace 2>/dev/null
		;;
	--) COMPREPLY=($(compgen -c -- "${cur:-qemu-system-}")) ;;
	*)
		if [[ $before == *" -- "* && $cur == -* ]]; then
			COMPREPLY=($(compgen -W "-netdev -nic -net -device -object -machine -accel -cpu -smp -m -drive -kernel -initrd -append -nographic -nodefaults" -- "$cur"))
		elif [[ $before == *" -- "* ]]; then
			COMPREPLY=($(compgen -f -- "$cur"))
		else
			COMPREPLY=($(compgen -W "-dry-run -qmp -quiet -help --" -- "$cur"))
		fi
		;;
	esac
}

# QEMU's options as far as the machine has them, with what stands behind each.
_twinax_vm()
{
	local prog=$1
	case $prev in
	-netdev | -device | -object | -chardev) _twinax_value "$prog" "${prev#-}" ;;
	-nic) _twinax_value "$prog" netdev ;;
	-net) COMPREPLY=($(compgen -W "nic none dump $(_twinax_names "$prog" netdev help)" -- "$cur")) ;;
	-accel) COMPREPLY=($(compgen -W "kvm qemu qtest" -- "$cur")) ;;
	-machine | -M) COMPREPLY=($(compgen -W "pc q35" -- "$cur")) ;;
	-serial) COMPREPLY=($(compgen -W "stdio none null file: pipe: unix: chardev:" -- "$cur")) ;;
	-monitor) COMPREPLY=($(compgen -W "none stdio unix:" -- "$cur")) ;;
	-display | -vga | -parallel) COMPREPLY=($(compgen -W "none" -- "$cur")) ;;
	-cpu) COMPREPLY=($(compgen -W "host max" -- "$cur")) ;;
	-qmp | -qtest)
		COMPREPLY=($(compgen -W "unix:" -- "$cur"))
		compopt -o nospace 2>/dev/null
		;;
	-kernel | -initrd | -loadvm | -pidfile | -qtest-log) COMPREPLY=($(compgen -f -- "$cur")) ;;
	-append | -m | -smp | -name | -set | -mon | -echr | -incoming) ;;
	*)
		COMPREPLY=($(compgen -W "-kernel -initrd -append -m -smp -accel -enable-kvm -machine -netdev -device -nic -net -object -chardev -set -nodefaults -serial -nographic -monitor -qmp -mon -S -loadvm -incoming -no-reboot -no-shutdown -name -pidfile -daemonize -echr -qtest -qtest-log -cpu -display -vga -help" -- "$cur"))
		;;
	esac
}

# Options of run, then a command.
_twinax_run()
{
	local prog=$1
	case $prev in
	-netdev | -object | -chardev) _twinax_value "$prog" "${prev#-}" ;;
	-qmp)
		COMPREPLY=($(compgen -W "unix:" -- "$cur"))
		compopt -o nospace 2>/dev/null
		;;
	-netns) COMPREPLY=($(compgen -f -- "$cur")) ;;
	-p) COMPREPLY=($(compgen -W "tcp: udp:" -- "$cur")) ;;
	-pid | -mtu | -ifname | -ready-fd | -exit-fd) ;;
	--) COMPREPLY=($(compgen -c -- "$cur")) ;;
	*)
		COMPREPLY=($(compgen -W "-p -netdev -mtu -ifname -pid -netns -no-config -object -chardev -qmp -ready-fd -exit-fd -quiet -help --" -- "$cur"))
		;;
	esac
}

_twinax()
{
	local prog=${COMP_WORDS[0]} cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local line
	COMPREPLY=()
	# readline splits at "=" and ":"; the whole word is what stands behind the last blank.
	line=${COMP_LINE:0:COMP_POINT}
	if ((COMP_CWORD == 1)); then
		COMPREPLY=($(compgen -W "serve qemu vm run ctl version help" -- "$cur"))
		return
	fi
	case ${COMP_WORDS[1]} in
	help)
		COMPREPLY=($(compgen -W "serve qemu vm run ctl version help" -- "$cur"))
		;;
	serve)
		cur=${line##* }
		prev=${line% *}
		prev=${prev##* }
		case $prev in
		-netdev | -device | -object | -chardev) _twinax_value "$prog" "${prev#-}" ;;
		-qmp)
			COMPREPLY=($(compgen -W "unix:" -- "$cur"))
			compopt -o nospace 2>/dev/null
			;;
		-ready-fd) ;;
		*)
			COMPREPLY=($(compgen -W "-netdev -device -object -chardev -qmp -ready-fd -quiet -help" -- "$cur"))
			;;
		esac
		;;
	qemu)
		cur=${line##* }
		prev=${line% *}
		prev=${prev##* }
		_twinax_qemu "$prog"
		;;
	vm)
		cur=${line##* }
		prev=${line% *}
		prev=${prev##* }
		_twinax_vm "$prog"
		;;
	run)
		cur=${line##* }
		prev=${line% *}
		prev=${prev##* }
		_twinax_run "$prog"
		;;
	ctl)
		if ((COMP_CWORD == 2)); then
			COMPREPLY=($(compgen -f -- "$cur"))
		elif ((COMP_CWORD == 3)); then
			COMPREPLY=($(compgen -W "$("$prog" ctl -help 2>/dev/null |
				sed -n '/^QMP commands/,/^Human/s/^  \([a-z_-]*\) .*/\1/p') info help" -- "$cur"))
		elif [[ ${COMP_WORDS[3]} == info ]]; then
			COMPREPLY=($(compgen -W "network stats status version" -- "$cur"))
		fi
		;;
	esac
}
complete -F _twinax twinax
