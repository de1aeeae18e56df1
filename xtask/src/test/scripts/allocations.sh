# Allocations that fail while logfs is mounted and used: whoever asked gets ENOMEM, what was promised
# is kept, and nothing breaks. Needs a kernel with failslab and fail_page_alloc.
mkdir -p /mnt/a
FAULTS=/sys/kernel/debug
FILES=400

# may_fail PERCENT: allocations of processes that ask for it fail so often, also those that could wait.
may_fail() {
    for kind in failslab fail_page_alloc; do
        echo N >$FAULTS/$kind/ignore-gfp-wait
        echo Y >$FAULTS/$kind/task-filter
        echo 1 >$FAULTS/$kind/interval
        echo -1 >$FAULTS/$kind/times
        echo 0 >$FAULTS/$kind/verbose
        echo "$1" >$FAULTS/$kind/probability
    done
    echo 0 >$FAULTS/fail_page_alloc/min-order
}

# Does what users do, with allocations that fail; lists the files whose fsync returned.
work() {
    perl -MIO::Handle -e '
        my ($dir, $files, $list) = @ARGV;
        open(my $synced, ">", $list) or die;
        open(my $fail, ">", "/proc/self/make-it-fail") or die;
        syswrite($fail, "1");
        for my $n (1 .. $files) {
            my $text = "file $n\n" x (1 + $n * 37 % 4000);
            open(my $file, ">", "$dir/$n") or next;
            my $wrote = syswrite($file, $text);
            my $is_whole = defined $wrote && $wrote == length $text;
            syswrite($synced, "$n\n") if $is_whole && $file->sync;
            close $file;
            mkdir "$dir/dir-$n"; symlink "x" x 200, "$dir/dir-$n/link"; link "$dir/$n", "$dir/dir-$n/$n";
            rename "$dir/dir-$n", "$dir/other-$n"; stat "$dir/other-$n"; stat "$dir/none-$n";
            if (opendir(my $entries, $dir)) { my @all = readdir $entries; }
            unlink "$dir/other-$n/link";
            open(my $again, "<", "$dir/$n") and sysread($again, my $data, 1000);
            truncate "$dir/other-$n/$n-short", 10;
        }' /mnt/a $FILES /run/synced
}

promised_is_there() {
    while read -r number; do
        perl -e 'print "file $ARGV[0]\n" x (1 + $ARGV[0] * 37 % 4000)' "$number" | cmp - "/mnt/a/$number"
    done </run/synced
}

allocations_fail() {
    mkfs -t logfs -f "$DISK0" >/dev/null
    mount -t logfs "$DISK0" /mnt/a
    may_fail "$1"
    work
    may_fail 0
    [ "$(wc -l </run/synced)" -gt 10 ]
    promised_is_there
    touch /mnt/a/new
    umount /mnt/a
    fsck -t logfs -f -n "$DISK0"
    mount -t logfs "$DISK0" /mnt/a
    promised_is_there
    umount /mnt/a
}

# Mounts, with a log to recover, until one goes through.
mounting_fails() {
    mkfs -t logfs -f "$DISK0" >/dev/null
    mount -t logfs -o commit=3600 "$DISK0" /mnt/a
    for number in 1 2 3 4 5 6 7 8; do
        head -c 50000 /dev/urandom >/mnt/a/$number
    done
    sum=$(cat /mnt/a/* | sha256sum)
    sync -f /mnt/a
    dd if="$DISK0" of=/run/copy bs=1M iflag=direct status=none
    umount /mnt/a
    tries=0
    for percent in 30 10 3 1 1 1 1 1 1 1 0; do
        dd if=/run/copy of="$DISK0" bs=1M oflag=direct status=none
        may_fail $percent
        tries=$((tries + 1))
        perl -e 'open(my $fail, ">", "/proc/self/make-it-fail") or die; syswrite($fail, "1"); close $fail;
            my ($device, $dir, $type) = @ARGV; my $options = "";
            exit(syscall(165, $device, $dir, $type, 0, $options) == 0 ? 0 : 1)' "$DISK0" /mnt/a logfs || continue
        may_fail 0
        [ "$(cat /mnt/a/* | sha256sum)" = "$sum" ]
        umount /mnt/a
    done
    [ $tries -gt 10 ]
    fsck -t logfs -f -n "$DISK0"
}

for percent in 1 5 20; do
    check allocations_fail $percent
done
check mounting_fails
exit 0
