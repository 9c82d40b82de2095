#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Addresses, names and boot files of `-netdev user` as real clients get them: udhcpc, dhclient, systemd-networkd, the
# kernel's SLAAC, rdisc6, TFTP clients, smbclient. Each is in a namespace that `twinax run -no-config` connects.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need "$TWINAX" busybox ping unshare
[ -w /dev/net/tun ] || { echo "1..0 # SKIP $T_NAME: /dev/net/tun is not open to us"; exit 77; }
unshare -U -r -n true 2>/dev/null || { echo "1..0 # SKIP $T_NAME: no user namespaces"; exit 77; }

mkdir "$T/tftp" "$T/share" "$T/out"
head -c 100000 /dev/urandom >"$T/tftp/boot.bin"
head -c 300000 /dev/urandom >"$T/share/file"

NAMES="hostname=toy,domainname=lab.example,dnssearch=lab.example,dnssearch=example"
BOOT="tftp=$T/tftp,bootfile=boot.bin,tftp-server-name=boot.example"

# What a client is told, one variable a line.
cat >"$T/told" <<X
#!/bin/sh
{ echo "event=\${reason:-\$1}"; env; } >>"$T/told.env"
X
chmod 755 "$T/told"

client() { # NETDEV SCRIPT: its output; the interface is up, $T is $1
	timeout 60 env "T=$T" "$TWINAX" run -no-config -netdev "user,id=n0,$1" -- \
		sh -c "ip link set lo up; ip link set tap0 up; $2" </dev/null 2>&1
}

told() { # "NAME=VALUE" PATTERN...: lines of the client's last environment
	for t_line_ in "$@"; do
		grep -q -x -e "$t_line_" "$T/told.env" || { cat "$T/told.env"; echo "not told: $t_line_"; return 1; }
	done
}

has() { command -v "$1" >/dev/null 2>&1 || [ -x "$1" ]; }

# --- DHCP ----------------------------------------------------------------------------------------------------------

udhcpc() { # NETDEV
	rm -f "$T/told.env"
	client "$1" 'busybox udhcpc -i tap0 -n -q -f -t 5 -T 2 -s "$T/told" -O mtu -O search -O tftp -O bootfile'
}
udhcpc "$NAMES,$BOOT,mtu=9000" >"$T/udhcpc.log"
step "udhcpc: address, mask, gateway, name server, lease" told event=bound ip=10.0.2.15 mask=24 router=10.0.2.2 \
	dns=10.0.2.3 serverid=10.0.2.2 lease=86400
step "udhcpc: names" told hostname=toy domain=lab.example "search=lab.example example"
step "udhcpc: boot file, TFTP server, MTU" told boot_file=boot.bin bootfile=boot.bin tftp=boot.example sname=boot.example \
	siaddr=10.0.2.2 mtu=9000
udhcpc "net=192.168.7.0/28,host=192.168.7.14,dns=192.168.7.13,dhcpstart=192.168.7.5,restrict=on" >"$T/udhcpc.log"
step "udhcpc: another network, restricted" told event=bound ip=192.168.7.5 mask=28 subnet=255.255.255.240
holds "udhcpc: no gateway and no name server with restrict=on" "$(grep -c '^router=\|^dns=' "$T/told.env")" 0

if has dhclient; then
	dhclient() { # ARGS: in the namespace; ends by itself once it has what it came for
		rm -f "$T/told.env" "$T/leases"
		: >"$T/leases"
		client "$NAMES,$BOOT,mtu=9000" "sleep 2; for how in '$1' ${2:+'$2'}; do
			timeout 40 dhclient -v -1 -sf '$T/told' -lf '$T/leases' -pf '$T/dhclient.pid' \$how tap0; done
			kill \$(cat '$T/dhclient.pid') 2>/dev/null; true" >"$T/dhclient.log"
	}
	dhclient "-4" "-4 -r"
	step "dhclient: lease" told event=BOUND new_ip_address=10.0.2.15 new_routers=10.0.2.2 \
		new_domain_name_servers=10.0.2.3 new_dhcp_lease_time=86400 new_interface_mtu=9000
	step "dhclient: names" told new_host_name=toy new_domain_name=lab.example "new_domain_search=lab.example. example."
	step "dhclient: release" told event=RELEASE
	dhclient "-6 -S"
	step "dhclient -6 -S: information without an address" told new_dhcp6_name_servers=fec0::3 \
		"new_dhcp6_domain_search=lab.example. example."
	dhclient "-6" "-6 -r"
	step "dhclient -6: an address" told event=BOUND6 new_ip6_address=fec0::15 new_max_life=86400
	step "dhclient -6: release" told event=RELEASE6
