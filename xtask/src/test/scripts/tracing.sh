# Tracepoints of bento.ko, as tracefs shows them.
mkdir -p /mnt/a /mnt/b
TRACING=/sys/kernel/tracing
[ -e $TRACING/trace ] || mount -t tracefs none $TRACING

fresh() {
    mkfs -t logfs -f "$DISK0" >/dev/null
    mount -t logfs -o commit=3600 "$DISK0" /mnt/a
}

# traced COMMAND...: /run/trace holds the events of bento while the command runs.
traced() {
    echo >$TRACING/trace
    echo 1 >$TRACING/events/bento/enable
    status=0
    "$@" || status=$?
    echo 0 >$TRACING/events/bento/enable
    grep bento_ $TRACING/trace >/run/trace || true
    cat /run/trace
    return $status
}

# value EVENT NAME: the value that the first such event has under this name.
value() { sed -n "/$1/{s/.*[ ]$2=\([^ ]*\).*/\1/p;q}" /run/trace; }

# in_order PATTERN...: lines that match these stand one behind the other.
in_order() {
    at=0
    for pattern in "$@"; do
        next=$(tail -n +$((at + 1)) /run/trace | grep -n -m 1 -- "$pattern")
        at=$((at + ${next%%:*}))
    done
}

append() { dd if=/dev/zero of=/mnt/a/file bs=4k count=1 oflag=append conv=notrunc,fsync status=none; }

an_fsync_from_beginning_to_end() {
    fresh
    append
    before=$(cat /sys/fs/logfs/*/log_written_bytes)
    traced append
    ino=$(stat --format %i /mnt/a/file)
    device=$(mountpoint --fs-devno /mnt/a)
    device="${device%:*},${device#*:}"
    in_order "bento_fsync_begin: $device ino=$ino data_only=0" \
        "bento_writepages: $device ino=$ino .* wait=1" \
        "bento_place: $device ino=$ino offset_bytes=4096 len_bytes=4096 kind=mapped address_bytes=[1-9]" \
        "bento_written: $device ino=$ino offset_bytes=4096 len_bytes=4096 error=0" \
        "bento_fs: $device log_force_begin" "bento_fs: $device log_record" \
        "bento_fs: $device log_force_end" "bento_fsync_end: $device ino=$ino error=0"
    is "$(value log_force_begin sequence)" value log_record sequence
    is "$(value log_force_begin sequence)" value log_force_end durable_sequence
    is $(($(cat /sys/fs/logfs/*/log_written_bytes) - before)) value log_record bytes
    # Where it was placed it is found.
    placed=$(value bento_place address_bytes)
    sync -f /mnt/a
    echo 3 >/proc/sys/vm/drop_caches
    traced cat /mnt/a/file
    grep "bento_map: .* ino=$ino .* kind=mapped" /run/trace
    mapped=$(value "bento_map: .* kind=mapped" address_bytes)
    at=$(value "bento_map: .* kind=mapped" offset_bytes)
    is $((placed - 4096)) echo $((mapped - at))
}

freeze_and_thaw() { fsfreeze -f /mnt/a && fsfreeze -u /mnt/a; }

checkpoints_and_segments() {
    fresh
    before=$(cat /sys/fs/logfs/*/checkpoint_written_bytes)
    append
    traced freeze_and_thaw
    in_order "checkpoint_begin number=" "checkpoint_end number=" "checkpoint_begin" "checkpoint_end"
    is "$(value checkpoint_begin number)" value checkpoint_end number
    home=$(($(cat /sys/fs/logfs/*/checkpoint_written_bytes) - before))
    is $((home / 4096)) value checkpoint_end blocks
    traced dd if=/dev/zero of=/mnt/a/large bs=1M count=8 conv=fsync status=none
    in_order "segment_opened segment=[0-9]* kind=[0-9]* clean=" bento_fsync_end
}

# What a power cut now leaves.
orphans_are_recovered() {
    fresh
    exec 3>/mnt/a/file
    ino=$(stat --format %i /mnt/a/file)
    rm /mnt/a/file
    sync -f /mnt/a
    dd if="$DISK0" of=/run/copy bs=1M iflag=direct status=none
    exec 3>&-
    traced mount -t logfs -o loop /run/copy /mnt/b
    in_order "bento_fs: .* recovered transactions=[1-9][0-9]* blocks=[1-9]" "bento_fs: .* orphan_recovered ino=$ino"
    umount /mnt/b
    fsck -t logfs -f -n /run/copy
}

discards_are_traced() {
    fresh
    traced fstrim /mnt/a
    in_order "bento_fs: .* discard start=[1-9][0-9]* blocks=[1-9]"
}

# XFS_IOC_GOINGDOWN
shut_down() {
    perl -e 'open(my $dir, "<", "/mnt/a") or die; my $how = pack("L", 2);
        ioctl($dir, 0x8004587d, $how) or die $!'
}

errors_are_traced() {
    fresh
    traced shut_down
    in_order "bento_fs: .* error errors=1"
}

# filtered EVENTS: how many events of an fsync pass the filter.
filtered() {
    echo "$1" >$TRACING/events/bento/bento_fs/filter
    traced append
    echo 0 >$TRACING/events/bento/bento_fs/filter
    is "$2" awk '/bento_fs:/ { count++ } END { print count + 0 }' /run/trace
}

filters_see_names_and_numbers() {
    fresh
    append
    filtered 'event == "log_record"' 1
    filtered 'event == "log_record" && second > 100000' 0
    filtered 'event == "log_record" && second > 100' 1
}

nothing_is_traced_when_off() {
    fresh
    echo >$TRACING/trace
    append
    grep bento_ $TRACING/trace && return 1
    umount /mnt/a
}

modprobe --quiet loop
for name in an_fsync_from_beginning_to_end checkpoints_and_segments orphans_are_recovered \
    discards_are_traced errors_are_traced filters_see_names_and_numbers nothing_is_traced_when_off; do
    check $name
done
exit 0
