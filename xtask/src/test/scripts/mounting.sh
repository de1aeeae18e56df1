# What mount(8), umount(8), fsfreeze(8) and their like may ask of logfs, and what it must refuse.
# set-features IMAGE NAME BITS sets feature bits in a superblock.
mkdir -p /mnt/a /mnt/b

unmount_whole() {
    umount /mnt/a
    fsck -t logfs -f -n "$DISK0"
}

# The disk as it is at this moment, as a power cut would leave it.
copy_disk() { dd if="$DISK0" of=/run/copy bs=1M iflag=direct status=none; }

# A copy of the disk whose log must be recovered: it holds /mnt/a/logged.
copy_with_log() {
    fresh -o commit=3600
    touch /mnt/a/logged
    sync -f /mnt/a
    copy_disk
    unmount_whole
}

sum() { cksum <"$1"; }

on_loop() { losetup --find --show "$@" >/run/loop && loop=$(cat /run/loop); }

# --- read-only and back ---

ro_takes_no_changes_and_writes_nothing() {
    fresh
    echo data >/mnt/a/file
    umount /mnt/a
    copy_disk
    before=$(sum /run/copy)
    mount -t logfs -o ro "$DISK0" /mnt/a
    has_option /mnt/a ro
    is data cat /mnt/a/file
    refused "Read-only file system" touch /mnt/a/new
    refused "Read-only file system" rm /mnt/a/file
    umount /mnt/a
    copy_disk
    is "$before" sum /run/copy
}

remount_ro_keeps_dirty_data() {
    fresh -o commit=3600
    dd if=/dev/urandom of=/run/data bs=64k count=20 status=none
    cp /run/data /mnt/a/data
    mount -o remount,ro /mnt/a
    has_option /mnt/a ro
    refused "Read-only file system" touch /mnt/a/new
    # Nobody has unmounted it, and yet it is clean.
    copy_disk
    fsck -t logfs -f -n /run/copy
    mount -t logfs -o loop,ro /run/copy /mnt/b
    cmp /run/data /mnt/b/data
    umount /mnt/b
    mount -o remount,rw /mnt/a
    cmp /run/data /mnt/a/data
    touch /mnt/a/new
    unmount_whole
}

remount_ro_waits_for_writers_to_close() {
    fresh
    exec 3>/mnt/a/open
    mount_refused "busy" -o remount,ro /mnt/a
    has_option /mnt/a rw
    echo still writable >&3
    exec 3>&-
    mount -o remount,ro /mnt/a
    is "still writable" cat /mnt/a/open
    unmount_whole
}

# --- contents that nobody has called fsync for ---

# What a power cut now leaves, with all metadata of this moment.
mount_copy() {
    touch /mnt/a/other
    sync /mnt/a/other
    copy_disk
    mount -t logfs -o loop /run/copy /mnt/b
}

old_and_new() {
    fresh -o commit=3600
    dd if=/dev/urandom of=/run/new bs=50k count=5 status=none
    echo old >/mnt/a/file
    echo old >/mnt/a/other-file
    sync -f /mnt/a
}

replaced_by_rename_has_old_or_new_contents() {
    old_and_new
    cp /run/new /mnt/a/new
    mv /mnt/a/new /mnt/a/file
    mount_copy
    cmp /run/new /mnt/b/file
    umount /mnt/b
    unmount_whole
}

exchanged_has_old_or_new_contents() {
    old_and_new
    cp /run/new /mnt/a/new
    cp /run/new /mnt/a/newer
    # renameat2 with RENAME_EXCHANGE
    perl -e 'exit(syscall(316, -100, $ARGV[0], -100, $ARGV[1], 2) != 0)' /mnt/a/new /mnt/a/newer
    mount_copy
    cmp /run/new /mnt/b/new
    cmp /run/new /mnt/b/newer
    umount /mnt/b
    unmount_whole
}

rewritten_goes_out_when_it_is_closed() {
    old_and_new
    cat /run/new >/mnt/a/file
    sleep 0.5
    mount_copy
    cmp /run/new /mnt/b/file
    umount /mnt/b
    unmount_whole
}

# --- times ---

OLD="2001-02-03 04:05:06.000000000 +0000"
atime_is() { is "$1" env TZ=UTC0 stat -c %x "$2"; }
atime_is_new() { [ "$(stat -c %X "$1")" -gt "$(date -d "10 minutes ago" +%s)" ]; }
make_old() { touch -a -d "$1" /mnt/a/file /mnt/a/dir; }

mount_for_times() {
    fresh -o "$1"
    echo data >/mnt/a/file
    mkdir /mnt/a/dir
}

noatime() {
    mount_for_times noatime
    has_option /mnt/a noatime
    make_old "$OLD"
    cat /mnt/a/file
    ls /mnt/a/dir
    atime_is "$OLD" /mnt/a/file
    atime_is "$OLD" /mnt/a/dir
    unmount_whole
}

