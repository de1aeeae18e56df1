# Devices that fail under logfs: writes and reads that end in an error, writes that are lost, reads
# that bring something else; and the shutdown ioctl. What was promised before is there afterwards.
mkdir -p /mnt/a
NAME=logfs-faults
DEVICE=/dev/mapper/$NAME
SECTORS=$(blockdev --getsz "$DISK0")

WHOLE="0 $SECTORS linear $DISK0 0"
NOTHING="0 $SECTORS error"
# flakey: always in the interval in which it fails.
NO_WRITES="0 $SECTORS flakey $DISK0 0 0 3600 1 error_writes"
LOST_WRITES="0 $SECTORS flakey $DISK0 0 0 3600 1 drop_writes"
OTHER_BYTES="0 $SECTORS flakey $DISK0 0 0 3600 5 corrupt_bio_byte 100 r 165 0"
BAD_BLOCKS="0 $SECTORS dust $DISK0 0 4096"

# The device behaves as this table says from now on.
device() {
    dmsetup suspend --nolockfs --noflush $NAME
    dmsetup load $NAME --table "$1"
    dmsetup resume --noudevsync $NAME
}

drop_caches() { sync -f /mnt/a || true; echo 3 >/proc/sys/vm/drop_caches; }

# fresh [OPTION...]: a file system with a tree that is on the device.
fresh() {
    device "$WHOLE"
    mkfs -t logfs -f $DEVICE >/dev/null
    mount -t logfs "$@" $DEVICE /mnt/a
    mkdir /mnt/a/dir
    for number in 1 2 3 4 5 6 7 8; do
        head -c 100000 /dev/urandom >/mnt/a/dir/$number
    done
    (cd /mnt/a && sha256sum dir/*) >/run/sums
    sync -f /mnt/a
}

# The device works again: nothing to repair, and everything there whose fsync had returned.
all_is_there() {
    umount /mnt/a
    device "$WHOLE"
    fsck -t logfs -f -n $DEVICE
    mount -t logfs $DEVICE /mnt/a
    (cd /mnt/a && sha256sum --check --quiet /run/sums)
    touch /mnt/a/new
    umount /mnt/a
    fsck -t logfs -f -n $DEVICE
}

# Makes files and notes those whose fsync returned.
write_and_note() {
    for number in 1 2 3 4 5 6 7 8 9; do
        head -c 50000 /dev/urandom >/mnt/a/$1-$number || continue
        sum=$(sha256sum </mnt/a/$1-$number) || continue
        sync /mnt/a/$1-$number || continue
        echo "${sum%-}$1-$number" >>/run/sums
    done
}

# --- writing ---

device_goes_away() {
    fresh -o "$1"
    device "$NOTHING"
    echo data >/mnt/a/lost || true
    refused "Input/output error" sync /mnt/a/lost
    write_and_note gone
    rm /mnt/a/dir/1 || true
    refused "Input/output error" sync -f /mnt/a
    refused "" touch /mnt/a/new
    all_is_there
}

writes_begin_to_fail() {
    fresh -o "$1"
    write_and_note before
    (sleep 0.0"$2"; device "$NO_WRITES") &
    for round in 1 2 3 4 5 6 7 8; do
        write_and_note round-$round
    done
    wait $!
    write_and_note after
    grep -q before-9 /run/sums
    ! grep -q after /run/sums
    all_is_there
}

writes_are_lost() {
    fresh
    write_and_note before
    device "$LOST_WRITES"
    for number in 1 2 3 4 5 6 7 8; do
        echo more >/mnt/a/lost-$number
        sync /mnt/a/lost-$number
    done
    rm /mnt/a/dir/*
    all_is_there
}

# A write of file data fails, and nothing else: every descriptor hears of it once.
failed_data_is_told_to_every_descriptor_once() {
    fresh
    fallocate --length 65536 /mnt/a/file
    sync /mnt/a/file
    # 0: 0..15: 1234..1249: ...
    first=$(filefrag -v -b4096 /mnt/a/file | sed -n 's/^ *0:[^:]*: *\([0-9]*\)\.\..*/\1/p')
    bad=$((first * 8)) behind=$((first * 8 + 128))
    device "0 $bad linear $DISK0 0
$bad 128 error
$behind $((SECTORS - behind)) linear $DISK0 $behind"
    perl -MIO::Handle -e '
        open(my $a, "+<", "/mnt/a/file") or die; open(my $b, "+<", "/mnt/a/file") or die;
        syswrite($a, "x" x 65536) == 65536 or die;
        $a->sync and die "the writer was not told"; $!{EIO} or die $!;
        $a->sync or die "the writer was told twice: $!";
        $b->sync and die "the other was not told"; $!{EIO} or die $!;
        $b->sync or die "the other was told twice: $!";
        open(my $c, "+<", "/mnt/a/file") or die; $c->sync or die "a new one was told: $!"'
    # The file system goes on.
    write_and_note after
    grep -q after-9 /run/sums
    device "$WHOLE"
    head -c 65536 /dev/urandom >/mnt/a/file
    (cd /mnt/a && sha256sum file) >>/run/sums
    sync /mnt/a/file
    all_is_there
}

# --- reading ---

bad_block_in_a_file() {
    fresh
    first=$(filefrag -v -b4096 /mnt/a/dir/3 | sed -n 's/^ *0:[^:]*: *\([0-9]*\)\.\..*/\1/p')
    device "$BAD_BLOCKS"
    dmsetup message $NAME 0 addbadblock $((first + 2))
    dmsetup message $NAME 0 enable
    drop_caches
    refused "Input/output error" cat /mnt/a/dir/3
    head -c 8192 /mnt/a/dir/3 >/dev/null
    tail -c 50000 /mnt/a/dir/3 >/dev/null
    cat /mnt/a/dir/4 >/dev/null
    write_and_note after
    grep -q after-9 /run/sums
    # A write heals it, as disks do.
    head -c 100000 /dev/urandom >/mnt/a/dir/3
    sed -i '/dir\/3/d' /run/sums
    (cd /mnt/a && sha256sum dir/3) >>/run/sums
    sync /mnt/a/dir/3
    drop_caches
    cat /mnt/a/dir/3 >/dev/null
    all_is_there
}

nothing_can_be_read() {
    fresh -o "$1"
    device "$NOTHING"
    echo 3 >/proc/sys/vm/drop_caches
    for path in dir dir/1 dir/none; do
        cat /mnt/a/$path || true
        ls -l /mnt/a/$path || true
    done
    refused "" cat /mnt/a/dir/1
    all_is_there
}

# What is read has one byte changed: metadata is not believed.
other_bytes_are_read() {
    fresh -o "errors=$1"
    device "$OTHER_BYTES"
    drop_caches
    refused "Structure needs cleaning" ls -l /mnt/a/dir
    said "run fsck.logfs"
    counters=$(echo /sys/fs/logfs/dm-*)
    [ "$(cat "$counters/errors")" -gt 0 ]
    grep -E "^(damaged|shut down): [a-z ]+ [0-9]+: " "$counters/last_error"
    device "$WHOLE"
    drop_caches
    case $1 in
    remount-ro)
        has_option /mnt/a emergency_ro
        refused "Read-only file system" touch /mnt/a/new
        (cd /mnt/a && sha256sum --check --quiet /run/sums)
        mount -o remount,rw /mnt/a
        refused "Read-only file system" touch /mnt/a/new ;;
    shutdown)
        has_option /mnt/a shutdown
        refused "Input/output error" touch /mnt/a/new
        refused "Input/output error" ls /mnt/a/dir ;;
    continue)
        has_option /mnt/a emergency_ro && return 1
        write_and_note after
        grep -q after-9 /run/sums ;;
    esac
    # A full check is due, and finds that the disk is sound.
    umount /mnt/a
    fsck -t logfs -a $DEVICE
    mount -t logfs $DEVICE /mnt/a
    all_is_there
}

