# Writes whose memory cannot be read, or not at once: what was there stays, what was written arrives, and
# nobody waits for ever.
mkdir -p /mnt/a

again() {
    umount /mnt/a
    fsck -t logfs -f -n "$DISK0"
    mount -t logfs "$DISK0" /mnt/a
}

# write_half FLAGS FILE OFFSET GOOD BAD: writes GOOD bytes `B` and then BAD bytes from memory that is not
# there, in one call; prints what it returned, or the error. The good memory ends a page.
write_half() {
    perl -MFcntl -e '
        my ($flags, $path, $offset, $good, $bad) = @ARGV;
        sysopen(my $file, $path, O_WRONLY | O_CREAT | oct $flags) or die "$path: $!";
        my $room = "B" x ($good + 8192);
        my $end = (unpack("Q", pack("P", $room)) + $good + 4095) & ~4095;
        my $parts = pack("QQQQ", $end - $good, $good, 4096, $bad);
        my $written = syscall(296, fileno $file, $parts, 2, 0 + $offset, 0);
        print $written < 0 ? $! : $written, "\n"' "$@"
}
buffered=0
direct=040000

expect() {
    head -c "$1" /dev/zero | tr '\0' "$2"
}

a_failed_write_keeps_what_is_dirty_before_it() {
    fresh
    for good in 0 100 4000; do
        rm -f /mnt/a/file
        head -c 5000 /dev/urandom >/run/data
        cp /run/data /mnt/a/file
        case $good in
            0) is "Bad address" write_half $buffered /mnt/a/file 5000 0 10 ;;
            *) is $good write_half $buffered /mnt/a/file 5000 $good 10 ;;
        esac
        expect $good B >>/run/data
        again
        cmp /run/data /mnt/a/file
    done
}

a_failed_write_keeps_what_is_dirty_behind_it() {
    fresh
    expect 20000 o >/mnt/a/file
    is 5000 write_half $buffered /mnt/a/file 3000 5000 9000
    { expect 3000 o; expect 5000 B; expect 12000 o; } >/run/data
    again
    cmp /run/data /mnt/a/file
}

# In a kernel with large folios such writes share them: what is read around them and cut off of them.
small_writes_in_a_row_keep_what_is_around_them() {
    fresh
    dd if=/dev/urandom of=/run/from bs=1M count=2 status=none
    for size in 4096 1000; do
        rm -f /run/data /mnt/a/file
        for file in /run/data /mnt/a/file; do
            dd if=/run/from of=$file bs=$size status=none
        done
        again
        for file in /run/data /mnt/a/file; do
            dd if=/run/from of=$file bs=$size seek=100 count=300 conv=notrunc status=none
            dd if=/run/from of=$file bs=4096 skip=3 seek=77 count=1 conv=notrunc status=none
        done
        cmp /run/data /mnt/a/file
        for file in /run/data /mnt/a/file; do
            truncate -s 312345 $file
            dd if=/run/from of=$file bs=512 oflag=append conv=notrunc status=none
        done
        cmp /run/data /mnt/a/file
        again
        cmp /run/data /mnt/a/file
    done
}

a_direct_write_ends_where_its_memory_does() {
    fresh
    for good in 3584 4096 7680 12288; do
        expect 20480 o >/mnt/a/file
        again
        is $good write_half $direct /mnt/a/file 0 $good $((20480 - good))
        { expect $good B; expect $((20480 - good)) o; } >/run/data
        again
        cmp /run/data /mnt/a/file
    done
    is "Bad address" write_half $direct /mnt/a/file 0 0 4096
    cmp /run/data /mnt/a/file
}

a_direct_write_behind_the_end_ends_where_its_memory_does() {
    fresh
    is 3584 write_half $direct /mnt/a/file 8192 3584 4608
    { head -c 8192 /dev/zero; expect 3584 B; } >/run/data
    again
    cmp /run/data /mnt/a/file
}

