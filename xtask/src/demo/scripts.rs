//! What the guest does, as shell scripts. They find in their environment: `FS`, the file system's type;
//! `SOURCE`, a directory with the kernel's source; `ARCHIVE`, parts of it as a tar archive;
//! `REPOSITORY`, the same as a git repository; `EXCHANGE`; and the disks.

/// Makes the file system on a disk that logs every write to `$DISK1`, and fills it: copies
/// directories, each followed by fsync of some files of it, while git clones into it. Each time that
/// fsync has returned, `synced-N` lists checksums of these files, and the log gets the mark N.
pub(super) const WRITE_WITH_LOG: &str = r#"
set -e
dmsetup create --noudevsync logfs-demo --table "0 $(blockdev --getsz $DISK0) log-writes $DISK0 $DISK1"
dmsetup mknodes
DEVICE=/dev/mapper/logfs-demo
mkfs -t $FS $DEVICE </dev/null >&2
dmsetup message logfs-demo 0 mark made
mount -t $FS $DEVICE /mnt
git clone --quiet --no-hardlinks --config core.fsync=all $REPOSITORY /mnt/clone &
number=0
cd $SOURCE
for dir in fs/*/ kernel/*/ include/*/; do
    dir=${dir%/}
    mkdir -p /mnt/tree/$dir
    cp -r $dir/. /mnt/tree/$dir
    files=$(find $dir -type f -size -256k | sort | head -n 6)
    [ -n "$files" ] || continue
    (cd /mnt/tree && sync $files)
    number=$((number + 1))
    sha256sum $files > $EXCHANGE/synced-$number
    dmsetup message logfs-demo 0 mark $number
done
wait $!
sync
cd /
umount /mnt
dmsetup remove --noudevsync --retry logfs-demo
echo $number
"#;

/// Checks each of `$COUNT` disks as a power cut left it, mounts it, verifies the files in the lists
/// that `$SYNCED0` and so on name, and checks again. `disk` says which it came to.
pub(super) const RECOVER: &str = r#"
set -e
for index in $(seq 0 $((COUNT - 1))); do
    echo $index > $EXCHANGE/disk
    disk=DISK$index synced=SYNCED$index
    disk=${!disk}
    if [ $FS = ext4 ]; then
        fsck.ext4 -p $disk >&2 || [ $? -eq 1 ]
    else
        fsck -t $FS -f -n $disk >&2
    fi
    mount -t $FS $disk /mnt
    for number in ${!synced}; do
        (cd /mnt/tree && sha256sum --check --quiet $EXCHANGE/synced-$number >&2)
    done
    umount /mnt
    fsck -t $FS -f -n $disk >&2
done
"#;

/// The same real work on any file system, timed. Each line of the output: what, seconds, flushes and
/// sectors written.
pub(super) const TIMED_WORK: &str = r#"
set -e
mkfs -t $FS $DISK0 </dev/null >&2
mount -t $FS $DISK0 /mnt
stat_file=/sys/block/${DISK0#/dev/}/stat
counters() { set -- $(cat $stat_file); echo ${16} $7; }
timed() {
    what=$1; shift
    sync
    echo 3 > /proc/sys/vm/drop_caches
    before="$(date +%s.%N) $(counters)"
    "$@" >&2
    echo $what $before $(date +%s.%N) $(counters)
}
unpack() { mkdir /mnt/tree; tar -C /mnt/tree -xf $ARCHIVE; sync -f /mnt; }
clone() { git clone --quiet --no-hardlinks $REPOSITORY /mnt/clone; sync -f /mnt; }
append() { dd if=/dev/zero of=/mnt/append bs=4k count=500 oflag=append,dsync conv=notrunc status=none; }
stream() { dd if=/dev/zero of=/mnt/stream bs=1M count=512 conv=fsync status=none; }
read_stream() { dd if=/mnt/stream of=/dev/null bs=1M status=none; }
remove() { rm -r /mnt/tree /mnt/clone; sync -f /mnt; }
cat $ARCHIVE > /dev/null
timed unpack unpack
timed clone clone
timed append+fsync append
timed write stream
timed read read_stream
timed remove remove
umount /mnt
"#;

/// Runs a command with the modules (`NAME.ko`) and disk images that stand before `--`, on a kernel
/// that others use: mounts and processes are in namespaces of their own and end with the command,
/// and what was set up for it is taken down, however it ends.
pub(super) const ON_HOST: &str = r#"
set -e
if dmsetup info logfs-demo >/dev/null 2>&1; then
    echo "there is a device logfs-demo already; if no other demo runs, dmsetup remove logfs-demo" >&2
    exit 1
fi
loops=() modules=()
again() { for pause in .1 .3 1 3 -; do "$@" && return; [ $pause = - ] || sleep $pause; done; return 1; }
clean_up() {
    status=$?
    set +e
    if dmsetup info logfs-demo >/dev/null 2>&1; then again dmsetup remove logfs-demo || status=1; fi
    for device in "${loops[@]}"; do losetup --detach $device || status=1; done
    for module in "${modules[@]}"; do again rmmod $module || status=1; done
    exit $status
}
trap clean_up EXIT
while [ "$1" != -- ]; do
    case $1 in
    *.ko)
        insmod "$1"
        modules=($(basename "$1" .ko) "${modules[@]}") ;;
    *)
        device=$(losetup --find --show "$1")
        export DISK${#loops[@]}=$device
        loops+=($device) ;;
    esac
    shift
done
shift
unshare --mount --pid --fork --kill-child --mount-proc "$@"
"#;
