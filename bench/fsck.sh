#!/bin/sh
# Compares fsck.logfs with e2fsck on a tree of many small files, the same on both file systems. Prints
# a line per check: file system, seconds, peak memory. Runs as root in a machine of its own:
#
#   cargo xtask vm --kernel uml --mem 3G --disk 4G --disk 4G -- sh bench/fsck.sh [FILES] [RUNS]
set -eu
files=${1:-500000}
runs=${2:-3}
dir=/mnt
per_dir=500

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
}

prepare() { # FILESYSTEM DISK [OPTION...]
    fs=$1 disk=$2
    shift 2
    mkfs -t "$fs" -F -q "$@" "$disk" > /dev/null
    mount -t "$fs" "$disk" $dir
    make_tree
    umount $dir
}

measure() { # FILESYSTEM DISK COMMAND...
    fs=$1 disk=$2
    shift 2
    sync
    echo 3 > /proc/sys/vm/drop_caches
    python3 - "$fs" "$@" "$disk" << 'END'
import resource, subprocess, sys, time
start = time.monotonic()
status = subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL).returncode
seconds = time.monotonic() - start
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
processor = usage.ru_utime + usage.ru_stime
print(f"{sys.argv[1]:6} {seconds:7.2f} s {processor:7.2f} s of processor "
      f"{usage.ru_maxrss // 1024:5} MiB status {status}", flush=True)
END
}

prepare logfs "$DISK0"
# As many inodes as files need.
prepare ext4 "$DISK1" -N $((files + files / 100 + 1000))
run=0
while [ "$run" -lt "$runs" ]; do
    measure logfs "$DISK0" fsck.logfs -fn
    measure ext4 "$DISK1" e2fsck -fn
    run=$((run + 1))
done
