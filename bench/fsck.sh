#!/bin/sh
# Compares fsck.logfs with e2fsck on a tree of many small files, the same on both file systems: caches
# dropped, in turns. Prints a line per check, and medians: file system, seconds, seconds of processor
# time, peak memory, exit status. Runs as root in a machine of its own:
#
#   truncate -s 4G logfs.img ext4.img
#   cargo xtask vm --kernel uml --mem 3G --disk logfs.img --disk ext4.img -- sh bench/fsck.sh
#
# Image files keep the trees for the next time. With DELAY_MS, every read takes that much longer, as
# from a disk that has to seek (dm-delay).
set -eu
files=${1:-500000}
runs=${2:-5}
delay_ms=${3:-0}
dir=/mnt
per_dir=500
results=/tmp/fsck-results

# One process for all files: a fork for each would be what takes the time.
make_tree() {
    n=0
    while [ "$n" -lt "$files" ]; do
        sub=$dir/$((n / per_dir / 100))/$((n / per_dir))
        mkdir -p "$sub"
        end=$((n + per_dir))
        while [ "$n" -lt "$end" ]; do
            echo "this is file $n, one of many small ones" > "$sub/file-number-$n"
            n=$((n + 1))
        done
    done
    touch "$dir/$files-files"
}

has_tree() { # FILESYSTEM DISK
    mount -t "$1" -o ro "$2" $dir 2> /dev/null || return 1
    found=0
    [ -e "$dir/$files-files" ] || found=1
    umount $dir
    return $found
}

prepare() { # FILESYSTEM DISK [OPTION...]
    fs=$1 disk=$2
    shift 2
    if has_tree "$fs" "$disk"; then
        return
    fi
    mkfs -t "$fs" -F -q "$@" "$disk" > /dev/null
    mount -t "$fs" "$disk" $dir
    make_tree
    umount $dir
}

slow() { # NAME DISK: prints the device to check
    if [ "$delay_ms" = 0 ]; then
        echo "$2"
        return
    fi
    dmsetup create --noudevsync "$1" \
        --table "0 $(blockdev --getsz "$2") delay $2 0 $delay_ms" > /dev/null
    dmsetup mknodes > /dev/null
    echo "/dev/mapper/$1"
}

measure() { # FILESYSTEM DEVICE COMMAND...
    fs=$1 device=$2
    shift 2
    sync
    echo 3 > /proc/sys/vm/drop_caches
    status=0
    /usr/bin/time -q -o /tmp/time -f '%e %U %S %M' "$@" "$device" > /dev/null 2>&1 || status=$?
    read -r elapsed user system memory_kib < /tmp/time
    echo "$fs $elapsed $user $system $memory_kib $status" |
        awk '{ printf "%s %.2f %.2f %d %d\n", $1, $2, $3 + $4, $5, $6 }' >> $results
    tail -n 1 $results
}

median() { # FILESYSTEM COLUMN
    awk -v fs="$1" -v column="$2" '$1 == fs { print $column }' $results |
        sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'
}

prepare logfs "$DISK0"
# As many inodes as files need.
prepare ext4 "$DISK1" -N $((files + files / 100 + 1000))
logfs=$(slow logfs "$DISK0")
ext4=$(slow ext4 "$DISK1")
: > $results
run=0
while [ "$run" -lt "$runs" ]; do
    measure logfs "$logfs" fsck.logfs -fn
    measure ext4 "$ext4" e2fsck -fn
    run=$((run + 1))
done
for fs in logfs ext4; do
    echo "median $fs: $(median $fs 2) s, $(median $fs 3) s of processor, $(median $fs 4) KiB"
done