relatime_once_a_day_or_change() {
    mount_for_times defaults
    has_option /mnt/a relatime
    make_old "$OLD"
    # Later than the change of the inode by more than the clock's step.
    sleep 0.2
    cat /mnt/a/file
    atime_is_new /mnt/a/file
    read_at=$(stat -c %x /mnt/a/file)
    sleep 0.2
    cat /mnt/a/file
    is "$read_at" stat -c %x /mnt/a/file
    echo more >>/mnt/a/file
    cat /mnt/a/file
    is "$read_at" stat -c %x /mnt/a/file && return 1
    unmount_whole
}

strictatime_always() {
    mount_for_times strictatime
    touch -m -d "$OLD" /mnt/a/file
    touch -a -d "1 hour ago" /mnt/a/file
    cat /mnt/a/file
    atime_is_new /mnt/a/file
    # It is kept.
    umount /mnt/a
    mount -t logfs "$DISK0" /mnt/a
    atime_is_new /mnt/a/file
    unmount_whole
}

nodiratime_spares_directories() {
    mount_for_times strictatime,nodiratime
    has_option /mnt/a nodiratime
    make_old "$OLD"
    cat /mnt/a/file
    ls /mnt/a/dir
    atime_is_new /mnt/a/file
    atime_is "$OLD" /mnt/a/dir
    unmount_whole
}

lazytime_shows_times_and_keeps_them() {
    mount_for_times strictatime,lazytime
    has_option /mnt/a lazytime
    make_old "$OLD"
    sync
    cat /mnt/a/file
    atime_is_new /mnt/a/file
    umount /mnt/a
    mount -t logfs -o noatime "$DISK0" /mnt/a
    atime_is_new /mnt/a/file
    unmount_whole
}

# --- when changes are durable ---

# Changes of every kind, and on /mnt/b what a power cut right behind them would have left.
make_things() {
    echo data >/mnt/a/file
    mkdir /mnt/a/dir
    ln /mnt/a/file /mnt/a/link
    mv /mnt/a/link /mnt/a/renamed
    copy_disk
    mount -t logfs -o loop /run/copy /mnt/b
}

without_sync_changes_wait() {
    fresh -o commit=3600
    make_things
    is "" ls /mnt/b
    umount /mnt/b
    unmount_whole
}

sync_makes_every_change_durable() {
    fresh -o sync,commit=3600
    has_option /mnt/a sync
    make_things
    is data cat /mnt/b/file
    test -d /mnt/b/dir
    is data cat /mnt/b/renamed
    umount /mnt/b
    chmod 600 /mnt/a/file
    copy_disk
    mount -t logfs -o loop /run/copy /mnt/b
    is 600 stat -c %a /mnt/b/file
    umount /mnt/b
    unmount_whole
}

dirsync_makes_changes_of_names_durable() {
    fresh -o dirsync,commit=3600
    has_option /mnt/a dirsync
    make_things
    test -f /mnt/b/file
    test -d /mnt/b/dir
    test -f /mnt/b/renamed
    test ! -e /mnt/b/link
    umount /mnt/b
    rmdir /mnt/a/dir
    rm /mnt/a/renamed
    copy_disk
    mount -t logfs -o loop /run/copy /mnt/b
    is file ls /mnt/b
    umount /mnt/b
    unmount_whole
}

# --- what may be run and opened ---

nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }

nosuid_nodev_noexec() {
    fresh
    cp "$(command -v id)" /mnt/a/id
    chmod 4755 /mnt/a/id
    mknod -m 666 /mnt/a/null c 1 3
    chmod 755 /mnt/a
    is 0 nobody /mnt/a/id -u
    nobody cat /mnt/a/null
    mount -o remount,nosuid,nodev,noexec /mnt/a
    has_option /mnt/a nosuid
    has_option /mnt/a nodev
    has_option /mnt/a noexec
    refused "Permission denied" nobody cat /mnt/a/null
    refused "Permission denied" nobody /mnt/a/id -u
    mount -o remount,nosuid,exec /mnt/a
    is 65534 nobody /mnt/a/id -u
    unmount_whole
}

# --- extended attributes ---

trusted_names_are_for_the_administrator() {
    fresh
    chmod 755 /mnt/a
    touch /mnt/a/file /mnt/a/without
    for name in user.a trusted.b user.c; do
        setfattr --name=$name --value=1 /mnt/a/file
    done
    is "trusted.b user.a user.c" names_of
    is "user.a user.c" names_of nobody
    is "" getfattr --match=- /mnt/a/without
    # More than one block of names.
    long=$(printf '%0200d' 0)
    for number in $(seq 40); do
        setfattr --name="user.$long$number" --value=1 /mnt/a/file
    done
    is 43 count_names
    is 42 count_names nobody
    unmount_whole
}