else
	skip "dhclient" "isc-dhcp-client is not installed"
fi

# --- the kernel ----------------------------------------------------------------------------------------------------

SEE='for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
		ip -6 -o addr show tap0 scope site scope global | grep -v tentative | grep -q . && break; sleep 0.5; done
	ip -6 -o addr show tap0; ip -6 route; cat /proc/sys/net/ipv6/conf/tap0/mtu'
slaac=$(client "mtu=1400" "$SEE; ping -6 -c 2 -W 5 fec0::2 && ping -6 -c 1 -W 5 fe80::2%tap0 && echo pinged")
holds "SLAAC: an address of the prefix" "$slaac" '*inet6 fec0::*/64 scope site*'
holds "SLAAC: the default route is by the router's link-local address" "$slaac" '*default via fe80::2 *'
holds "SLAAC: the MTU" "$slaac" '*
1400
*'
holds "SLAAC: the gateway answers, by both its addresses" "$slaac" '*pinged*'
slaac=$(client "ipv6-net=fd12:3456::/64,ipv6-host=fd12:3456::99,restrict=on" "$SEE; ping -6 -c 2 -W 5 fd12:3456::99 >/dev/null && echo pinged")
holds "SLAAC: another prefix" "$slaac" '*inet6 fd12:3456::*/64 scope global*'
holds "SLAAC: no default route with restrict=on" "$(echo "$slaac" | grep -c default)" 0
holds "SLAAC: but the host" "$slaac" '*pinged*'
holds "ipv6=off is silent" "$(client ipv6=off 'sleep 5; ip -6 -o addr show tap0; ip -6 route')" '*inet6 fe80::*fe80::/64*'
holds "a guest that takes the gateway's address finds it taken" \
	"$(client ipv6=on 'sleep 3; ip addr add fec0::2/64 dev tap0; sleep 3; ip -6 -o addr show dev tap0 to fec0::2')" '*dadfailed*'
holds "and one of its own is its own" \
	"$(client ipv6=on 'sleep 3; ip addr add fec0::77/64 dev tap0; sleep 3; ip -6 -o addr show dev tap0 to fec0::77')" '*fec0::77/64 scope site*forever*'

if has rdisc6; then
	ra=$(client "$NAMES,mtu=1400" 'sleep 3; rdisc6 -1 tap0; ndisc6 fec0::3 tap0; ndisc6 -r 1 -w 500 fec0::4 tap0')
	holds "rdisc6: M and O flags as QEMU's" "$ra" '*Stateful address conf.    :           No
Stateful other conf.      :           No*'
	holds "rdisc6: with a boot file, DHCPv6 has more to tell" "$(client "$BOOT" 'sleep 3; rdisc6 -1 tap0')" \
		'*Stateful other conf.      :          Yes*'
	holds "rdisc6: MTU, MAC" "$ra" '*52:56:00:00:00:02*MTU  *: *1400 *'
	holds "rdisc6: name server and search list" "$ra" '*Recursive DNS server     : fec0::3*DNS search list *: lab.example example*'
	holds "ndisc6: the name server has a MAC, its neighbour has none" "$ra" '*52:56:00:00:00:03*No response*'
else
	skip "rdisc6" "ndisc6 is not installed"
fi

# --- systemd-networkd ----------------------------------------------------------------------------------------------

NETWORKD=/lib/systemd/systemd-networkd
cat >"$T/networkd.sh" <<X
# /sys is read-only in containers: then networkd does not wait for udev.
mount -t tmpfs run /run && mount -t sysfs -o ro sysfs /sys || exit 1
mkdir -p /run/systemd/network /run/udev
printf '[Match]\nName=tap0\n[Network]\nDHCP=yes\nIPv6AcceptRA=yes\n[DHCPv4]\nUseDomains=yes\n[IPv6AcceptRA]\nUseDomains=yes\n' \
	>/run/systemd/network/10-tap.network