# In a kernel with large folios all of it is one.
a_direct_write_amid_dirty_data_waits_for_it() {
    fresh
    expect 65536 o >/run/whole
    for block in 0 7 15; do
        dd if=/run/whole of=/mnt/a/file bs=65536 conv=notrunc status=none
        expect 4096 B | dd of=/mnt/a/file bs=4096 seek=$block iflag=fullblock oflag=direct conv=notrunc status=none
        { expect $((block * 4096)) o; expect 4096 B; expect $(((15 - block) * 4096)) o; } >/run/data
        cmp /run/data /mnt/a/file
        again
        cmp /run/data /mnt/a/file
    done
}

# Memory that has no page yet when it is to be written: anonymous, and a mapped file's.
memory_comes_while_it_is_written() {
    fresh
    dd if=/dev/urandom of=/run/data bs=1M count=8 status=none
    cp /run/data /mnt/a/from
    again
    perl -MFcntl -e '
        sysopen(my $to, "/mnt/a/to", O_RDWR | O_CREAT | O_DIRECT) or die $!;
        sysopen(my $from, "/mnt/a/from", O_RDONLY) or die $!;
        my $len = 8 << 20;
        my $mapped = syscall(9, 0, $len, 1, 1, fileno $from, 0);
        my $nothing = syscall(9, 0, $len, 3, 0x22, -1, 0);
        syscall(18, fileno $to, $mapped + 512, $len - 4096, 0) == $len - 4096 or die $!;
        syscall(18, fileno $to, $nothing, $len, $len) == $len or die $!'
    { tail -c +513 /run/data | head -c $(((8 << 20) - 4096)); head -c 4096 /dev/zero
        head -c $((8 << 20)) /dev/zero; } >/run/wanted
    again
    cmp /run/wanted /mnt/a/to
}

# Once behind the end of the file, once inside it.
a_direct_write_gathers_what_lies_apart() {
    fresh
    dd if=/dev/urandom of=/run/data bs=1M count=1 status=none
    perl -MFcntl -e '
        sysopen(my $to, "/mnt/a/to", O_RDWR | O_CREAT | O_DIRECT) or die $!;
        sysopen(my $from, "/run/data", O_RDONLY) or die $!;
        open(my $wanted, ">", "/run/wanted") or die $!;
        sysread($from, my $data, 1 << 20) == 1 << 20 or die $!;
        my $mapped = syscall(9, 0, 1 << 20, 1, 1, fileno $from, 0);
        my ($pieces, $all) = ("", "");
        for ([512, 3584], [0, 512], [8192, 4608], [4096, 3584], [65536, 524288], [65536, 4096]) {
            my ($offset, $len) = @$_;
            $pieces .= pack("QQ", $mapped + $offset, $len);
            $all .= substr($data, $offset, $len);
        }
        for (1, 2) {
            sysseek($to, 0, 0);
            syscall(20, fileno $to, $pieces, 6) == length $all or die $!;
            print $wanted $all if $_ == 1;
        }'
    again
    cmp /run/wanted /mnt/a/to
}

# What direct I/O asks of memory and of offsets, as statx tells it.
alignment() {
    perl -e '
        my $stat = "\0" x 256;
        syscall(332, -100, $ARGV[0], 0, 0x2000, $stat) == 0 or die $!;
        print join(" ", unpack("x152 LL", $stat)), "\n"' "$1"
}

