#!/bin/sh
# Node.js in a small memory group: the heap limit is above the group's limit.
#
# Versions:  node 18.20.8, 22.23.3, 24.21.0 (npm package "node"), Linux, memory control group of version 1 or 2.
# Behaviour: V8 takes half of the group's limit for the old generation, but never less than 256 MB. In groups of 64,
#            128 and 256 MB, the usual sizes of small functions, heap_size_limit is 259 MB each time: the collector sees
#            no reason to work harder before the kernel kills the process. From 1 GB on the limit follows the group.
#            Node.js 18 does not see a group of version 1 at all: its limit is that of the machine.
# Seen:      22.23.3  64 MB: 259   128 MB: 259   256 MB: 259   1024 MB: 524
#            24.21.0  64 MB: 259   128 MB: 259   256 MB: 259   1024 MB: 560
#            18.20.8  any size in a group of version 1: more than 2000 on a machine with 24 GB
# Guessed:   since Node.js 12 "respects container limits", the heap limit of a process is below the limit of its group.
#
# Exits with 0 if this still holds, 1 if it has changed, 77 where no memory group can be made.
set -eu
work=$(mktemp -d)
group=
trap 'rm -rf "$work"; [ -z "$group" ] || rmdir "$group"' EXIT
cd "$work"

if [ -w /sys/fs/cgroup/memory/memory.limit_in_bytes ] || [ -d /sys/fs/cgroup/memory ]; then
  root=/sys/fs/cgroup/memory limit=memory.limit_in_bytes version=1
else
  root=/sys/fs/cgroup limit=memory.max version=2
fi
group=$root/heap-limit-finding-$$
mkdir "$group" 2>/dev/null && [ -e "$group/$limit" ] || { rmdir "$group" 2>/dev/null || :; group=; echo "no memory group can be made here"; exit 77; }

for v in 18.20.8 22.23.3 24.21.0; do
  mkdir "node-$v"
  (cd "node-$v" && echo '{"private":true}' >package.json && npm install --no-audit --no-fund --loglevel=error "node@$v" >/dev/null)
done

# heap VERSION MB prints heap_size_limit in MB of a Node.js that starts inside a group of so many MB.
heap() {
  echo $(($2 << 20)) >"$group/$limit"
  sh -c 'echo $$ >"$0/cgroup.procs"; exec "$1" -p "Math.floor(require(\"v8\").getHeapStatistics().heap_size_limit / 1048576)"' \
    "$group" "$work/node-$1/node_modules/node/bin/node"
}

changed=0
for v in 22.23.3 24.21.0; do
  for mb in 64 128 256; do
    seen=$(heap $v $mb)
    echo "node $v in a group of $mb MB: heap limit $seen MB"
    [ "$seen" -gt "$mb" ] || changed=1
  done
  seen=$(heap $v 1024)
  echo "node $v in a group of 1024 MB: heap limit $seen MB"
  [ "$seen" -lt 1024 ] || changed=1
done
if [ $version = 1 ]; then
  seen=$(heap 18.20.8 128)
  echo "node 18.20.8 in a group of 128 MB: heap limit $seen MB"
  [ "$seen" -gt 1024 ] || changed=1
fi
[ $changed = 0 ] || { echo "this has changed"; exit 1; }
