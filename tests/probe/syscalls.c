/* Tries system calls that a cell refuses, and some that it allows; prints `NAME ABI RESULT` lines.
 * RESULT is ok, the number of the error, or the signal. Each try runs in a process of its own, with
 * arguments that do nothing where the call is allowed. `syscalls ABI` tries one ABI: 64, x32, i386. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define UNIFIED(n) n, n /* from 424 on, numbers are the same for every ABI */
#define HIGH (1L << 32)

struct try {
    const char *name;
    long number, i386; /* -1: not tried */
    long a, b, c, d, e, f;
};

static long on_null, low; /* a descriptor of /dev/null; memory below 4 GiB */

#ifdef __x86_64__
static long int80(long number, long a, long b, long c, long d, long e) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e)
                     : "memory", "r8", "r9", "r10", "r11");
    return result;
}
#endif

static void report(const char *name, const char *abi, long (*call)(const struct try *), const struct try *try) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        long result = call(try);
        _exit(result < 0 && result > -250 ? (int)-result : 0);
    }
    int status;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status))
        printf("%s %s signal-%d\n", name, abi, WTERMSIG(status));
    else if (WEXITSTATUS(status))
        printf("%s %s %d\n", name, abi, WEXITSTATUS(status));
    else
        printf("%s %s ok\n", name, abi);
}

static long native(const struct try *t) {
    long result = syscall(t->number, t->a, t->b, t->c, t->d, t->e, t->f);
    if (result == 0 && (t->number == SYS_clone)) return 0;
    return result < 0 ? -errno : result;
}

#ifdef __x86_64__
static long x32(const struct try *t) {
    long result = syscall(t->number | 0x40000000, t->a, t->b, t->c, t->d, t->e, t->f);
    return result < 0 ? -errno : result;
}

static long i386(const struct try *t) { return int80(t->i386, t->a, t->b, t->c, t->d, t->e); }
#endif