SYSTEMD_LOG_TARGET=console $NETWORKD &
for i in \$(seq 60); do
	grep -q ADDRESS_STATE=routable /run/systemd/netif/links/2 2>/dev/null &&
		grep -q IPV6_ADDRESS_STATE=routable /run/systemd/netif/links/2 &&
		grep -q "DNS=.*fec0::3" /run/systemd/netif/links/2 && break
	[ \$i != 40 ] || echo "networkd is slow"
	sleep 0.5
done
cat /run/systemd/netif/links/2 /run/systemd/netif/leases/2
ip -o addr show tap0
ip route
ip -6 route
kill \$!
X
if has "$NETWORKD"; then
	net=$(client "$NAMES,mtu=9000" "sh '$T/networkd.sh'")
	if ! echo "$net" | grep -q STATE=; then
		skip "systemd-networkd" "it does not run in a namespace here: $(echo "$net" | tail -n 1)"
	else
		holds "networkd: DHCP" "$net" '*ADDRESS=10.0.2.15*ROUTER=10.0.2.2*MTU=9000*HOSTNAME=toy*'
		holds "networkd: the name servers of both families" "$net" '*DNS=10.0.2.3 fec0::3*'
		holds "networkd: the search list" "$net" '*DOMAINS=*lab.example*example*'
		holds "networkd: SLAAC and both default routes" "$net" '*inet6 fec0::*default via 10.0.2.2*default via fe80::2*'
		net=$(client "ipv6-net=fd00:7::/80" "sh '$T/networkd.sh'")
		holds "networkd: a prefix of 80 bits gives addresses by DHCPv6" "$net" '*inet6 fd00:7::15/128*'
	fi
else
	skip "systemd-networkd" "it is not installed"
fi

# --- TFTP ----------------------------------------------------------------------------------------------------------

CONFIGURE='ip addr add 10.0.2.15/24 dev tap0; ip route add default via 10.0.2.2;
	ip addr add fec0::15/64 dev tap0 nodad;'
holds "TFTP: busybox, by blocks of 512 and of 1428 bytes" "$(client "$BOOT" "$CONFIGURE
	cd '$T/out'; for b in 512 1428; do busybox tftp -g -b \$b -r boot.bin -l - 10.0.2.2 | sha256sum; done")" \
	"$(sum "$T/tftp/boot.bin")*
$(sum "$T/tftp/boot.bin")*"
holds "TFTP: by IPv6" "$(client "$BOOT" "$CONFIGURE busybox tftp -g -b 1400 -r boot.bin -l - fec0::2 | sha256sum")" \
	"$(sum "$T/tftp/boot.bin")*"
holds "TFTP: writing is refused" "$(client "$BOOT" "$CONFIGURE busybox tftp -p -l /etc/hostname -r boot.bin 10.0.2.2")" \
	'*error*'
if curl --version 2>/dev/null | grep -q tftp; then
	holds "TFTP: the URL that DHCPv6 gives" \
		"$(client "$BOOT" "$CONFIGURE curl -s 'tftp://[fec0::2]/boot.bin' | sha256sum")" "$(sum "$T/tftp/boot.bin")*"
else
	skip "TFTP: curl" "curl is not installed"
fi

# --- SMB -----------------------------------------------------------------------------------------------------------

if [ "$(awk '{ n += $3 } END { print (n > 1000) }' /proc/self/uid_map)" = 0 ]; then
	skip "SMB" "smbd takes users, and this namespace has one"
elif has smbclient && has /usr/sbin/smbd; then
	smb=$(client "smb=$T/share" "$CONFIGURE cd '$T/out'; smbclient -N //10.0.2.4/qemu \
		-c 'get file got; put got back; mkdir d; ls' && cat got | sha256sum")
	holds "SMB: a file is read" "$smb" "*$(sum "$T/share/file")*"
	holds "SMB: and written" "$(sum "$T/share/back")" "$(sum "$T/share/file")"
	holds "SMB: at another address" "$(client "smb=$T/share,smbserver=10.0.2.77" "$CONFIGURE smbclient -N //10.0.2.77/qemu -c ls")" '*back*'
	holds "SMB: with restrict=on" "$(client "smb=$T/share,restrict=on" "$CONFIGURE smbclient -N //10.0.2.4/qemu -c ls")" '*back*'
	holds "SMB: nothing is left behind" "$(find /tmp -maxdepth 1 -name 'twinax-smb.*' -newer "$T/told")" ""
else
	skip "SMB" "samba and smbclient are not installed"
fi
finish