names_that_do_not_fit_are_refused() {
    fresh
    touch /mnt/a/file
    setfattr --name=user.a --value=1 /mnt/a/file
    setfattr --name=user.bc --value=1 /mnt/a/file
    is "15 bytes" list_into 0
    is "15 bytes" list_into 15
    is "15 bytes" list_into 4096
    is "Numerical result out of range" list_into 14
    is "Numerical result out of range" list_into 1
    # 300 names of 256 bytes with their ends, and a list may have 64 KiB.
    perl -e 'for my $number (100 .. 399) {
        my ($path, $name, $value) = ("/mnt/a/file", "user." . "n" x 247 . $number, "1");
        syscall(188, $path, $name, $value, 1, 0) == 0 or die "$number: $!";
    }'
    for size in 0 15 65536 131072; do
        is "Argument list too long" list_into $size
    done
    unmount_whole
}

# listxattr(2) with room for so many bytes, none behind which it may write.
list_into() {
    perl -e 'my ($path, $size) = ("/mnt/a/file", $ARGV[0]);
        my $names = "\0" x $size . "guard";
        my $found = syscall(194, $path, $names, $size + 0);
        substr($names, $size) eq "guard" or die "written behind the end";
        print $found < 0 ? $! : "$found bytes"' "$1"
}

# The names in order, without getfattr's headline; `$@` is whoever looks.
names_of() { echo $("$@" getfattr --absolute-names --match=- /mnt/a/file | grep -v '^#' | sort); }
count_names() { names_of "$@" | wc -w; }

# --- logfs's own options ---

errors_option() {
    for errors in continue remount-ro shutdown; do
        fresh -o errors=$errors
        has_option /mnt/a errors=$errors
        mount -o remount,errors=continue /mnt/a
        has_option /mnt/a errors=continue
        umount /mnt/a
    done
    fresh
    has_option /mnt/a errors=remount-ro
    unmount_whole
}

unknown_options_are_refused() {
    mkfs -t logfs -f "$DISK0" >/dev/null
    for option in bogus errors=sometimes commit=never commit=0 errors; do
        dmesg --clear
        mount_refused "bad option" -t logfs -o $option "$DISK0" /mnt/a
        said "unknown mount option \"$option\""
    done
    mount -t logfs "$DISK0" /mnt/a
    mount_refused "bad option" -o remount,bogus /mnt/a
    touch /mnt/a/file
    unmount_whole
}

norecovery_shows_what_is_home() {
    copy_with_log
    before=$(sum /run/copy)
    mount_refused "bad option" -t logfs -o loop,norecovery /run/copy /mnt/b
    said "norecovery needs ro"
    on_loop /run/copy
    mount -t logfs -o ro,norecovery "$loop" /mnt/b
    has_option /mnt/b norecovery
    is "" ls /mnt/b
    mount_refused "" -o remount,rw /mnt/b
    said "stays read-only: it was mounted with norecovery"
    umount /mnt/b
    losetup --detach "$loop"
    is "$before" sum /run/copy
    mount -t logfs -o loop /run/copy /mnt/b
    is logged ls /mnt/b
    umount /mnt/b
    fsck -t logfs -f -n /run/copy
}

# --- several mounts of one device ---

one_device_in_two_places() {
    fresh
    mount -t logfs "$DISK0" /mnt/b
    echo data >/mnt/a/file
    is data cat /mnt/b/file
    mount_refused "already mounted" -t logfs -o ro "$DISK0" /mnt/b
    umount /mnt/a
    is data cat /mnt/b/file
    umount /mnt/b
    fsck -t logfs -f -n "$DISK0"
}

bind_mounts() {
    fresh
    mkdir /mnt/a/dir
    echo data >/mnt/a/dir/file
    mount --bind /mnt/a/dir /mnt/b
    is data cat /mnt/b/file
    mount -o remount,bind,ro /mnt/b
    refused "Read-only file system" touch /mnt/b/new
    touch /mnt/a/dir/new
    test -e /mnt/b/new
    umount /mnt/a
    is data cat /mnt/b/file
    umount /mnt/b
    fsck -t logfs -f -n "$DISK0"
}

by_device_and_df() {
    fresh
    df -T /mnt/a | grep -q "^$DISK0 *logfs "
    refused "mounted" mkfs -t logfs -f "$DISK0"
    umount "$DISK0"
    findmnt /mnt/a && return 1
    fsck -t logfs -f -n "$DISK0"
}

# --- freezing ---