# Its memory is good enough for the device, but pages end within sectors.
memory_beside_sectors_is_copied() {
    modprobe --quiet loop || true
    loop=$(losetup --find --show --sector-size 4096 "$DISK0")
    mkfs -t logfs -f "$loop" >/dev/null
    mount -t logfs "$loop" /mnt/a
    dd if=/dev/urandom of=/run/data bs=64k count=1 status=none
    perl -MFcntl -e '
        sysopen(my $to, "/mnt/a/to", O_RDWR | O_CREAT | O_DIRECT) or die $!;
        sysopen(my $from, "/run/data", O_RDONLY) or die $!;
        my $mapped = syscall(9, 0, 65536, 1, 1, fileno $from, 0);
        for (1, 2) {
            syscall(18, fileno $to, $mapped + 512, 8192, 0) == 8192 or die $!;
            syscall(18, fileno $to, $mapped + 4096, 8192, 8192) == 8192 or die $!;
        }
        syscall(18, fileno $to, $mapped + 1, 8192, 0) == -1 or die "odd memory";
        print "$!\n"' >/run/error
    { tail -c +513 /run/data | head -c 8192; tail -c +4097 /run/data | head -c 8192; } >/run/wanted
    umount /mnt/a
    fsck -t logfs -f -n "$loop"
    mount -t logfs "$loop" /mnt/a
    cmp /run/wanted /mnt/a/to
    is "Invalid argument" cat /run/error
    is "4096 4096" alignment /mnt/a/to
    umount /mnt/a
    losetup --detach "$loop"
}

# A file is written from its own mapping, whose pages others make dirty and write back.
a_file_written_from_its_own_mapping_waits_for_nobody() {
    fresh
    head -c $((1 << 20)) /dev/zero >/mnt/a/file
    cat >/run/own.pl <<'END'
        use Fcntl;
        sysopen(my $file, "/mnt/a/file", O_RDWR | ($ARGV[0] eq "write" ? O_DIRECT : 0)) or die $!;
        open(my $zeros, "<", "/dev/zero") or die $!;
        my ($len, $half, $end) = (1 << 20, 1 << 19, time + 5);
        my $mapped = syscall(9, 0, $len, 3, 1, fileno $file, 0);
        while (time < $end) {
            if ($ARGV[0] eq "write") {
                my $written = syscall(18, fileno $file, $mapped + $half / 2, $half, 0);
                $written == $half or die "$written: $!";
            } elsif ($ARGV[0] eq "dirty") {
                syscall(0, fileno $zeros, $mapped, $len) == $len or die $!;
            } else {
                # May fail: so the kernel says that pages became dirty behind a direct write.
                syscall(277, fileno $file, 0, $len, 7);
            }
        }
END
    for role in write dirty flush; do
        perl /run/own.pl $role &
        echo $! >/run/$role
    done
    for role in write dirty flush; do
        wait "$(cat /run/$role)"
    done
    again
}

# asynchronous FILE BLOCK:LETTER...: direct writes of a block (or $len bytes) each, handed to the kernel in one
# call, each from three pieces of memory if $scattered; says in /run/begun when it does that, in /run/accepted
# when they are taken, and waits for them.
asynchronous() {
    len=${len:-4096} scattered=${scattered:-} perl -MFcntl -e '
        my ($path, @writes) = @ARGV;
        my $len = $ENV{len};
        sysopen(my $file, $path, O_RDWR | O_DIRECT) or die "$path: $!";
        my $room = "\0" x ($len * @writes + 4096);
        my $start = unpack("Q", pack("P", $room));
        my $gap = -$start % 4096;
        my @pieces = $ENV{scattered} ? ([0, 1536], [2048, 1536], [512, 1024]) : ([0, $len]);
        my (@vectors, @requests, @addresses, $at);
        for (@writes) {
            my ($block, $letter) = split /:/;
            substr($room, $gap + $at, $len, $letter x $len);
            push @vectors, join "", map { pack("QQ", $start + $gap + $at + $_->[0], $_->[1]) } @pieces;
            push @requests, pack("QLLSsLQQqQLL", 0, 0, 0, 8, 0, fileno $file, unpack("Q", pack("P", $vectors[-1])),
                scalar @pieces, $block * 4096, 0, 0, 0);
            push @addresses, unpack("Q", pack("P", $requests[-1]));
            $at += $len;
        }
        my ($context, $count, $events) = (pack("Q", 0), scalar @writes, "\0" x (32 * @writes));
        syscall(206, $count, $context) == 0 or die "io_setup: $!";
        $context = unpack("Q", $context);
        open(my $begun, ">", "/run/begun") or die $!;
        close $begun;
        my $taken = syscall(209, $context, $count, pack("Q*", @addresses));
        $taken == $count or die "io_submit: $taken: $!";
        open(my $accepted, ">", "/run/accepted") or die $!;
        close $accepted;
        syscall(208, $context, $count, $count, $events, 0) == $count or die "io_getevents: $!";
        while ($events =~ /(.{32})/gs) {
            my (undef, undef, $result) = unpack("QQqq", $1);
            $result == $len or die "a write: $result";
        }' "$@"
}

