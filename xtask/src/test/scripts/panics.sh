# A file system that panics harms nobody else. $FAULTY is the module that panics where it is told to
# (kmod-shim/faulty), and is loaded; so are logfs and memfs. $OPERATIONS: where it is told to.
mkdir -p /mnt/faulty /mnt/logfs /mnt/memfs
COUNTER=/sys/fs/faulty/${DISK0#/dev/}/panics
mkfs -t logfs "$DISK1" >/dev/null

mount_others() {
    mount -t logfs "$DISK1" /mnt/logfs
    mount -t memfs none /mnt/memfs
    for other in logfs memfs; do
        echo "before" >/mnt/$other/file
    done
}

# Everything but the mount that failed goes on.
others_go_on() {
    for other in logfs memfs; do
        is "before" cat /mnt/$other/file
        echo "after" >/mnt/$other/new
        is "after" cat /mnt/$other/new
        rm /mnt/$other/new
    done
    sync -f /mnt/logfs
}

# The mount answers EIO whatever is asked, can be unmounted, and the module be used again.
mount_has_failed() {
    said "faulty on ${DISK0#/dev/} has failed"
    refused "Input/output error" stat -f /mnt/faulty
    refused "Input/output error" ls /mnt/faulty
    refused "Input/output error" cat /mnt/faulty/other
    refused "Input/output error" touch /mnt/faulty/new
    refused "Input/output error" sync -f /mnt/faulty
    mount_refused "can't read superblock" -o remount,ro /mnt/faulty
    refused "Input/output error" cat "$COUNTER"
    findmnt /mnt/faulty
    umount /mnt/faulty
    [ ! -e "$COUNTER" ]
    works_again
}

works_again() {
    mount -t faulty "$DISK0" /mnt/faulty
    is 0 cat "$COUNTER"
    is data ls /mnt/faulty
    is 1048576 stat -c %s /mnt/faulty/data
    umount /mnt/faulty
}

drop_caches() {
    echo 3 >/proc/sys/vm/drop_caches
}

data=/mnt/faulty/data
write_data() { dd if=/dev/zero of=$data bs=64k count=2 conv=notrunc status=none "$@"; }

# Makes the mount do this operation.
trigger() {
    case $1 in
    background) ;;
    lookup | load) refused "Input/output error" stat $data ;;
    readdir) refused "Input/output error" ls /mnt/faulty ;;
    create) refused "Input/output error" touch /mnt/faulty/new ;;
    listxattr) refused "Input/output error" getfattr $data ;;
    statfs) refused "Input/output error" stat -f /mnt/faulty ;;
    getattr) write_data && refused "Input/output error" stat $data ;;
    setattr) refused "Input/output error" chmod 600 $data ;;
    map) refused "Input/output error" cat $data ;;
    reserve) refused "Input/output error" write_data ;;
    # In writeback, and when the device has answered: whoever waits for the data learns of it.
    place | written | fsync) refused "Input/output error" write_data conv=notrunc,fsync ;;
    sync) refused "Input/output error" sync -f /mnt/faulty ;;
    counter) refused "Input/output error" cat "$COUNTER" ;;
    remount) mount_refused "can't read superblock" -o remount,ro /mnt/faulty ;;
    show_options) cat /proc/mounts ;;
    # Nobody waits for an answer to these.
    shrink) drop_caches ;;
    forget) stat $data && drop_caches ;;
    esac
}

panic_in() {
    mount_others
    mount -t faulty -o "panic=$1" "$DISK0" /mnt/faulty
    trigger "$1"
    within 5 said "told to panic in $1"
    mount_has_failed
    others_go_on
}

panic_in_mount() {
    mount_others
    mount_refused "can't read superblock" -t faulty -o panic=mount "$DISK0" /mnt/faulty
    said "told to panic in mount"
    works_again
    others_go_on
}

# The mount is gone, whatever comes of it.
panic_at_the_end_in() {
    mount_others
    mount -t faulty -o "panic=$1" "$DISK0" /mnt/faulty
    stat $data
    umount /mnt/faulty
    said "told to panic in $1"
    works_again
    others_go_on
}

# Threads that wait for each other inside, one of them with a lock held: a panic sets all free.
threads_inside_leave() {
    mount_others
    mount -t faulty "$DISK0" /mnt/faulty
    for name in wait hold lock; do
        stat /mnt/faulty/$name >/run/$name.log 2>&1 &
        sleep 0.3
    done
    waiting=$(grep -l "^State:.D" /proc/[0-9]*/status | wc -l)
    [ "$waiting" -ge 3 ]
    refused "Input/output error" stat /mnt/faulty/panic
    wait
    for name in wait hold lock; do
        grep -F "Input/output error" /run/$name.log
    done
    mount_has_failed
    others_go_on
}

# What was open before the panic can be used for nothing, and be closed.
open_files_can_be_closed() {
    mount_others
    mount -t faulty "$DISK0" /mnt/faulty
    exec 3<>$data
    refused "Input/output error" stat /mnt/faulty/panic
    refused "Input/output error" cat <&3
    refused "busy" umount /mnt/faulty
    exec 3>&-
    mount_has_failed
    others_go_on
}

two_mounts_of_one_kind() {
    mkdir -p /mnt/second
    mount -t faulty "$DISK0" /mnt/faulty
    mount -t faulty "$DISK2" /mnt/second
    refused "Input/output error" stat /mnt/faulty/panic
    is data ls /mnt/second
    umount /mnt/second
    mount_has_failed
}

logfs_is_whole() {
    fsck -t logfs -f -n "$DISK1"
}

for operation in $OPERATIONS; do
    case $operation in
    mount) check panic_in_mount ;;
    unmount | destroy) check panic_at_the_end_in $operation ;;
    *) check panic_in $operation ;;
    esac
done
check threads_inside_leave
check open_files_can_be_closed
check two_mounts_of_one_kind
check logfs_is_whole

# --- another version of the interface ---

module_refused() {
    rmmod faulty
    refused "Invalid parameters" insmod "$FAULTY" "$1"
    said "faulty.ko speaks version $2 of the interface, bento.ko version"
    refused "unknown filesystem type" mount -t faulty "$DISK0" /mnt/faulty
    insmod "$FAULTY"
    works_again
}

another_version_is_refused() {
    module_refused abi_version=4711 4711
}

version() {
    rmmod faulty
    refused "Invalid parameters" insmod "$FAULTY" abi_version=0
    dmesg | sed -n 's/.*bento.ko version \([0-9]*\).*/\1/p'
    insmod "$FAULTY"
}

a_hole_in_the_table_is_refused() {
    module_refused abi_hole=1 "$(version)"
}

check another_version_is_refused
check a_hole_in_the_table_is_refused
exit 0