frozen_is_consistent_and_writers_wait() {
    fresh -o commit=3600
    dd if=/dev/urandom of=/run/data bs=64k count=20 status=none
    cp /run/data /mnt/a/data
    fsfreeze -f /mnt/a
    (echo late >/mnt/a/late) &
    writer=$!
    copy_disk
    before=$(sum /run/copy)
    # Clean as after an unmount, without a log to replay.
    fsck -t logfs -f -n /run/copy >/run/fsck.log
    cat /run/fsck.log
    grep -i "transactions" /run/fsck.log && return 1
    mount -t logfs -o loop,ro,norecovery /run/copy /mnt/b
    cmp /run/data /mnt/b/data
    umount /mnt/b
    sleep 2
    kill -0 $writer
    cmp /run/data /mnt/a/data
    test ! -e /mnt/a/late
    copy_disk
    is "$before" sum /run/copy
    fsfreeze -u /mnt/a
    wait $writer
    is late cat /mnt/a/late
    unmount_whole
}

# --- devices and images that can't be mounted, or not as asked ---

read_only_device() {
    fresh
    echo data >/mnt/a/file
    umount /mnt/a
    blockdev --setro "$DISK0"
    mount -t logfs "$DISK0" /mnt/a 2>/run/mount.log || status=$?
    blockdev --setrw "$DISK0"
    cat /run/mount.log
    grep -q "mounted read-only" /run/mount.log
    has_option /mnt/a ro
    is data cat /mnt/a/file
    umount /mnt/a
}

# Recovery would have to write.
read_only_device_with_a_log() {
    copy_with_log
    before=$(sum /run/copy)
    on_loop --read-only /run/copy
    mount_refused "" -t logfs "$loop" /mnt/b
    said "the log must be recovered but the device is read-only"
    mount_refused "" -t logfs -o ro "$loop" /mnt/b
    mount -t logfs -o ro,norecovery "$loop" /mnt/b
    umount /mnt/b
    losetup --detach "$loop"
    is "$before" sum /run/copy
}

# image_refused TEXT IMAGE [OPTIONS]: the kernel says TEXT, and changes nothing.
image_refused() {
    before=$(sum "$2")
    on_loop "$2"
    dmesg --clear
    mount_refused "" -t logfs -o "${3:-defaults}" "$loop" /mnt/b
    said "$1"
    losetup --detach "$loop"
    is "$before" sum "$2"
}

too_small_a_device() {
    truncate -s 0 /run/image
    truncate -s 8k /run/image
    refused "too small" mkfs -t logfs -f /run/image
    image_refused "no logfs" /run/image
}

truncated_image() {
    mkfs -t logfs -f "$DISK0" >/dev/null
    copy_disk
    truncate -s 40M /run/copy
    image_refused "the device only" /run/copy
    image_refused "the device only" /run/copy ro
}

foreign_file_systems() {
    rm -f /run/image
    truncate -s 32M /run/image
    image_refused "no logfs" /run/image
    mkfs -t ext4 -q /run/image
    image_refused "no logfs" /run/image
    image_refused "no logfs" /run/image ro
    dd if=/dev/urandom of=/run/image bs=1M count=32 status=none
    image_refused "no logfs" /run/image
}

unknown_incompatible_features() {
    mkfs -t logfs -f "$DISK0" >/dev/null
    copy_disk
    set-features /run/copy incompat 0x8000
    image_refused "0x8000" /run/copy
    image_refused "0x8000" /run/copy ro
}

# mount(8) falls back to ro by itself, unless told rw.
unknown_features_that_forbid_writing() {
    mkfs -t logfs -f "$DISK0" >/dev/null
    copy_disk
    set-features /run/copy ro-compat 0x8000
    before=$(sum /run/copy)
    on_loop /run/copy
    mount -t logfs "$loop" /mnt/b
    said "has features this version can only read"
    has_option /mnt/b ro
    refused "Read-only file system" touch /mnt/b/new
    mount_refused "" -o remount,rw /mnt/b
    umount /mnt/b
    losetup --detach "$loop"
    is "$before" sum /run/copy
}

modprobe --quiet loop
for name in ro_takes_no_changes_and_writes_nothing remount_ro_keeps_dirty_data \
    remount_ro_waits_for_writers_to_close \
    replaced_by_rename_has_old_or_new_contents exchanged_has_old_or_new_contents \
    rewritten_goes_out_when_it_is_closed noatime relatime_once_a_day_or_change \
    strictatime_always nodiratime_spares_directories lazytime_shows_times_and_keeps_them \
    without_sync_changes_wait sync_makes_every_change_durable \
    dirsync_makes_changes_of_names_durable nosuid_nodev_noexec \
    trusted_names_are_for_the_administrator names_that_do_not_fit_are_refused errors_option \
    unknown_options_are_refused \
    norecovery_shows_what_is_home one_device_in_two_places bind_mounts \
    by_device_and_df frozen_is_consistent_and_writers_wait read_only_device \
    read_only_device_with_a_log too_small_a_device truncated_image foreign_file_systems \
    unknown_incompatible_features unknown_features_that_forbid_writing; do
    check $name
done
exit 0