int main(int argc, char **argv) {
    const char *only = argc > 1 ? argv[1] : "64";
    on_null = open("/dev/null", O_RDWR);
    low = (long)mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS
#ifdef MAP_32BIT
                     | MAP_32BIT
#endif
                     , -1, 0);
    /* socketcall's arguments */
    uint32_t words[] = {AF_UNIX, SOCK_STREAM, 0};
    memcpy((void *)low, words, sizeof words);
    /* io_uring's parameters: all zero */
    long zeros = low + 1024;
    long self = getpid();
    struct try tries[] = {
        {"getpid", SYS_getpid, 20},
        {"mount", SYS_mount, 21},
        {"umount2", SYS_umount2, 52},
        {"pivot_root", SYS_pivot_root, 217},
        {"fsopen", UNIFIED(430)},
        {"fsconfig", UNIFIED(431), -1},
        {"fsmount", UNIFIED(432), -1},
        {"fspick", UNIFIED(433), -1},
        {"open_tree", UNIFIED(428), -1},
        {"move_mount", UNIFIED(429), -1, 0, -1},
        {"mount_setattr", UNIFIED(442), -1},
        {"open_tree_attr", UNIFIED(467), -1},
        {"unshare-user", SYS_unshare, 310, CLONE_NEWUSER},
        {"unshare-mount", SYS_unshare, 310, CLONE_NEWNS},
        {"unshare-net", SYS_unshare, 310, CLONE_NEWNET},
        {"unshare-time", SYS_unshare, 310, 0x80},
        {"unshare-files", SYS_unshare, 310, CLONE_FILES},
        {"setns", SYS_setns, 346, -1, 0},
        {"clone-user", SYS_clone, 120, CLONE_NEWUSER | SIGCHLD},
        {"clone-net", SYS_clone, 120, CLONE_NEWNET | SIGCHLD},
        {"clone-high", SYS_clone, -1, CLONE_NEWUSER | SIGCHLD | HIGH},
        {"clone-plain", SYS_clone, 120, SIGCHLD},
        {"clone3", UNIFIED(435), 0, 0},
        {"ptrace", SYS_ptrace, 26, 1 /* PEEKTEXT */, 999999999},
        {"process_vm_readv", SYS_process_vm_readv, 347, 999999999, zeros, 1, zeros, 1},
        {"process_vm_writev", SYS_process_vm_writev, 348, 999999999, zeros, 1, zeros, 1},
        {"process_madvise", UNIFIED(440), -1, zeros, 1, -1},
        {"kcmp", SYS_kcmp, 349, 999999999, 999999999},
        {"pidfd_getfd", UNIFIED(438), -1, -1},
        {"bpf", SYS_bpf, 357, 9999, zeros, 16},
        {"perf_event_open", SYS_perf_event_open, 336, 0},
        {"userfaultfd", SYS_userfaultfd, 374, -1},
        {"io_uring_setup", UNIFIED(425), 1, zeros},
        {"io_uring_enter", UNIFIED(426), -1},
        {"io_uring_register", UNIFIED(427), -1, 999},
        {"add_key", SYS_add_key, 286, 0, 0, 0, 0, 0},
        {"request_key", SYS_request_key, 287, 0, 0, 0, 0},
        {"keyctl", SYS_keyctl, 288, 9999},
        {"open_by_handle_at", SYS_open_by_handle_at, 342, -1, 0, 0},
        {"init_module", SYS_init_module, 128, 0, 0, 0},
        {"finit_module", SYS_finit_module, 350, -1, zeros, 0},
        {"delete_module", SYS_delete_module, 129, 0, 0},
        {"kexec_load", SYS_kexec_load, 283, 0, 9999, 0, 0},
#ifdef SYS_kexec_file_load
        {"kexec_file_load", SYS_kexec_file_load, -1, -1, -1, 0, 0, -1},
#endif
        {"reboot", SYS_reboot, 88, 1, 2, 3},
        {"swapon", SYS_swapon, 87, 0, 0},
        {"swapoff", SYS_swapoff, 115, 0},
        {"acct", SYS_acct, 51, 1},
        {"settimeofday", SYS_settimeofday, 79, 1, 0},
        {"clock_settime", SYS_clock_settime, 264, 0, 1},
        {"sethostname", SYS_sethostname, 74, 0, -1},
        {"setdomainname", SYS_setdomainname, 121, 0, -1},
        {"quotactl", SYS_quotactl, 131, -1, 0, 0, 0},
        {"syslog", SYS_syslog, 103, 99, 0, 0},
        {"fanotify_init", SYS_fanotify_init, 338, -1, 0},
        {"mbind", SYS_mbind, 274, 1, 4096, 0, 0, 0, 0},
        {"move_pages", SYS_move_pages, 317, 999999999, 0, 0, 0, 0, 0},
#ifdef __x86_64__
        {"iopl", SYS_iopl, 110, 99},
        {"ioperm", SYS_ioperm, 101, -1, 0, 0},
        {"modify_ldt", SYS_modify_ldt, 123, 0, 0, 0},
#endif
        {"personality-plain", SYS_personality, 136, 0},
        {"personality-asked", SYS_personality, 136, -1},
        {"personality-no-randomize", SYS_personality, 136, 0x0040000},
        {"personality-read-implies-exec", SYS_personality, 136, 0x0400000},
        {"prlimit64-own", SYS_prlimit64, 340, 0, 0, 0, zeros},
        {"prlimit64-own-pid", SYS_prlimit64, 340, self, 0, 0, zeros},
        {"prlimit64-pid-1", SYS_prlimit64, 340, 1, 0, 0, zeros},
        {"ioctl-TIOCSTI", SYS_ioctl, 54, on_null, 0x5412, zeros},
        {"ioctl-TIOCSTI-high", SYS_ioctl, -1, on_null, 0x5412 | HIGH, zeros},
        {"ioctl-TIOCLINUX", SYS_ioctl, 54, on_null, 0x541c, zeros},
        {"ioctl-TIOCLINUX-high", SYS_ioctl, -1, on_null, 0x541c | (HIGH << 5), zeros},
        {"ioctl-TIOCSETD", SYS_ioctl, 54, on_null, 0x5423, zeros},
        {"ioctl-TCGETS", SYS_ioctl, 54, on_null, 0x5401, zeros},
        {"socket-unix", SYS_socket, 359, 1, 1, 0},
        {"socket-inet", SYS_socket, 359, 2, 1, 0},
        {"socket-inet-tcp", SYS_socket, 359, 2, 1, 6},
        {"socket-inet-udp", SYS_socket, 359, 2, 2, 17},
        {"socket-inet6", SYS_socket, 359, 10, 1, 0},
        {"socket-inet6-udp", SYS_socket, 359, 10, 2, 17},
        {"socket-route", SYS_socket, 359, 16, 3, 0},
        {"socket-inet-icmp", SYS_socket, 359, 2, 2, 1},
        {"socket-inet6-icmp", SYS_socket, 359, 10, 2, 58},
        {"socket-inet-sctp", SYS_socket, 359, 2, 1, 132},
        {"socket-inet-mptcp", SYS_socket, 359, 2, 1, 262},
        {"socket-inet-smc", SYS_socket, 359, 2, 1, 256},
        {"socket-inet-raw", SYS_socket, 359, 2, 3, 255},
        {"socket-alg", SYS_socket, 359, 38, 5, 0},
        {"socket-alg-high", SYS_socket, -1, 38 | HIGH, 5, 0},
        {"socket-packet", SYS_socket, 359, 17, 2, 0},
        {"socket-key", SYS_socket, 359, 15, 3, 2},
        {"socket-rxrpc", SYS_socket, 359, 33, 2, 2},
        {"socket-vsock", SYS_socket, 359, 40, 1, 0},
        {"socket-smc", SYS_socket, 359, 43, 1, 0},
        {"socket-tipc", SYS_socket, 359, 30, 5, 0},
        {"socket-xdp", SYS_socket, 359, 44, 3, 0},
        {"socket-bluetooth", SYS_socket, 359, 31, 3, 0},
        {"socket-can", SYS_socket, 359, 29, 3, 1},
        {"socket-xfrm", SYS_socket, 359, 16, 3, 6},
        {"socket-audit", SYS_socket, 359, 16, 3, 9},
        {"socket-netfilter", SYS_socket, 359, 16, 3, 12},
        {"socket-uevent", SYS_socket, 359, 16, 3, 15},
        {"socket-generic", SYS_socket, 359, 16, 3, 16},
        {"socketpair-unix", SYS_socketpair, 360, 1, 1, 0, zeros},
        {"socketpair-tipc", SYS_socketpair, 360, 30, 5, 0, zeros},
        {"socketcall", -1, 102, 1, low},
        {"unknown-500", UNIFIED(500)},
        {"unknown-9999", UNIFIED(9999)},
    };
    for (unsigned n = 0; n < sizeof tries / sizeof *tries; n++) {
        struct try *t = &tries[n];
        if (!strcmp(only, "64") && t->number >= 0) report(t->name, only, native, t);
#ifdef __x86_64__
        if (!strcmp(only, "x32") && t->number >= 0) report(t->name, only, x32, t);
        if (!strcmp(only, "i386") && t->i386 >= 0) report(t->name, only, i386, t);
#endif
    }
    return 0;
}
