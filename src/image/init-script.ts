/**
 * The files of the image's own initrd that decide what user space does. busybox runs all of them:
 * /init as the first process (Linux, Documentation/admin-guide/init.rst), then its own init with an
 * inittab, so that shells are restarted, `poweroff` and `reboot` work with and without -f, and the
 * console's shell has a controlling terminal and with it job control.
 */

import { createHash } from 'node:crypto';
import { AGENT_PATH, agentProgram } from './agent.js';

/** The line on the console that says that user space runs. */
export const USER_SPACE_LINE = 'Pando: user space is up';

/** Where the program of stage-program.ts is. */
export const STAGE_PROGRAM = '/sbin/boot-stage';

/** Where the script of the DHCP client is. */
export const DHCP_SCRIPT = '/etc/udhcpc.script';

const PATH = '/sbin:/usr/sbin:/bin:/usr/bin';

/**
 * /init. It reports the boot stage before anything else. Drivers of devices are loaded where the VM was given the
 * kernel's modules; a network device gets its address by DHCP. `pando.exec=PATH` on the kernel's command line runs a
 * program in place of the shell and powers off after it; a name with a dot is not passed on to init's environment,
 * hence /proc/cmdline. The agent is init's, so that it answers only once this script is over: a command of a host that
 * removes programs takes none away that a step here still needs.
 * systemd.tty.rows.ttyS0=N and systemd.tty.columns.ttyS0=N (systemd(1)) are the size of the console's terminal.
 * Free memory is reported in runs of 128 KiB (page_reporting_order, Linux, mm/page_reporting.c); Linux has 2 MiB, which
 * keeps what lies between pages in use, and is set by the balloon's driver.
 * /dev/console is no controlling terminal, the terminal behind it is: the last of `active`.
 */
export const INIT_SCRIPT = `#!/bin/busybox sh
export PATH=${PATH}
${STAGE_PROGRAM} 2>/dev/null
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
if [ -d /lib/modules ]; then
  for bus in acpi virtio; do
    for alias in /sys/bus/$bus/devices/*/modalias; do
      [ -r "$alias" ] && modprobe -q "$(cat "$alias")"
    done
  done
  order=/sys/module/page_reporting/parameters/page_reporting_order
  [ -w $order ] && echo 5 > $order
fi
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
hostname pando
ip link set lo up 2>/dev/null
if [ -e /sys/class/net/eth0 ]; then
  ip link set eth0 up
  udhcpc -i eth0 -s ${DHCP_SCRIPT} -n -q -t 5 -T 1 >/dev/null 2>&1 || echo 'Pando: no address by DHCP'
fi
console=ttyS0
for name in $(cat /sys/class/tty/console/active 2>/dev/null); do console=$name; done
action="respawn:-/bin/sh"
for word in $(cat /proc/cmdline); do
  case $word in
    pando.exec=*) action="once:/etc/run \${word#pando.exec=}" ;;
    systemd.tty.rows.$console=*) rows=\${word#*=} ;;
    systemd.tty.columns.$console=*) columns=\${word#*=} ;;
  esac
done
[ -z "$rows" ] || [ -z "$columns" ] || stty rows $rows cols $columns < /dev/$console
[ -x ${AGENT_PATH} ] && agent="null::respawn:${AGENT_PATH}"
cat > /etc/inittab <<END
$agent
$console::$action
::ctrlaltdel:/sbin/reboot
::shutdown:/bin/umount -a -r
END
echo '${USER_SPACE_LINE}'
exec /sbin/init
`;

/**
 * What udhcpc does with what it was given (busybox, examples/udhcp/simple.script). An address of before goes first: a
 * clone's may be another machine's by now, whom a guest that has it, too, does not answer.
 */
export const DHCP_SCRIPT_TEXT = `#!/bin/sh
[ "$1" = bound ] || exit 0
ip link set "$interface" mtu "\${mtu:-1500}"
ip -4 -o addr show dev "$interface" | while read -r _ _ _ old _; do
  [ "$old" = "$ip/$mask" ] || ip addr del "$old" dev "$interface"
done
ip addr replace "$ip/$mask" dev "$interface"
for gateway in $router; do
  ip route replace default via "$gateway" dev "$interface"
done
[ -n "$hostname" ] && hostname "$hostname"
{
  [ -n "$domain" ] && echo "search $domain"
  for server in $dns; do echo "nameserver $server"; done
} > /etc/resolv.conf
`;

/** /etc/run: the program of pando.exec, then power-off. */
export const RUN_SCRIPT = `#!/bin/sh
. /etc/profile
"$@"
echo "Pando: $1 ended with $?"
poweroff -f
`;

/** /etc/profile, read by the login shell. Without a size of the terminal busybox takes 80 by 24. */
export const PROFILE = `export PATH=${PATH}
export HOME=/root
export TERM=\${TERM:-vt102} PAGER=less
export PS1='$PWD \\$ '
cd
`;

/** An empty field for the password would do for login(1), but busybox finds no name in such a line. */
export const PASSWD = 'root:x:0:0:root:/root:/bin/sh\n';
export const GROUP = 'root:x:0:\ntty:x:5:\n';

/** SHA-256 of what this release puts into initrds: an image with another is made again. */
export function ownPartsDigest(): string {
  const hash = createHash('sha256').update(agentProgram());
  for (const script of [INIT_SCRIPT, DHCP_SCRIPT_TEXT, RUN_SCRIPT, PROFILE]) hash.update(script);
  return hash.digest('hex');
}
