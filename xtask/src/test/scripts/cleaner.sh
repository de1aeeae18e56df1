# The segment cleaner, `-o discard` and fstrim in a kernel. The first disk has 128 MiB, the second 512.
mkdir -p /mnt/a
NAME=${DISK0#/dev/}
COUNTERS=/sys/fs/logfs/$NAME
FILES=96

unmount_whole() {
    umount /mnt/a
    fsck -t logfs -f -n --check-data "$DISK0"
}

counter() { cat "$COUNTERS/$1"; }

# Discards of the disk, and what they covered.
discards() { awk '{ print $12 }' "/sys/block/$NAME/stat"; }
discarded_bytes() { awk '{ printf "%d\n", $14 * 512 }' "/sys/block/$NAME/stat"; }

# above NAME VALUE: a counter is greater.
above() { [ "$(counter "$1")" -gt "$2" ]; }

# Pieces of files side by side, of which two in five go: the segments are full of holes.
make_holes() {
    free=$(stat -f --format %f /mnt/a)
    each=$((free * 4096 / 10 * 8 / FILES / 6 / 4096 * 4096))
    for part in $(seq 6); do
        for file in $(seq $FILES); do
            head -c $each /dev/urandom >>/mnt/a/$file.$((file % 5))
        done
        sync -f /mnt/a
    done
    # Cleaning starts below six.
    while above clean_segments 5; do
        head -c 1M /dev/urandom >>/mnt/a/rest
        sync -f /mnt/a
    done
    rm /mnt/a/*.0 /mnt/a/*.1
    sync -f /mnt/a
    (cd /mnt/a && sha256sum -- *) >/run/sums
}

contents_are_the_same() {
    (cd /mnt/a && sha256sum --quiet -c /run/sums)
}

clean_segments_come_back_while_files_are_read() {
    fresh
    make_holes
    echo 3 >/proc/sys/vm/drop_caches
    before=$(counter clean_segments)
    : >/run/reading
    trap 'rm -f /run/reading; wait' EXIT
    while [ -e /run/reading ]; do
        contents_are_the_same || : >/run/wrong
        for file in 7.2 13.3 24.4; do
            dd if=/mnt/a/$file of=/dev/null bs=64k iflag=direct status=none
        done
        echo 1 >/proc/sys/vm/drop_caches
    done &
    within 60 above cleaned_blocks 500
    # Meanwhile new data comes, and goes.
    for round in 1 2 3 4 5; do
        head -c 4M /dev/urandom >/mnt/a/new.$round
        dd if=/dev/urandom of=/mnt/a/direct bs=1M count=2 oflag=direct status=none
        rm -f /mnt/a/new.$((round - 2))
    done
    within 120 above clean_segments $((before + 2))
    rm /run/reading
    wait
    trap - EXIT
    [ ! -e /run/wrong ]
    echo 3 >/proc/sys/vm/drop_caches
    contents_are_the_same
    is 0 counter errors
    unmount_whole
}

# A command runs on a disk full of holes, and at least 500 blocks move meanwhile.
while_cleaning() {
    fresh
    make_holes
    before=$(counter cleaned_blocks)
    "$@" >/dev/null
    above cleaned_blocks $((before + 500))
    echo 3 >/proc/sys/vm/drop_caches
    contents_are_the_same
    is 0 counter errors
    unmount_whole
}

one_file_is_changed_meanwhile() {
    while_cleaning exercise /mnt/a/changed --operations 20000 --max-size 4194304 --seed 7
}

threads_change_a_tree_meanwhile() {
    while_cleaning stress /mnt/a/tree --threads 4 --rounds 1 --operations 2000 --seed 7
}

unmounting_and_freezing_stop_it() {
    fresh
    make_holes
    within 60 above cleaned_blocks 0
    fsfreeze -f /mnt/a
    blocks=$(counter cleaned_blocks)
    sleep 1.5
    is "$blocks" counter cleaned_blocks
    fsfreeze -u /mnt/a
    unmount_whole
}

an_empty_disk_is_left_alone() {
    fresh
    head -c 20M /dev/urandom >/mnt/a/file
    sync -f /mnt/a
    sleep 2.5
    is 0 counter cleaned_segments
    unmount_whole
}

freed_blocks_are_discarded() {
    fresh -o discard
    grep -q "$NAME .*,discard" /proc/mounts
    head -c 20M /dev/urandom >/mnt/a/file
    sync -f /mnt/a
    before=$(discarded_bytes)
    rm /mnt/a/file
    sync -f /mnt/a
    enough() { [ $(($(discarded_bytes) - before)) -ge $((20 << 20)) ]; }
    within 5 enough
    mount -o remount,nodiscard /mnt/a
    head -c 20M /dev/urandom >/mnt/a/file
    sync -f /mnt/a
    before=$(discards)
    rm /mnt/a/file
    sync -f /mnt/a
    sleep 1.5
    is "$before" discards
    unmount_whole
}

fstrim_discards_what_is_free() {
    fresh
    head -c 20M /dev/urandom >/mnt/a/kept
    sync -f /mnt/a
    free=$(($(stat -f --format %f /mnt/a) * 4096))
    before=$(discarded_bytes)
    said=$(fstrim -v /mnt/a | sed 's/.*(\([0-9]*\) bytes.*/\1/')
    [ "$said" -gt $((free / 10 * 9)) ]
    is "$said" expr "$(discarded_bytes)" - "$before"
    # A part of it, and only long runs.
    part=$(fstrim -v -o 32M -l 16M /mnt/a | sed 's/.*(\([0-9]*\) bytes.*/\1/')
    [ "$part" -le $((16 << 20)) ]
    is 0 sh -c "fstrim -v -m 4G /mnt/a | sed 's/.*(\([0-9]*\) bytes.*/\1/'"
    mount -o remount,ro /mnt/a
    refused "Read-only file system" fstrim /mnt/a
    mount -o remount,rw /mnt/a
    chmod 755 /mnt/a
    refused "Operation not permitted" setpriv --reuid 1000 --clear-groups fstrim /mnt/a
    cp /mnt/a/kept /run/kept
    echo 3 >/proc/sys/vm/drop_caches
    cmp /mnt/a/kept /run/kept
    unmount_whole
}

# letters LETTER SIZE
letters() { head -c "$2" /dev/zero | tr '\0' "$1"; }

# slow_disk DISK; slow_reads MILLISECONDS: mounts a device on which reads take as long later.
slow_disk() {
    disk=$1
    sectors=$(blockdev --getsz "$disk")
    dmsetup create --noudevsync slow --table "0 $sectors delay $disk 0 0"
    dmsetup mknodes
    mkfs -t logfs -f /dev/mapper/slow >/dev/null
    mount -t logfs /dev/mapper/slow /mnt/a
}
slow_reads() {
    dmsetup suspend --nolockfs --noflush slow
    dmsetup load slow --table "0 $sectors delay $disk 0 $1 $disk 0 0"
    dmsetup resume --noudevsync slow
}
end_slow_disk() {
    is 0 cat /sys/fs/logfs/dm-0/errors
    umount /mnt/a
    fsck -t logfs -f -n --check-data /dev/mapper/slow
    dmsetup remove --noudevsync slow
}

# A direct read takes three seconds. Meanwhile the same blocks are written through a mapping, and all
# space that is free then goes to another file.
what_is_being_read_is_not_used_for_another_file() {
    slow_disk "$DISK0"
    letters A 1M >/mnt/a/read
    letters - 6M >/mnt/a/room
    ! letters - 200M >/mnt/a/rest
    rm /mnt/a/room
    sync -f /mnt/a
    slow_reads 3000
    dd if=/mnt/a/read of=/run/got bs=1M count=1 iflag=direct status=none &
    reader=$!
    sleep 0.5
    xfs_io -c 'mmap -w 0 1m' -c 'mwrite -S 0x42 0 1m' -c 'msync -s 0 1m' -c fsync /mnt/a/read
    ! letters C 200M >/mnt/a/foreign
    sync -f /mnt/a
    kill -0 $reader
    wait $reader
    is AB sh -c 'printf AB; tr -d AB </run/got'
    # Then it is.
    free() { [ "$(stat -f --format %f /mnt/a)" -ge 256 ]; }
    within 10 free
    end_slow_disk
}

# A step of the cleaner waits for a read that takes ten seconds. Meanwhile the blocks of another file are
# overwritten in no order, and then settled in one step, with the stack that a thread of the kernel has.
many_blocks_are_settled_at_once() {
    slow_disk "$DISK1"
    letters A 1M >/mnt/a/read
    letters A 100M >/mnt/a/file
    sync -f /mnt/a
    slow_reads 10000
    dd if=/mnt/a/read of=/dev/null bs=1M count=1 iflag=direct status=none &
    reader=$!
    sleep 0.5
    letters B 4k | dd of=/mnt/a/read bs=4k oflag=direct conv=notrunc iflag=fullblock status=none
    sleep 2
    perl -MFcntl -MList::Util=shuffle -e '
        sysopen(my $file, "/mnt/a/file", O_WRONLY | O_DIRECT) or die $!;
        my $zeros = syscall(9, 0, 4096, 3, 0x22, -1, 0);
        srand(1);
        for (shuffle(0 .. 25599)) {
            kill(0, $ARGV[0]) or last;
            syscall(18, fileno $file, $zeros, 4096, $_ * 4096) == 4096 or die $!;
        }' $reader
    wait $reader
    # Another file gets the blocks.
    all() { letters C 300M >/mnt/a/all; }
    within 20 all
    end_slow_disk
}

for name in an_empty_disk_is_left_alone clean_segments_come_back_while_files_are_read \
    one_file_is_changed_meanwhile threads_change_a_tree_meanwhile unmounting_and_freezing_stop_it \
    what_is_being_read_is_not_used_for_another_file many_blocks_are_settled_at_once \
    freed_blocks_are_discarded fstrim_discards_what_is_free; do
    check $name
done
exit 0
