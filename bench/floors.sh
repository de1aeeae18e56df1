#!/bin/sh
# Compares logfs with ext4 on two disks of the same size, in turns: sequential write and cold read,
# unpacking a source tree, and appending with fsync. Prints a line per measurement: workload, file
# system, seconds, flushes, KiB written. Runs as root in a machine of its own:
#
#   cargo xtask vm --kernel uml --disk 4G --disk 4G -- sh bench/floors.sh [RUNS] [MiB]
set -eu
runs=${1:-3}
mib=${2:-1024}
tree=${TREE:-/usr/src/linux-source-6.12.tar.xz}
dir=/mnt

now() { date +%s.%N; }
counters() { awk '{ print $16, $7 / 2 }' "/sys/block/$(basename "$1")/stat"; }

# report WORKLOAD FILESYSTEM START BEFORE DISK
report() {
    end=$(now)
    echo "$1 $2 $3 $end $4 $(counters "$5")" |
        awk '{ printf "%-12s %-6s %8.3f s %6d flushes %9d KiB\n", $1, $2, $4 - $3, $7 - $5, $8 - $6 }'
}

measure() { # FILESYSTEM DISK
    fs=$1 disk=$2
    mkfs -t "$fs" -F -q "$disk" > /dev/null
    mount -t "$fs" "$disk" $dir

    before=$(counters "$disk") start=$(now)
    dd if=/dev/zero of=$dir/big bs=1M count="$mib" conv=fsync 2> /dev/null
    report write "$fs" "$start" "$before" "$disk"

    umount $dir && mount -t "$fs" "$disk" $dir
    echo 3 > /proc/sys/vm/drop_caches
    before=$(counters "$disk") start=$(now)
    dd if=$dir/big of=/dev/null bs=1M 2> /dev/null
    report read "$fs" "$start" "$before" "$disk"
    rm $dir/big

    before=$(counters "$disk") start=$(now)
    tar -C $dir -xf "$tar" && sync
    report untar "$fs" "$start" "$before" "$disk"

    before=$(counters "$disk") start=$(now)
    dd if=/dev/zero of=$dir/log bs=4k count=1000 oflag=dsync,append conv=notrunc 2> /dev/null
    report append "$fs" "$start" "$before" "$disk"
    umount $dir
}

# Unpacked once, so that decompression is not what is measured.
tar=/tmp/tree.tar
rm -rf /tmp/tree && mkdir /tmp/tree
tar -C /tmp/tree -xf "$tree" --wildcards '*/fs' '*/kernel' '*/include'
tar -C /tmp/tree -cf $tar . && rm -rf /tmp/tree

run=0
while [ "$run" -lt "$runs" ]; do
    measure logfs "$DISK0"
    measure ext4 "$DISK1"
    run=$((run + 1))
done
