/**
 * What the guest runs to configure packages that have been unpacked: the scripts that dpkg runs before it
 * unpacks (deb-preinst(5)), the packages that all others' scripts need, then all (dpkg(1), --configure).
 * The changes to the file system are left as an archive on a disk.
 */

/** Their scripts, and those of others, run once these are configured, in this order. */
const CORE = ['base-passwd', 'base-files', 'dpkg', 'libc6:amd64', 'perl-base', 'mawk', 'debconf'];

/** Where pando-launch shows what the guest has changed (agent/launch/launch.c). */
const CHANGES = '/dev/pando-changes';

const quote = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;

/** The line that a package's script begins with on the console, for whoever watches it. */
export const CONFIGURING = /^Setting up (\S+)/;

/**
 * A script for /bin/sh.
 * @param packages as dpkg's database names them, in the order of their installation
 * @param disk that takes the archive
 */
export function configureScript(packages: readonly string[], disk: string): string {
  const core = CORE.filter((name) => packages.includes(name));
  return `set -e
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
export DPKG_ADMINDIR=/var/lib/dpkg DPKG_ROOT= DPKG_MAINTSCRIPT_ARCH=amd64
export DPKG_MAINTSCRIPT_NAME=preinst DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1
mkdir -p /tmp /run
printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
for package in ${packages.map(quote).join(' ')}; do
  script=/var/lib/dpkg/info/$package.preinst
  [ -x "$script" ] || continue
  echo "Preparing $package"
  DPKG_MAINTSCRIPT_PACKAGE=\${package%%:*} "$script" install
done
unset DPKG_MAINTSCRIPT_ARCH DPKG_MAINTSCRIPT_NAME DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT DPKG_ROOT
unset DPKG_ADMINDIR
for package in ${core.map(quote).join(' ')}; do
  dpkg --force-depends --configure "$package"
done
dpkg --configure --pending
rm -f /usr/sbin/policy-rc.d /var/lib/dpkg/*-old /var/cache/debconf/*-old
if dpkg-query -f '\${db:Status-Abbrev}\${Package}\\n' -W | grep -v '^ii '; then
  echo 'these packages are not configured' >&2
  exit 1
fi
tar --create --file=${disk} --directory=${CHANGES} --xattrs '--xattrs-include=trusted.overlay.*' \\
  --numeric-owner --exclude='./tmp/*' --exclude='./run/*' --exclude='./dev/*' .
sync
`;
}