# What blocks 0 to 3 of the file hold, a letter each.
letters() {
    for block in 0 1 2 3; do
        dd if=/mnt/a/file bs=4096 skip=$block count=1 status=none | tr -s a-zA-Z
    done
    echo
}

# make_slow TARGET: a file system on the disk, which is to be seen through device-mapper.
make_slow() {
    dmsetup remove --noudevsync slow 2>/dev/null || true
    sectors=$(blockdev --getsz "$DISK0")
    mkfs -t logfs -f "$DISK0" >/dev/null
    dmsetup create --noudevsync slow --table "0 $sectors $1"
    dmsetup mknodes
}

# suspended FUNCTION BLOCK:LETTER...: calls it with a file of four blocks `o` on a device that takes no I/O,
# after asynchronous writes were begun.
suspended() {
    make_slow "linear $DISK0 0"
    mount -t logfs /dev/mapper/slow /mnt/a
    expect 16384 o >/mnt/a/file
    # The first write finds out that there are no privileges to remove.
    dd if=/mnt/a/file of=/mnt/a/file bs=4096 count=1 oflag=direct conv=notrunc status=none
    sync
    dmsetup suspend --nolockfs --noflush slow
    rm -f /run/begun /run/accepted
    function=$1
    shift
    asynchronous /mnt/a/file "$@" &
    writer=$!
    set +e
    (set -e; $function)
    status=$?
    set -e
    dmsetup resume --noudevsync slow
    wait $writer
    return $status
}

accepted() { within 60 test -e /run/accepted; }

# The same file on the disk itself.
settled() {
    umount /mnt/a
    dmsetup remove --noudevsync slow
    fsck -t logfs -f -n "$DISK0"
    mount -t logfs "$DISK0" /mnt/a
}

asynchronous_writes_of_a_file_do_not_wait_for_each_other() {
    suspended accepted 0:a 3:b 1:c
    is acob letters
    settled
    is acob letters
}

# Through the page cache it would have to wait.
scattered_memory_is_written_directly() {
    scattered=yes
    suspended accepted 0:a 3:b 1:c
    is acob letters
    settled
    is acob letters
}

asynchronous_writes_of_a_block_come_one_after_the_other() {
    waits() {
        within 60 test -e /run/begun
        sleep 1
        [ ! -e /run/accepted ]
    }
    suspended waits 1:a 2:b 1:c
    is ocbo letters
    settled
    is ocbo letters
}

# More than is pinned at once.
a_large_asynchronous_write_arrives() {
    fresh
    expect 9437184 o >/mnt/a/file
    dd if=/mnt/a/file of=/mnt/a/file bs=4096 count=1 oflag=direct conv=notrunc status=none
    sync
    len=8392704
    asynchronous /mnt/a/file 1:a
    { expect 4096 o; expect $len a; expect $((9437184 - 4096 - len)) o; } >/run/wanted
    cmp /run/wanted /mnt/a/file
    again
    cmp /run/wanted /mnt/a/file
}

# slow_device: mounts one with a file of 9 MiB; writes_take MILLISECONDS: from now on.
slow_device() {
    make_slow "delay $DISK0 0 0"
    mount -t logfs -o commit=300 /dev/mapper/slow /mnt/a
    expect 9437184 o >/mnt/a/file
    dd if=/mnt/a/file of=/mnt/a/file bs=4096 count=1 oflag=direct conv=notrunc status=none
    sync
}
device() {
    dmsetup suspend --nolockfs slow
    dmsetup load slow --table "$1"
    dmsetup resume --noudevsync slow
}
writes_take() { device "0 $sectors delay $DISK0 0 0 $DISK0 0 $1 $DISK0 0 0"; }

