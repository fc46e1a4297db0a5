#!/bin/sh
# The workloads of hot-code.ts, one after another. Each is framed by two lines on the console, which the
# host times, and followed by a digest of what it computed. /debian holds Debian's programs.
mkdir -p /debian/dev /debian/proc
mount --bind /dev /debian/dev
export LC_ALL=C PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1
only=$(sed -n 's/.*bench\.only=\([^ ]*\).*/\1/p' /proc/cmdline)
out=/debian/tmp/out
cp /bin/busybox /debian/tmp/busybox
for n in 1 2 3 4 5 6; do cat /debian/usr/bin/python3.11; done | head -c 33554432 > /debian/tmp/data

workload() {
  name=$1
  shift
  case ",${only:-$name}," in
    *",$name,"*) ;;
    *) return ;;
  esac
  echo "@begin $name"
  "$@" > $out
  echo "@end $name $?"
  echo "@digest $name $(md5sum < $out)"
}

debian() {
  chroot /debian "$@"
}

shell_loop() {
  i=0
  while [ $i -lt 300000 ]; do
    i=$((i + 1))
  done
  echo $i
}

processes() {
  i=0
  while [ $i -lt 300 ]; do
    /bin/busybox true || return
    i=$((i + 1))
  done
  echo $i
}

workload sha256 debian sha256sum /tmp/data
workload gzip debian gzip -9 -n -c /tmp/busybox
workload awk debian mawk -f /tests/doubles.awk
workload shell shell_loop
workload fork-exec processes
workload python debian python3.11 -S /tests/records.py
echo "@done"