unreadable_log() {
    fresh -o commit=3600
    dd if=$DEVICE of=/run/copy bs=1M iflag=direct status=none
    umount /mnt/a
    dd if=/run/copy of=$DEVICE bs=1M oflag=direct status=none
    device "$OTHER_BYTES"
    mount_refused "" -t logfs $DEVICE /mnt/a
    device "$NOTHING"
    mount_refused "" -t logfs $DEVICE /mnt/a
    device "$NO_WRITES"
    mount_refused "" -t logfs $DEVICE /mnt/a
    device "$WHOLE"
    mount -t logfs $DEVICE /mnt/a
    all_is_there
}

# --- the ioctl that tests use to stop a file system: XFS_IOC_GOINGDOWN ---

shutdown_ioctl() {
    fresh -o commit=3600
    echo data >/mnt/a/file
    perl -e 'open(my $dir, "<", "/mnt/a") or die;
        ioctl($dir, 0x8004587d, pack("L", $ARGV[0])) or die $!' "$1"
    refused "Input/output error" touch /mnt/a/new
    refused "Input/output error" cat /mnt/a/dir/5
    refused "Input/output error" sync -f /mnt/a
    refused "Input/output error" sync /mnt/a/dir
    umount /mnt/a
    mount -t logfs $DEVICE /mnt/a
    # 0: everything is written back first; 1: the log is; 2: nothing.
    case $1 in
    0) is data cat /mnt/a/file ;;
    1) [ -e /mnt/a/file ] ;;
    2) refused "No such file" cat /mnt/a/file ;;
    esac
    all_is_there
}

dmsetup create --noudevsync $NAME --table "$WHOLE"
dmsetup mknodes
for errors in errors=remount-ro errors=shutdown errors=continue; do
    check device_goes_away $errors
    check nothing_can_be_read $errors
    for pause in 2 8; do
        check writes_begin_to_fail $errors $pause
    done
done
check writes_are_lost
check failed_data_is_told_to_every_descriptor_once
check bad_block_in_a_file
for errors in remount-ro shutdown continue; do
    check other_bytes_are_read $errors
done
check unreadable_log
for how in 0 1 2; do
    check shutdown_ioctl $how
done
exit 0
