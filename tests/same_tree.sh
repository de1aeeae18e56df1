#!/bin/sh
# Unpacks the kernel source on logfs and on ext4 and compares the two trees: contents, modes, owners,
# times of files, link counts, targets. Then checks the logfs. Runs in a machine of its own:
#
#   cargo xtask vm --kernel uml --disk 8G --disk 8G -- sh tests/same_tree.sh [TARBALL]
set -eu
tarball=${1:-/usr/src/linux-source-6.12.tar.xz}
mkdir -p /tmp/logfs /tmp/ext4

# Sizes of directories differ by format; their times are left out, since tar sets those of some
# before it has unpacked what is in them, so that they get the time of unpacking on both.
list() {
    (cd "$1" && find . -path ./lost+found -prune -o -printf '%P %y %m %U %G %n %s %l %T@\n' |
        awk '$2 == "d" { $7 = ""; $8 = "" } { print }' | LC_ALL=C sort)
}

mkfs -t logfs -q "$DISK0"
mount -t logfs "$DISK0" /tmp/logfs
mkfs -t ext4 -q -F "$DISK1"
mount -t ext4 "$DISK1" /tmp/ext4
tar -C /tmp/ext4 -xf "$tarball"
tar -C /tmp/logfs -xf "$tarball"
umount /tmp/logfs
fsck -t logfs -fn "$DISK0"
mount -t logfs "$DISK0" /tmp/logfs
echo 3 > /proc/sys/vm/drop_caches

list /tmp/logfs > /tmp/logfs.list
list /tmp/ext4 > /tmp/ext4.list
# The link count of a directory counts the directories in it on both; the root has lost+found.
sed -i '1d' /tmp/logfs.list /tmp/ext4.list
diff /tmp/logfs.list /tmp/ext4.list
diff -r --no-dereference --exclude=lost+found /tmp/logfs /tmp/ext4
echo "$(wc -l < /tmp/logfs.list) entries, no difference"
umount /tmp/logfs
fsck -t logfs -fn "$DISK0"
