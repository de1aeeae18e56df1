# Memory that logfs keeps metadata in is given back when others need it. In a machine with little of
# it ($MEM_MIB).
FILES=50000

# Kernel memory that is no page cache and can be given back: logfs's blocks are in it.
kept_kib() { sed -n 's/^KReclaimable: *\([0-9]*\) kB/\1/p' /proc/meminfo; }

# Twice: what has been used since the last visit gets a second chance.
drop_caches() {
    for _ in 1 2 3; do
        echo 3 >/proc/sys/vm/drop_caches
    done
}

no_one_was_killed() {
    dmesg >/run/dmesg
    grep -q "oom-killer\|Out of memory" /run/dmesg && return 1
    return 0
}

# Empty files in directories of a thousand, one in ten with its own name in it.
make_tree() {
    mkdir /mnt/tree
    for dir in $(seq $((FILES / 1000))); do
        mkdir /mnt/tree/$dir
        (cd /mnt/tree/$dir && seq -f "a-name-of-usual-length-%g" 900 | xargs touch &&
            seq 100 | split --lines=1 --suffix-length=3 --numeric-suffixes - data-)
    done
}

tree() { (cd /mnt/tree && find . -printf '%p %y %m %n %s %T@\n' | sort); }
contents() { (cd /mnt/tree && find . -type f -size +0 | sort | xargs cat | cksum); }
remember() { tree >/run/tree; contents >/run/contents; }
same_as_before() { tree | cmp - /run/tree; contents | cmp - /run/contents; }

fresh() {
    mkfs -t logfs -f "$DISK0" >/dev/null
    mount -t logfs "$@" "$DISK0" /mnt
}

unmount_whole() {
    umount /mnt
    fsck -t logfs -f -n "$DISK0"
}

# Freezing writes everything home: after it every block could be dropped.
clean_blocks_are_given_back() {
    fresh
    before=$(kept_kib)
    make_tree
    remember
    fsfreeze -f /mnt
    fsfreeze -u /mnt
    full=$(kept_kib)
    drop_caches
    after=$(kept_kib)
    : "KiB before, full, after: $before $full $after"
    [ $((full - before)) -gt $((20 << 10)) ]
    [ $((after - before)) -lt $(((full - before) / 4)) ]
    same_as_before
    drop_caches
    same_as_before
    unmount_whole
}

# What is not home yet must not be dropped, whether it is committed or not.
dirty_blocks_survive() {
    fresh -o commit=3600
    make_tree
    remember
    drop_caches
    same_as_before
    sync
    chmod 600 /mnt/tree/1/a-*
    rm /mnt/tree/2/a-*
    mv /mnt/tree/3 /mnt/tree/4/moved
    remember
    drop_caches
    same_as_before
    umount /mnt
    mount -t logfs "$DISK0" /mnt
    same_as_before
    unmount_whole
}

# Somebody else takes most of the machine's memory while the tree is used.
memory_is_left_to_others() {
    fresh
    make_tree
    remember
    mkdir -p /run/others
    mount -t tmpfs -o size=100% others /run/others
    dd if=/dev/zero of=/run/others/much bs=1M count=$((MEM_MIB / 2)) status=none
    same_as_before
    rm -r /mnt/tree/1
    tree >/run/tree
    contents >/run/contents
    same_as_before
    umount /run/others
    no_one_was_killed
    unmount_whole
}

check clean_blocks_are_given_back
check dirty_blocks_survive
check memory_is_left_to_others
exit 0
