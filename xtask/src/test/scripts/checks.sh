# What scripts of checks share. A check is a function; `check FUNCTION [ARGUMENT...]` runs it in a
# shell of its own that ends at the first command that fails, says under the function's name how it
# went, and unmounts what is left below /mnt.
export LC_ALL=C

check() {
    dmesg --clear
    (set -ex; "$@") >/run/check.log 2>&1
    status=$?
    name=$(echo "$*" | tr _ ' ')
    if [ $status -eq 0 ]; then
        echo "ok $name"
    else
        echo "FAILED $name"
        tail -n 20 /run/check.log | sed 's/^/    /'
        dmesg | tail -n 5 | sed 's/^/    kernel: /'
    fi
    while read -r _ target _; do echo "$target"; done </proc/mounts |
        grep '^/mnt' | sort -r | while read -r target; do umount "$target"; done
}

# fresh [OPTION...]: makes a file system and mounts it.
fresh() {
    mkfs -t logfs -f "$DISK0" >/dev/null
    mount -t logfs "$@" "$DISK0" /mnt/a
}

# refused TEXT COMMAND...: the command fails and says TEXT.
refused() {
    wanted=$1
    shift
    if "$@" >/run/refused.log 2>&1; then
        echo "accepted"
        return 1
    fi
    cat /run/refused.log
    grep -qF -- "$wanted" /run/refused.log
}

# mount_refused TEXT ARGUMENT...: mount(8) fails as it does when the kernel refuses, and says TEXT.
mount_refused() {
    wanted=$1
    shift
    status=0
    mount "$@" >/run/refused.log 2>&1 || status=$?
    cat /run/refused.log
    [ $status -eq 32 ] && grep -qF -- "$wanted" /run/refused.log
}

# said TEXT: the kernel has said so since the check began.
said() {
    dmesg | grep -qF -- "$1"
}

# is TEXT COMMAND...: the command prints exactly this.
is() {
    wanted=$1
    shift
    found=$("$@")
    [ "$found" = "$wanted" ]
}

# within SECONDS COMMAND...: the command succeeds at last.
within() {
    tries=$(($1 * 10))
    shift
    until "$@"; do
        tries=$((tries - 1))
        [ $tries -gt 0 ]
        sleep 0.1
    done
}

# The options of what is mounted on a directory, with a comma on both sides.
options() {
    echo ",$(findmnt --noheadings --output OPTIONS --mountpoint "$1"),"
}

# has_option DIRECTORY OPTION
has_option() {
    options "$1" | grep -qF ",$2,"
}
