# The counters in /sys/fs/logfs: that they count what happens, and when they are there.
mkdir -p /mnt/a
NAME=${DISK0#/dev/}
COUNTERS=/sys/fs/logfs/$NAME

# Nothing is written but what a check asks for.
fresh() {
    mkfs -t logfs -f "$DISK0" >/dev/null
    mount -t logfs -o commit=3600 "$DISK0" /mnt/a
}

unmount_whole() {
    umount /mnt/a
    fsck -t logfs -f -n "$DISK0"
}

# counter NAME
counter() { cat "$COUNTERS/$1"; }

# What the block layer has counted for a disk since it is there.
flushes() { awk '{ print $16 }' "/sys/block/$1/stat"; }
written_bytes() { awk '{ printf "%d\n", $7 * 512 }' "/sys/block/$1/stat"; }

# remember: what the counters and the block layer say now; grown NAME: what has come since.
remember() {
    rm -rf /run/before
    mkdir /run/before
    cp "$COUNTERS"/* /run/before/
    flushes "$NAME" >/run/before/flushes
    written_bytes "$NAME" >/run/before/written_bytes
}

grown() {
    case $1 in
    flushes | written_bytes) now=$($1 "$NAME") ;;
    *) now=$(counter "$1") ;;
    esac
    echo $((now - $(cat "/run/before/$1")))
}

# append FILE: a block at the end, and fsync.
append() { dd if=/dev/zero of="$1" bs=4k count=1 oflag=append conv=notrunc,fsync status=none; }

an_fsync_is_a_record_and_a_flush() {
    fresh
    append /mnt/a/file
    remember
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        append /mnt/a/file
    done
    for name in log_forces log_force_requests log_records device_flushes flushes; do
        is 10 grown $name
    done
    for name in checkpoints device_durable_writes errors; do
        is 0 grown $name
    done
    log_bytes=$(grown log_written_bytes)
    [ "$log_bytes" -ge 5120 ]
    # All that went to the disk is the data and the log.
    is $((10 * 4096 + log_bytes)) grown written_bytes
    is 10 grown live_blocks
    # There is nothing to be made durable any more.
    remember
    sync /mnt/a/file
    sync -f /mnt/a
    is 0 grown log_force_requests
    is 0 grown flushes
    unmount_whole
}

# With a flush that takes its time, those who come meanwhile are served by the next one together.
one_force_serves_many() {
    dmsetup create logfs-slow --noudevsync --table "0 $(blockdev --getsz "$DISK0") \
        delay $DISK0 0 0 $DISK0 0 0 $DISK0 0 50"
    dmsetup mknodes
    mkfs -t logfs -f /dev/mapper/logfs-slow >/dev/null
    mount -t logfs -o commit=3600 /dev/mapper/logfs-slow /mnt/a
    COUNTERS=$(echo /sys/fs/logfs/dm-*)
    remember
    for writer in 1 2 3 4 5 6 7 8; do
        for _ in 1 2 3 4 5; do
            append /mnt/a/$writer
        done &
    done
    wait
    forces=$(grown log_forces)
    [ "$(grown log_force_requests)" -gt "$forces" ]
    is "$forces" grown device_flushes
    umount /mnt/a
    dmsetup remove --noudevsync logfs-slow
}

a_checkpoint_brings_blocks_home() {
    fresh
    touch /mnt/a/file
    remember
    # One makes the device clean, the other says that it no longer is.
    fsfreeze -f /mnt/a
    fsfreeze -u /mnt/a
    is 2 grown checkpoints
    is 2 grown device_durable_writes
    # The disk knows no durable writes: the kernel flushes behind them.
    is $(($(grown device_flushes) + 2)) grown flushes
    home=$(grown checkpoint_written_bytes)
    [ "$home" -ge 4096 ]
    is $((home + 2 * 4096 + $(grown log_written_bytes))) grown written_bytes
    is 0 counter log_used_bytes
    unmount_whole
}

lookups_hit_or_miss() {
    fresh
    touch /mnt/a/file
    umount /mnt/a
    mount -t logfs -o commit=3600 "$DISK0" /mnt/a
    remember
    stat /mnt/a/file
    misses=$(grown cache_misses)
    [ "$misses" -gt 0 ]
    # Some may be read ahead of those that were missed.
    [ "$(grown cache_bytes)" -ge $((misses * 4096)) ]
    cached=$(counter cache_bytes)
    # The VFS forgets the inode, logfs the blocks that nobody has changed.
    echo 3 >/proc/sys/vm/drop_caches
    [ "$(counter cache_bytes)" -lt "$cached" ]
    remember
    chmod 600 /mnt/a/file
    chmod 644 /mnt/a/file
    [ "$(grown cache_misses)" -gt 0 ]
    [ "$(grown cache_hits)" -gt 0 ]
    unmount_whole
}

space_is_as_df_has_it() {
    fresh
    segments=$(counter segments)
    clean=$(counter clean_segments)
    [ "$clean" -gt 0 ]
    [ "$clean" -lt "$segments" ]
    before=$(counter live_blocks)
    head -c 20M /dev/urandom >/mnt/a/file
    sync -f /mnt/a
    is "$(stat -f --format %f /mnt/a)" counter free_blocks
    [ $(($(counter live_blocks) - before)) -ge 5120 ]
    [ "$(counter clean_segments)" -lt "$clean" ]
    rm /mnt/a/file
    sync -f /mnt/a
    is "$(stat -f --format %f /mnt/a)" counter free_blocks
    [ $(($(counter live_blocks) - before)) -lt 10 ]
    unmount_whole
}

orphans_are_open_without_a_name() {
    fresh
    is 0 counter orphans
    exec 3>/mnt/a/one 4>/mnt/a/two
    rm /mnt/a/one /mnt/a/two
    is 2 counter orphans
    exec 3>&-
    is 1 counter orphans
    exec 4>&-
    is 0 counter orphans
    unmount_whole
}

# --- when they are there ---

they_are_there_while_mounted() {
    [ ! -e "$COUNTERS" ]
    fresh
    [ -d "$COUNTERS" ]
    refused "Permission denied" sh -c "echo 1 >$COUNTERS/log_forces"
    exec 3<"$COUNTERS/log_forces"
    umount /mnt/a
    [ ! -e "$COUNTERS" ]
    refused "No such device" cat <&3
    exec 3<&-
    mount -t logfs -o ro "$DISK0" /mnt/a
    is 0 counter device_durable_writes
    unmount_whole
}

# Somebody reads all the time.
mounts_come_and_go_under_readers() {
    mkfs -t logfs -f "$DISK0" >/dev/null
    : >/run/reading
    while [ -e /run/reading ]; do
        cat "$COUNTERS"/* >/dev/null 2>&1
    done &
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        mount -t logfs "$DISK0" /mnt/a
        append /mnt/a/file
        counter log_forces
        umount /mnt/a
    done
    rm /run/reading
    wait
    fsck -t logfs -f -n "$DISK0"
}

for name in an_fsync_is_a_record_and_a_flush a_checkpoint_brings_blocks_home \
    lookups_hit_or_miss space_is_as_df_has_it orphans_are_open_without_a_name \
    they_are_there_while_mounted mounts_come_and_go_under_readers one_force_serves_many; do
    check $name
done
exit 0
