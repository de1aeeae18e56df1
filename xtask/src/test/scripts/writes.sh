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
check a_direct_write_ends_where_its_memory_does
check a_direct_write_behind_the_end_ends_where_its_memory_does
check memory_comes_while_it_is_written
check a_file_written_from_its_own_mapping_waits_for_nobody
check nothing_ends_behind_the_largest_offset
