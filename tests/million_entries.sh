#!/bin/sh
# A directory of a million entries: made, listed cold, looked up cold, checked, emptied. Prints the
# seconds of each step. Runs in a machine of its own:
#
#   cargo xtask vm --kernel uml --disk 4G -- sh tests/million_entries.sh [ENTRIES]
set -eu
entries=${1:-1000000}
dir=/mnt/directory

step() { # NAME COMMAND...
    name=$1 start=$(date +%s.%N)
    shift
    "$@"
    echo "$name $start $(date +%s.%N)" | awk '{ printf "%-24s %8.1f s\n", $1, $3 - $2 }'
}

cold() {
    umount /mnt
    mount -t logfs "$DISK0" /mnt
    echo 3 > /proc/sys/vm/drop_caches
}

make() { (cd $dir && seq -f 'entry-%.0f' 1 "$entries" | xargs touch && sync); }
list() {
    LC_ALL=C ls -U $dir > /tmp/names
    test "$(wc -l < /tmp/names)" -eq "$entries"
    test "$(sort -u /tmp/names | wc -l)" -eq "$entries"
}
look_up() { (cd $dir && seq -f 'entry-%.0f' 1 997 "$entries" | xargs stat -c %n > /dev/null); }
check() { umount /mnt && fsck -t logfs -fn "$DISK0" && mount -t logfs "$DISK0" /mnt; }
empty() { (cd $dir && seq -f 'entry-%.0f' 1 "$entries" | xargs rm) && rmdir $dir && sync; }

mkfs -t logfs -q "$DISK0"
mount -t logfs "$DISK0" /mnt
mkdir $dir
step make make
cold
step list-cold list
cold
step look-up-1000-cold look_up
step check check
step empty empty
step check-empty check
umount /mnt
