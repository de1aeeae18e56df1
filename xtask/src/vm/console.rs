//! What a kernel says on its console, and what of it means that something is broken.

/// Beginnings of messages (behind the time stamp) after which a kernel is not to be trusted.
const FAULTS: &[&str] = &[
    "BUG:",
    "kernel BUG at",
    "WARNING: ",
    "Kernel panic",
    "Oops",
    "general protection fault",
    "Unable to handle kernel",
    "INFO: task ",
    "INFO: rcu",
    "rcu: INFO:",
    "watchdog: BUG",
    "Internal error",
    "=== KASAN",
    "kasan: ",
    "possible recursive locking",
    "possible circular locking",
    "unregister_netdevice: waiting",
    "unreferenced object",
];

/// Bits of `/proc/sys/kernel/tainted` that a fault sets: bad page, oops, warning, soft lockup.
const FAULT_TAINTS: &[(u64, &str)] = &[
    (1 << 5, "a bad page"),
    (1 << 7, "an oops"),
    (1 << 9, "a warning"),
    (1 << 14, "a soft lockup"),
];

/// The messages in a kernel's log that tell of a fault.
pub(crate) fn faults(log: &str) -> Vec<&str> {
    log.lines().filter(|line| is_fault(line)).collect()
}

/// The log from the first message on that tells of a fault.
pub(crate) fn from_first_fault(log: &str) -> Option<&str> {
    let mut start = 0;
    for line in log.split_inclusive('\n') {
        if is_fault(line) {
            return log.get(start..);
        }
        start += line.len();
    }
    None
}

fn is_fault(line: &str) -> bool {
    let message = message(line);
    FAULTS.iter().any(|fault| message.starts_with(fault))
}

/// A line without the time stamp (and CPU number) before it.
fn message(line: &str) -> &str {
    let line = line.trim_start();
    match line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((_, message)) => message.trim_start(),
        None => line,
    }
}

/// The faults that the kernel remembers.
pub(crate) fn taint_faults(tainted: u64) -> Vec<&'static str> {
    FAULT_TAINTS
        .iter()
        .filter(|(bit, _)| tainted & bit != 0)
        .map(|&(_, fault)| fault)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{faults, from_first_fault, taint_faults};

    #[test]
    fn faults_are_found() {
        for line in [
            "[   12.345678] BUG: unable to handle page fault for address: 0000",
            "[    1.0] WARNING: CPU: 0 PID: 1 at fs/inode.c:1 iput+0x0/0x10",
            "Kernel panic - not syncing: Attempted to kill init!",
            "[  243.9] INFO: task mount:77 blocked for more than 120 seconds.",
            "[    3.1] Oops: 0000 [#1] PREEMPT SMP NOPTI",
            "[   31.2] unreferenced object 0x00000000623ff000 (size 64):",
        ] {
            assert_eq!(faults(line), [line]);
        }
    }

    #[test]
    fn a_log_goes_on_behind_its_first_fault() {
        let log = "[ 1.0] Booted\n[ 2.0] BUG: stack guard page was hit\n[ 2.1] Call Trace:\n";
        assert_eq!(from_first_fault(log), log.get(14..));
        assert_eq!(from_first_fault("[ 1.0] Booted\n"), None);
    }

    #[test]
    fn ordinary_messages_are_no_faults() {
        for line in [
            "[    0.000000] Linux version 6.12.117",
            "[    2.2] EXT4-fs (ubda): mounted filesystem r/w",
            "[    1.5] bento: loading out-of-tree module taints kernel.",
            "[    1.5] logfs: recovered after an Oops elsewhere",
        ] {
            assert!(faults(line).is_empty(), "{line}");
        }
    }

    #[test]
    fn an_own_module_is_no_fault_but_a_warning_is() {
        assert!(taint_faults(1 << 12 | 1 << 13).is_empty());
        assert_eq!(taint_faults(1 << 12 | 1 << 9), ["a warning"]);
    }
}