# But for its last part it waits, since it pins memory for one part at a time.
a_large_asynchronous_write_returns_before_its_last_part() {
    slow_device
    writes_take 3000
    rm -f /run/accepted
    len=8388608
    asynchronous /mnt/a/file 0:a &
    writer=$!
    within 60 test -e /run/accepted
    sleep 1
    kill -0 $writer
    wait $writer
    { expect $len a; expect $((9437184 - len)) o; } >/run/wanted
    cmp /run/wanted /mnt/a/file
    settled
    cmp /run/wanted /mnt/a/file
}

# The first part of it is durable; the second is written when the device begins to fail, and its record is not.
a_position_is_where_durable_data_ends() {
    slow_device
    writes_take 2000
    forces=$(cat /sys/fs/logfs/dm-0/log_forces)
    perl -MFcntl -e '
        sysopen(my $file, "/mnt/a/file", O_WRONLY | O_DIRECT | O_DSYNC) or die $!;
        my $zeros = syscall(9, 0, 6 << 20, 3, 0x22, -1, 0);
        my $written = syscall(1, fileno $file, $zeros, 6 << 20);
        print "$written ", sysseek($file, 0, 1), "\n"' >/run/written &
    writer=$!
    forced() { [ "$(cat /sys/fs/logfs/dm-0/log_forces)" -gt "$forces" ]; }
    within 60 forced
    sleep 0.5
    device "0 $sectors error"
    wait $writer
    is "4194304 4194304" cat /run/written
    umount /mnt/a
    dmsetup remove --noudevsync slow
    mount -t logfs "$DISK0" /mnt/a
    is 0 sh -c 'head -c 4194304 /mnt/a/file | tr -d "\0" | wc -c'
    is 5242880 sh -c 'tail -c 5242880 /mnt/a/file | tr -d "\0" | wc -c'
}

nobody_cuts_a_file_off_under_a_direct_write() {
    cut_off() {
        accepted
        truncate -s 4096 /mnt/a/file &
        echo $! >/run/cutter
        within 60 grep -q "^State:.D" "/proc/$!/status"
    }
    suspended cut_off 0:a 3:b 1:c
    within 60 test ! -e "/proc/$(cat /run/cutter)"
    is 4096 stat -c %s /mnt/a/file
    settled
    is a letters
}

nothing_ends_behind_the_largest_offset() {
    fresh
    refused "File too large" fallocate -l 9223372036854775807 /mnt/a/file
    refused "File too large" truncate -s 9223372036854775807 /mnt/a/file
    truncate -s 9223372036854771712 /mnt/a/file
    again
    is 9223372036854771712 stat -c %s /mnt/a/file
}

check a_failed_write_keeps_what_is_dirty_before_it
check a_failed_write_keeps_what_is_dirty_behind_it
check small_writes_in_a_row_keep_what_is_around_them
check a_direct_write_ends_where_its_memory_does
check a_direct_write_behind_the_end_ends_where_its_memory_does
check a_direct_write_amid_dirty_data_waits_for_it
check memory_comes_while_it_is_written
check a_direct_write_gathers_what_lies_apart
check memory_beside_sectors_is_copied
check a_file_written_from_its_own_mapping_waits_for_nobody
check asynchronous_writes_of_a_file_do_not_wait_for_each_other
check scattered_memory_is_written_directly
check asynchronous_writes_of_a_block_come_one_after_the_other
check a_large_asynchronous_write_arrives
check a_large_asynchronous_write_returns_before_its_last_part
check a_position_is_where_durable_data_ends
check nobody_cuts_a_file_off_under_a_direct_write
check nothing_ends_behind_the_largest_offset
