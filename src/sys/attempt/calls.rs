//! The calls and sockets that are forbidden, with arguments that do no harm: bad descriptors, null
//! pointers, numbers that mean nothing.

use super::super::{Errno, SysResult};
use super::check;

/// A bad descriptor, a pointer to nowhere, a number that means nothing: whatever it is taken for.
const BAD: i64 = -1;

/// One system call.
#[derive(Debug)]
pub struct Call {
    /// Its name.
    pub name: &'static str,
    number: i64,
    args: [i64; 5],
}

impl Call {
    /// Makes it, for a child that does nothing else.
    pub fn make(&self) -> SysResult<i64> {
        let [a, b, c, d, e] = self.args;
        // SAFETY: the arguments are those of the table below, which name no memory of ours: the
        // kernel can neither read nor write there.
        check(unsafe { libc::syscall(self.number, a, b, c, d, e, 0) })
    }
}

macro_rules! calls {
    ($($(#[$only:meta])? $name:ident $number:ident [$($arg:expr),*];)*) => {
        &[$($(#[$only])? Call { name: stringify!($name), number: libc::$number, args: padded(&[$($arg),*]) }),*]
    };
}

const fn padded(given: &[i64]) -> [i64; 5] {
    let mut args = [0; 5];
    let mut at = 0;
    while at < given.len() && at < args.len() {
        // No iterators and no `get_mut` with `?` in a const fn.
        let (_, rest) = args.split_at_mut(at);
        let (_, from) = given.split_at(at);
        if let ([place, ..], [value, ..]) = (rest, from) {
            *place = *value;
        }
        at += 1;
    }
    args
}

/// What no tenant may call unless a class says so.
pub const FORBIDDEN: &[Call] = calls! {
    acct SYS_acct [1];
    add_key SYS_add_key [0, 0, 0, 0, 0];
    bpf SYS_bpf [BAD, 0, 0];
    clock_settime SYS_clock_settime [0, 0];
    delete_module SYS_delete_module [0, 0];
    fanotify_init SYS_fanotify_init [0x200, 0];
    finit_module SYS_finit_module [BAD, 0, 0];
    fsconfig SYS_fsconfig [BAD, 0, 0, 0, 0];
    fsmount SYS_fsmount [BAD, 0, 0];
    fsopen SYS_fsopen [0, 0];
    fspick SYS_fspick [BAD, 0, 0];
    init_module SYS_init_module [0, 0, 0];
    io_uring_enter SYS_io_uring_enter [BAD, 0, 0, 0, 0];
    io_uring_register SYS_io_uring_register [BAD, 0, 0, 0];
    io_uring_setup SYS_io_uring_setup [0, 0];
    #[cfg(target_arch = "x86_64")]
    ioperm SYS_ioperm [0x80, 1, 1];
    #[cfg(target_arch = "x86_64")]
    iopl SYS_iopl [3];
    kcmp SYS_kcmp [BAD, BAD, 0, 0, 0];
    kexec_file_load SYS_kexec_file_load [BAD, BAD, 0, 0, 0];
    kexec_load SYS_kexec_load [0, 0, 0, BAD];
    keyctl SYS_keyctl [BAD, 0, 0, 0, 0];
    mount SYS_mount [0, 0, 0, 0, 0];
    mount_setattr SYS_mount_setattr [BAD, 0, 0, 0, 0];
    move_mount SYS_move_mount [BAD, 0, BAD, 0, 0];
    open_by_handle_at SYS_open_by_handle_at [BAD, 0, 0];
    open_tree SYS_open_tree [BAD, 0, 0];
    perf_event_open SYS_perf_event_open [0, BAD, BAD, BAD, 0];
    pidfd_getfd SYS_pidfd_getfd [BAD, BAD, 0];
    pivot_root SYS_pivot_root [0, 0];
    process_vm_readv SYS_process_vm_readv [0, 0, 0, 0, 0];
    process_vm_writev SYS_process_vm_writev [0, 0, 0, 0, 0];
    ptrace SYS_ptrace [0, 0, 0, 0];
    quotactl SYS_quotactl [BAD, 0, 0, 0];
    reboot SYS_reboot [0, 0, 0, 0];
    request_key SYS_request_key [0, 0, 0, 0];
    setns SYS_setns [BAD, 0];
    settimeofday SYS_settimeofday [0, 0];
    swapoff SYS_swapoff [0];
    swapon SYS_swapon [0, 0];
    syslog SYS_syslog [10, 0, 0];
    umount2 SYS_umount2 [0, 0];
    userfaultfd SYS_userfaultfd [0];
};

/// A kind of socket, by numbers.
#[derive(Debug)]
pub struct Socket {
    /// Its name.
    pub name: &'static str,
    pub(super) family: i32,
    pub(super) kind: i32,
    pub(super) protocol: i32,
}

const fn socket(name: &'static str, family: i32, kind: i32, protocol: i32) -> Socket {
    Socket { name, family, kind, protocol }
}

/// What no tenant may open unless a class says so: every family but unix, inet, inet6 and route
/// netlink.
pub const SOCKETS: &[Socket] = &[
    socket("AF_ALG", libc::AF_ALG, libc::SOCK_SEQPACKET, 0),
    socket("AF_BLUETOOTH", libc::AF_BLUETOOTH, libc::SOCK_RAW, 1),
    socket("AF_CAN", libc::AF_CAN, libc::SOCK_RAW, 1),
    socket("AF_IB", libc::AF_IB, libc::SOCK_RAW, 0),
    socket("AF_KEY", libc::AF_KEY, libc::SOCK_RAW, 2),
    socket("AF_LLC", libc::AF_LLC, libc::SOCK_DGRAM, 0),
    socket("AF_NETLINK audit", libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_AUDIT),
    socket("AF_NETLINK connector", libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_CONNECTOR),
    socket("AF_NETLINK crypto", libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_CRYPTO),
    socket("AF_NETLINK generic", libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_GENERIC),
    socket("AF_NETLINK netfilter", libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER),
    socket("AF_NETLINK uevent", libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_KOBJECT_UEVENT),
    socket("AF_NETLINK xfrm", libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_XFRM),
    socket("AF_NFC", libc::AF_NFC, libc::SOCK_SEQPACKET, 0),
    socket("AF_PACKET", libc::AF_PACKET, libc::SOCK_RAW, 0),
    socket("AF_PPPOX", libc::AF_PPPOX, libc::SOCK_STREAM, 0),
    socket("AF_RDS", libc::AF_RDS, libc::SOCK_SEQPACKET, 0),
    socket("AF_RXRPC", libc::AF_RXRPC, libc::SOCK_DGRAM, libc::AF_INET),
    socket("AF_SMC", 43, libc::SOCK_STREAM, 0),
    socket("AF_TIPC", libc::AF_TIPC, libc::SOCK_STREAM, 0),
    socket("AF_VSOCK", libc::AF_VSOCK, libc::SOCK_STREAM, 0),
    socket("AF_XDP", libc::AF_XDP, libc::SOCK_RAW, 0),
];

/// A call by another ABI of the same processor.
#[derive(Debug, Clone, Copy)]
pub struct Foreign {
    /// Its name, with the ABI's.
    pub name: &'static str,
    abi: Abi,
    number: i32,
    args: [i32; 3],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Abi {
    I386,
    X32,
}

/// Calls by the ABIs that this processor has beside its own.
#[must_use]
pub fn foreign() -> &'static [Foreign] {
    if cfg!(target_arch = "x86_64") { FOREIGN } else { &[] }
}

const fn i386(name: &'static str, number: i32, args: [i32; 3]) -> Foreign {
    Foreign { name, abi: Abi::I386, number, args }
}

const fn x32(name: &'static str, number: i32, args: [i32; 3]) -> Foreign {
    Foreign { name, abi: Abi::X32, number, args }
}

const FOREIGN: &[Foreign] = &[
    i386("i386 getpid", 20, [0; 3]),
    i386("i386 ptrace", 26, [0; 3]),
    i386("i386 socketcall", 102, [1, 0, 0]),
    i386("i386 keyctl", 288, [-1, 0, 0]),
    i386("i386 unshare", 310, [0x1000_0000, 0, 0]),
    i386("i386 bpf", 357, [-1, 0, 0]),
    i386("i386 socket AF_ALG", 359, [38, 5, 0]),
    i386("i386 io_uring_setup", 425, [0, 0, 0]),
    x32("x32 getpid", 39, [0; 3]),
    x32("x32 socket AF_ALG", 41, [38, 5, 0]),
    x32("x32 keyctl", 250, [-1, 0, 0]),
    x32("x32 unshare", 272, [0x1000_0000, 0, 0]),
    x32("x32 bpf", 321, [-1, 0, 0]),
    x32("x32 ptrace", 521, [0; 3]),
];

impl Foreign {
    /// Makes it, for a child that does nothing else.
    #[cfg(target_arch = "x86_64")]
    pub fn make(self) -> SysResult<i64> {
        /// `__X32_SYSCALL_BIT` (asm/unistd.h).
        const X32: i64 = 0x4000_0000;
        let [a, b, c] = self.args;
        match self.abi {
            // SAFETY: the arguments are those of the table, which name no memory of ours.
            Abi::X32 => check(unsafe { libc::syscall(X32 | i64::from(self.number), a, b, c) }),
            Abi::I386 => {
                let mut result = i64::from(self.number);
                // SAFETY: as above. rbx, which the compiler keeps for itself, is put back; the kernel
                // may clear r8 to r11; nothing is pushed on the stack.
                unsafe {
                    std::arch::asm!(
                        "xchg {first}, rbx",
                        "int 0x80",
                        "xchg {first}, rbx",
                        first = inout(reg) i64::from(a) => _,
                        inout("rax") result,
                        in("rcx") i64::from(b),
                        in("rdx") i64::from(c),
                        in("rsi") 0_i64,
                        in("rdi") 0_i64,
                        out("r8") _, out("r9") _, out("r10") _, out("r11") _,
                        options(nostack),
                    );
                }
                // The kernel answers with a negative errno of 32 bits.
                let bytes = result.to_le_bytes();
                let low = bytes.first_chunk().map_or(0, |low| i32::from_le_bytes(*low));
                if (-4095..0).contains(&low) { Err(Errno::from_raw(-low)) } else { Ok(i64::from(low)) }
            }
        }
    }

    /// There is no other ABI that we know of.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn make(self) -> SysResult<i64> {
        Err(Errno::ENOSYS)
    }
}
