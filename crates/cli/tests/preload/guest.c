/* What a process may do beside its rings. One case for each argument: exit 0 is success, words go to
 * stderr, what differs from place to place to stdout. */
#include "ring.h"

#include <dirent.h>
#include <limits.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#ifdef __GLIBC__
#include <unwind.h>
#endif

extern char **environ;

/* --- what the cases share -------------------------------------------------------------------- */

static struct ring outer;
/* The thread that is in enter, or about to be; 0 before. */
static _Atomic pid_t waiting;

static pid_t self(void) {
    return syscall(SYS_gettid);
}

/* Returns when the thread that said `waiting` sleeps. */
static void until_it_waits(void) {
    pid_t tid;
    while (!(tid = waiting))
        sched_yield();
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    for (;;) {
        FILE *f = fopen(path, "r");
        char *name = f && fgets(line, sizeof line, f) ? strrchr(line, ')') : 0;
        if (f)
            fclose(f);
        if (name && name[2] == 'S')
            break;
        sched_yield();
    }
    waiting = 0;
}

static void put_read(struct ring *r, int fd, void *to, unsigned len, int flags, uint64_t ud) {
    struct io_uring_sqe *s = sqe(r, IORING_OP_READ);
    s->fd = fd, s->addr = (long)to, s->len = len, s->flags = flags, s->user_data = ud;
}

struct done {
    uint64_t user_data;
    int res;
};

/* The next completion: waited for, however often a signal comes. */
static struct done next(struct ring *r) {
    struct io_uring_cqe c;
    while (!reap(r, &c)) {
        long n = enter(r, 0, 1);
        CHECK(n == 0 || n == -EINTR);
    }
    return (struct done){c.user_data, c.res};
}

static void pipe_of(int p[2]) {
    CHECK(pipe2(p, O_CLOEXEC) == 0);
}

/* A read of an empty pipe that waits. */
struct pending {
    int pipe[2];
    char got[8];
};

static void submit_pending(struct ring *r, struct pending *p, int flags, uint64_t ud) {
    pipe_of(p->pipe);
    put_read(r, p->pipe[0], p->got, 8, flags, ud);
    CHECK(enter(r, 1, 0) == 1);
}

static void end_pending(struct ring *r, struct pending *p, uint64_t ud) {
    CHECK(write(p->pipe[1], "12345678", 8) == 8);
    struct done c = next(r);
    CHECK(c.user_data == ud && c.res == 8 && !memcmp(p->got, "12345678", 8));
    close(p->pipe[0]);
    close(p->pipe[1]);
}

/* NOP, a read that waits, one of a file by a worker. */
static void works(struct ring *r) {
    nop(r);
    struct pending p;
    submit_pending(r, &p, 0, 11);
    end_pending(r, &p, 11);
    int fd = memfd_create("file", MFD_CLOEXEC);
    char got[4] = {0};
    CHECK(write(fd, "file", 4) == 4);
    put_read(r, fd, got, 4, IOSQE_ASYNC, 12);
    CHECK(enter(r, 1, 1) == 1);
    CHECK(next(r).res == 4 && !memcmp(got, "file", 4));
    close(fd);
}

static pthread_t start(void *(*body)(void *), void *arg) {
    pthread_t t;
    CHECK(pthread_create(&t, 0, body, arg) == 0);
    return t;
}

static void *ended(pthread_t t) {
    void *ret;
    CHECK(pthread_join(t, &ret) == 0);
    return ret;
}

static int status_of(pid_t pid) {
    int status;
    CHECK(pid > 0);
    while (waitpid(pid, &status, 0) != pid)
        CHECK(errno == EINTR);
    return status;
}

static pid_t forked(void (*body)(void)) {
    pid_t pid = fork();
    if (pid == 0) {
        alarm(20);
        body();
        _exit(0);
    }
    return pid;
}

/* --- signals --------------------------------------------------------------------------------- */

static sigjmp_buf back;
static char other_stack[1 << 16] __attribute__((aligned(16)));

static void alternate_stack(void) {
    stack_t s = {.ss_sp = other_stack, .ss_size = sizeof other_stack};
    CHECK(sigaltstack(&s, 0) == 0);
}

static void leaps(int sig) {
    (void)sig;
    siglongjmp(back, 1);
}

enum { LEAPS = 25 };

static void *leaves_waits(void *arg) {
    (void)arg;
    alternate_stack();
    struct pending p;
    submit_pending(&outer, &p, 0, 1);
    for (int flags = 0; flags <= SA_ONSTACK; flags += SA_ONSTACK) {
        struct sigaction a = {.sa_handler = leaps, .sa_flags = flags};
        CHECK(sigaction(SIGUSR1, &a, 0) == 0);
        for (volatile int i = 0; i < LEAPS; i++) {
            if (!sigsetjmp(back, 1)) {
                waiting = self();
                long n = enter(&outer, 0, 1);
                fprintf(stderr, "it came back: %ld\n", n);
                exit(1);
            }
            nop(&outer);
        }
    }
    end_pending(&outer, &p, 1);
    works(&outer);
    return 0;
}

/* Waits that are left by siglongjmp, from the thread's stack and from another. */
static void case_leap(char **argv) {
    (void)argv;
    CHECK(try_ring(&outer, 8) == 0);
    pthread_t t = start(leaves_waits, 0);
    for (int i = 0; i < 2 * LEAPS; i++) {
        until_it_waits();
        CHECK(pthread_kill(t, SIGUSR1) == 0);
    }
    ended(t);
    works(&outer);
    CHECK(forked(use_a_ring) > 0 && wait(0) > 0);
}

static void *leaves_once(void *arg) {
    (void)arg;
    struct sigaction a = {.sa_handler = leaps};
    CHECK(sigaction(SIGUSR1, &a, 0) == 0);
    if (!sigsetjmp(back, 1)) {
        waiting = self();
        enter(&outer, 0, 1);
        exit(1);
    }
    waiting = -1;
    /* It lives, and does something else from now on. */
    for (;;)
        pause();
}

/* A wait was left by a thread that never comes again: another thread's wait is woken all the same. */
static void case_leap_away(char **argv) {
    (void)argv;
    CHECK(try_ring(&outer, 8) == 0);
    struct pending p;
    submit_pending(&outer, &p, 0, 1);
    pthread_t t = start(leaves_once, 0);
    until_it_waits();
    CHECK(pthread_kill(t, SIGUSR1) == 0);
    while (waiting != -1)
        sched_yield();
    end_pending(&outer, &p, 1);
    works(&outer);
}

#ifdef __GLIBC__
static volatile int frames, main_seen;
static char *volatile nowhere;
int main(int argc, char **argv);

static _Unwind_Reason_Code one_frame(struct _Unwind_Context *context, void *arg) {
    (void)arg;
    frames++;
    if (_Unwind_FindEnclosingFunction((void *)_Unwind_GetIP(context)) == (void *)main)
        main_seen = 1;
    return _URC_NO_REASON;
}

static void unwinds(int sig) {
    (void)sig;
    frames = main_seen = 0;
    _Unwind_Backtrace(one_frame, 0);
}

static void unwinds_a_fault(int sig, siginfo_t *info, void *context) {
    (void)info, (void)context;
    unwinds(sig);
    siglongjmp(back, 1);
}

static void *interrupts(void *arg) {
    for (int i = 0; i < 40; i++) {
        until_it_waits();
        CHECK(pthread_kill(*(pthread_t *)arg, SIGUSR1) == 0);
    }
    return 0;
}

/* Profilers and crash handlers: a handler unwinds the stack, wherever it came. */
static void case_unwind(char **argv) {
    (void)argv;
    struct sigaction a = {.sa_handler = unwinds}, f = {.sa_sigaction = unwinds_a_fault};
    f.sa_flags = SA_SIGINFO;
    CHECK(sigaction(SIGUSR1, &a, 0) == 0 && sigaction(SIGSEGV, &f, 0) == 0);
    raise(SIGUSR1);
    CHECK(main_seen);
    CHECK(try_ring(&outer, 8) == 0);
    pthread_t me = pthread_self(), t = start(interrupts, &me);
    for (int i = 0; i < 40; i++) {
        frames = 0;
        waiting = self();
        long n = enter(&outer, 0, 1);
        CHECK(n == -EINTR && frames > 1);
    }
    ended(t);
    if (!sigsetjmp(back, 1))
        *(volatile char *)nowhere = 1;
    CHECK(main_seen);
    works(&outer);
}
#endif

static struct ring second;
static volatile long in_handler[2];

static void submits(int sig) {
    (void)sig;
    sqe(&outer, IORING_OP_NOP)->user_data = 21;
    in_handler[0] = enter(&outer, 1, 0);
    sqe(&second, IORING_OP_NOP)->user_data = 22;
    in_handler[1] = enter(&second, 1, 1);
}

static void *is_interrupted(void *arg) {
    (void)arg;
    struct pending p;
    submit_pending(&outer, &p, 0, 1);
    for (int i = 0; i < 20; i++) {
        waiting = self();
        long n = enter(&outer, 0, 1);
        CHECK(n == 0 || n == -EINTR);
        CHECK(in_handler[0] == 1 && in_handler[1] == 1);
        CHECK(next(&outer).user_data == 21 && next(&second).user_data == 22);
    }
    end_pending(&outer, &p, 1);
    return 0;
}

/* A handler that comes while its thread waits submits to that ring and to another. */
static void case_handler_submits(char **argv) {
    (void)argv;
    CHECK(try_ring(&outer, 8) == 0 && try_ring(&second, 8) == 0);
    struct sigaction a = {.sa_handler = submits, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGUSR1, &a, 0) == 0);
    pthread_t t = start(is_interrupted, 0);
    for (int i = 0; i < 20; i++) {
        until_it_waits();
        CHECK(pthread_kill(t, SIGUSR1) == 0);
    }
    ended(t);
    works(&outer);
    works(&second);
}

static struct {
    volatile int sig, code, count, on_other, leap;
    char *volatile at;
} fault;
static char *segv_page, *bus_page;
static int bus_file;

static void on_fault(int sig, siginfo_t *info, void *context) {
    char here;
    CHECK(context);
    fault.sig = sig, fault.code = info->si_code, fault.at = info->si_addr, fault.count++;
    fault.on_other = &here >= other_stack && &here < other_stack + sizeof other_stack;
    if (fault.leap)
        siglongjmp(back, 1);
    if (sig == SIGSEGV)
        CHECK(mprotect(segv_page, 4096, PROT_READ | PROT_WRITE) == 0);
    else
        CHECK(ftruncate(bus_file, 4096) == 0);
}

static void take_away(void) {
    CHECK(mprotect(segv_page, 4096, PROT_NONE) == 0);
    CHECK(ftruncate(bus_file, 0) == 0);
}

static void faults_at(char *at, int sig, int leap) {
    int before = fault.count;
    fault.leap = leap;
    take_away();
    if (!sigsetjmp(back, 1)) {
        *(volatile char *)at = 1;
        CHECK(!leap);
    }
    CHECK(fault.count == before + 1 && fault.sig == sig && fault.at == at && fault.on_other);
    CHECK(fault.code == (sig == SIGSEGV ? SEGV_ACCERR : BUS_ADRERR));
    fault.leap = 1;
}

static void all_faults(void) {
    for (int leap = 0; leap < 2; leap++) {
        faults_at(segv_page + 5, SIGSEGV, leap);
        faults_at(bus_page + 6, SIGBUS, leap);
    }
}

static void handles_faults(void) {
    struct sigaction a = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    CHECK(sigaction(SIGSEGV, &a, 0) == 0 && sigaction(SIGBUS, &a, 0) == 0);
}

static void dies_by_default(void) {
    signal(SIGSEGV, SIG_DFL);
    *(volatile char *)segv_page = 1;
}

static void dies_ignoring(void) {
    signal(SIGBUS, SIG_IGN);
    raise(SIGBUS);
    *(volatile char *)bus_page = 1;
}

static int depth(int n) {
    volatile char room[4096];
    room[0] = n;
    return n > 0 ? depth(n + 1) + room[0] : room[0];
}

static void *overflows(void *arg) {
    alternate_stack();
    fault.leap = 1;
    int before = fault.count;
    if (!sigsetjmp(back, 1))
        depth(1);
    CHECK(fault.count == before + 1 && fault.sig == SIGSEGV && fault.on_other);
    works(arg);
    return 0;
}

/* argv[2]: "before" or "after" the first ring the program's handlers come. */
static void case_faults(char **argv) {
    int before = !strcmp(argv[2], "before");
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    segv_page = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bus_file = memfd_create("bus", MFD_CLOEXEC);
    bus_page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, bus_file, 0);
    CHECK(segv_page != MAP_FAILED && bus_page != MAP_FAILED);
    alternate_stack();
    if (before) {
        handles_faults();
        all_faults();
    }
    CHECK(try_ring(&outer, 8) == 0);
    works(&outer);
    if (!before)
        handles_faults();
    all_faults();
    struct sigaction a;
    CHECK(sigaction(SIGSEGV, 0, &a) == 0 && a.sa_sigaction == on_fault);
    CHECK((a.sa_flags & (SA_SIGINFO | SA_ONSTACK)) == (SA_SIGINFO | SA_ONSTACK));
    /* Bad memory of a request is the request's, not the program's. */
    int count = fault.count;
    take_away();
    char *bad[] = {segv_page, bus_page};
    for (int i = 0; i < 2; i++) {
        for (int flags = 0; flags <= (int)IOSQE_ASYNC; flags += IOSQE_ASYNC) {
            int fd = open("/proc/self/exe", O_RDONLY);
            put_read(&outer, fd, bad[i], 4, flags, 31);
            CHECK(enter(&outer, 1, 1) == 1 && next(&outer).res == -EFAULT);
            close(fd);
        }
    }
    CHECK(fault.count == count);
    ended(start(overflows, &outer));
    alternate_stack();
    CHECK(WTERMSIG(status_of(forked(dies_by_default))) == SIGSEGV);
    CHECK(WTERMSIG(status_of(forked(dies_ignoring))) == SIGBUS);
    fault.leap = 1;
    if (!sigsetjmp(back, 1))
        raise(SIGSEGV);
    CHECK(fault.count == count + 2 && fault.code == SI_TKILL);
    all_faults();
    works(&outer);
}

/* A blocked signal is nobody's but the descriptor's that was made for it. */
static void case_signalfd(char **argv) {
    (void)argv;
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    CHECK(sigprocmask(SIG_BLOCK, &usr1, 0) == 0);
    CHECK(try_ring(&outer, 8) == 0);
    works(&outer);
    int fd = signalfd(-1, &usr1, SFD_CLOEXEC);
    struct signalfd_siginfo got;
    for (int i = 0; i < 20; i++) {
        memset(&got, 0, sizeof got);
        put_read(&outer, fd, &got, sizeof got, 0, 41);
        CHECK(enter(&outer, 1, 0) == 1);
        CHECK(kill(getpid(), SIGUSR1) == 0);
        struct done c = next(&outer);
        CHECK(c.user_data == 41 && c.res == sizeof got);
        CHECK(got.ssi_signo == SIGUSR1 && got.ssi_pid == (unsigned)getpid());
        struct io_uring_sqe *s = sqe(&outer, IORING_OP_POLL_ADD);
        s->fd = fd, s->poll32_events = POLLIN, s->user_data = 42;
        CHECK(enter(&outer, 1, 0) == 1);
        CHECK(kill(getpid(), SIGUSR1) == 0);
        c = next(&outer);
        CHECK(c.user_data == 42 && c.res == POLLIN);
        CHECK(read(fd, &got, sizeof got) == sizeof got && got.ssi_signo == SIGUSR1);
    }
}

/* --- threads --------------------------------------------------------------------------------- */

static void *waits_for_its_end(void *type) {
    int before;
    CHECK(pthread_setcanceltype((long)type, &before) == 0);
    waiting = self();
    while (enter(&outer, 0, 1) == -EINTR)
        ;
    pthread_testcancel();
    return 0;
}

/* Deferred: the thread ends behind its wait. Asynchronous: in it. The ring is as it was. */
static void case_cancelled(char **argv) {
    int async = !strcmp(argv[2], "asynchronous");
    long type = async ? PTHREAD_CANCEL_ASYNCHRONOUS : PTHREAD_CANCEL_DEFERRED;
    CHECK(try_ring(&outer, 8) == 0);
    for (int i = 0; i < 20; i++) {
        struct pending p;
        submit_pending(&outer, &p, 0, 51);
        pthread_t t = start(waits_for_its_end, (void *)type);
        until_it_waits();
        CHECK(pthread_cancel(t) == 0);
        if (async)
            CHECK(ended(t) == PTHREAD_CANCELED);
        end_pending(&outer, &p, 51);
        if (!async) {
            /* Whether it slept on or came back, it ends with the next completion at the latest. */
            sqe(&outer, IORING_OP_NOP);
            CHECK(enter(&outer, 1, 0) == 1);
            CHECK(ended(t) == PTHREAD_CANCELED);
            next(&outer);
        }
        works(&outer);
    }
}

enum { ENDING = 16 };
static struct pending theirs[ENDING][3];
static struct __kernel_timespec hour = {.tv_sec = 3600};

static void *submits_and_ends(void *arg) {
    long i = (long)arg;
    struct io_uring_sqe *s = sqe(&outer, IORING_OP_TIMEOUT);
    s->addr = (long)&hour, s->len = 1, s->user_data = 1000 + i;
    CHECK(enter(&outer, 1, 0) == 1);
    submit_pending(&outer, &theirs[i][0], 0, i);
    submit_pending(&outer, &theirs[i][1], IOSQE_ASYNC, 100 + i);
    struct ring own;
    CHECK(try_ring(&own, 8) == 0);
    submit_pending(&own, &theirs[i][2], 0, 1);
    if (i % 2)
        close(own.fd);
    return 0;
}

/* What ended threads submitted ends or goes on, once each; a ring of their own that they left, too. */
static void case_thread_ends(char **argv) {
    (void)argv;
    CHECK(try_ring(&outer, 64) == 0);
    for (long i = 0; i < ENDING; i++)
        ended(start(submits_and_ends, (void *)i));
    for (int i = 0; i < ENDING; i++)
        for (int k = 0; k < 3; k++)
            CHECK(write(theirs[i][k].pipe[1], "12345678", 8) == 8);
    int seen[200] = {0};
    for (int i = 0; i < 2 * ENDING; i++) {
        struct done c = next(&outer);
        CHECK(c.user_data < 200 && !seen[c.user_data]++);
        CHECK(c.res == 8 || c.res == -ECANCELED);
    }
    works(&outer);
}

static void *makes_a_ring(void *arg) {
    use_a_ring();
    works(arg);
    return 0;
}

/* Threads with the smallest stacks make rings, by libc and inline. */
static void case_tiny_stacks(char **argv) {
    (void)argv;
    pthread_attr_t attr;
    CHECK(pthread_attr_init(&attr) == 0);
    /* musl's least, 2 KiB, holds no signal frame of a processor with AVX-512. */
    size_t least = PTHREAD_STACK_MIN > 16384 ? PTHREAD_STACK_MIN : 16384;
    CHECK(pthread_attr_setstacksize(&attr, least) == 0);
    CHECK(try_ring(&outer, 8) == 0);
    for (int i = 0; i < 40; i++) {
        pthread_t t;
        CHECK(pthread_create(&t, &attr, makes_a_ring, &outer) == 0);
        ended(t);
    }
    works(&outer);
}

/* --- descriptors ----------------------------------------------------------------------------- */

/* Twenty numbers are enough for a ring that is in use; says how many were left. */
static void case_limit_20(char **argv) {
    (void)argv;
    closefrom(3);
    struct rlimit few = {20, 20};
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
    CHECK(try_ring(&outer, 8) == 0);
    works(&outer);
    struct pending p, q;
    submit_pending(&outer, &p, 0, 61);
    submit_pending(&outer, &q, IOSQE_ASYNC, 62);
    int left = 0, last = -1, n;
    while ((n = dup(0)) >= 0)
        last = n, left++;
    CHECK(errno == EMFILE && left > 0);
    nop(&outer);
    struct io_uring_params none = {0};
    CHECK(setup(8, &none) == -EMFILE);
    end_pending(&outer, &p, 61);
    end_pending(&outer, &q, 62);
    CHECK(close(last) == 0);
    works(&outer);
    printf("%d\n", left);
}

/* Nobody waits for it. Whoever then carries out io_uring has made what that takes: while it does, a low
 * number may be taken for a moment. */
static void completes_by_itself(struct ring *r) {
    works(r);
    struct pending p;
    submit_pending(r, &p, 0, 64);
    CHECK(write(p.pipe[1], "12345678", 8) == 8);
    struct io_uring_cqe c;
    while (!reap(r, &c))
        sched_yield();
    CHECK(c.user_data == 64 && c.res == 8 && close(p.pipe[0]) == 0 && close(p.pipe[1]) == 0);
}

/* The lowest free numbers are the program's, and those below 1024 are left for select. */
static void case_low_numbers(char **argv) {
    (void)argv;
    closefrom(3);
    struct rlimit usual = {1024, 1024};
    CHECK(setrlimit(RLIMIT_NOFILE, &usual) == 0);
    CHECK(try_ring(&outer, 8) == 0);
    CHECK(outer.fd == 3);
    completes_by_itself(&outer);
    int want = 4, pair[2];
    struct pending p[4];
    for (int i = 0; i < 4; i++) {
        submit_pending(&outer, &p[i], 0, 70 + i);
        CHECK(p[i].pipe[0] == want && p[i].pipe[1] == want + 1);
        want += 2;
    }
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && pair[0] == want && pair[1] == want + 1);
    want += 2;
    CHECK(call(427, outer.fd, IORING_REGISTER_FILES, (long)pair, 2, 0, 0) == 0);
    char got[4];
    put_read(&outer, 0, got, 4, IOSQE_FIXED_FILE, 80);
    CHECK(enter(&outer, 1, 0) == 1);
    CHECK(try_ring(&second, 8) == 0 && second.fd == want);
    want++;
    /* Above, the engine has some. */
    for (; want < 700; want++)
        CHECK(dup(0) == want);
    int high[2];
    pipe_of(high);
    CHECK(high[0] == 700 && high[1] == 701);
    CHECK(write(high[1], "x", 1) == 1);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(high[0], &set);
    CHECK(select(high[0] + 1, &set, 0, 0, 0) == 1 && FD_ISSET(high[0], &set));
    CHECK(write(pair[1], "four", 4) == 4);
    CHECK(next(&outer).user_data == 80 && !memcmp(got, "four", 4));
    nop(&second);
    CHECK(close(6) == 0 && dup(0) == 6);
    /* An index keeps the ring: what its making left to other threads is done by then. */
    unsigned long long index[2] = {0xffffffff, second.fd};
    CHECK(call(427, second.fd, IORING_REGISTER_RING_FDS, (long)index, 1, 0, 0) == 1);
    index[1] = 0;
    CHECK(call(427, second.fd, IORING_UNREGISTER_RING_FDS, (long)index, 1, 0, 0) == 1);
    /* What the making of a ring leaves to other threads is done some time: numbers that stay taken count. */
    int most = 0;
    for (int tries = 0; tries < 50; tries++, usleep(1000)) {
        int left = 0, made[1024];
        while ((made[left] = dup(0)) >= 0)
            left++;
        for (int i = 0; i < left; i++)
            close(made[i]);
        most = left > most ? left : most;
    }
    printf("%d\n", most);
}

static void close_all_but(int keep) {
    DIR *d = opendir("/proc/self/fd");
    CHECK(d);
    for (struct dirent *e; (e = readdir(d));) {
        int fd = atoi(e->d_name);
        if (e->d_name[0] == '.' || fd <= 2 || fd == keep || fd == dirfd(d))
            continue;
        close(fd);
    }
    closedir(d);
}

/* A program that closes whatever it finds but its ring. */
static void case_walker(char **argv) {
    (void)argv;
    CHECK(try_ring(&outer, 8) == 0);
    works(&outer);
    struct pending p;
    submit_pending(&outer, &p, 0, 90);
    close_all_but(outer.fd);
    /* The pipe's last writer went with the others: the read that waited ends with nothing. */
    struct done c = next(&outer);
    CHECK(c.user_data == 90 && c.res == 0);
    for (int i = 0; i < 3; i++) {
        works(&outer);
        use_a_ring();
        close_all_but(outer.fd);
    }
}

/* Numbers that are open, but for the one that reads them. */
static void case_numbers(char **argv) {
    (void)argv;
    DIR *d = opendir("/proc/self/fd");
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.' && atoi(e->d_name) != dirfd(d))
            printf("%s ", e->d_name);
    puts("");
}

static _Atomic int stop;

static void *keeps_taking_references(void *arg) {
    (void)arg;
    struct ring own;
    CHECK(try_ring(&own, 8) == 0);
    while (!stop) {
        struct pending p;
        submit_pending(&own, &p, 0, 1);
        end_pending(&own, &p, 1);
    }
    return 0;
}

/* A child that executes another program has the program's own numbers only. argv[0] is executed. */
static void case_exec_numbers(char **argv) {
    closefrom(3);
    CHECK(try_ring(&outer, 8) == 0);
    struct pending p[2];
    submit_pending(&outer, &p[0], 0, 1);
    submit_pending(&outer, &p[1], IOSQE_ASYNC, 2);
    pthread_t t = start(keeps_taking_references, 0);
    char *args[] = {argv[0], "numbers", 0};
    for (int i = 0; i < 30; i++) {
        pid_t pid;
        if (i % 3 == 0) {
            CHECK(posix_spawn(&pid, args[0], 0, 0, args, environ) == 0);
        } else {
            pid = i % 3 == 1 ? fork() : vfork();
            if (pid == 0) {
                execv(args[0], args);
                _exit(99);
            }
        }
        CHECK(status_of(pid) == 0);
    }
    stop = 1;
    ended(t);
    execv(args[0], args);
    CHECK(!"executed");
}

/* --- processes ------------------------------------------------------------------------------- */

/* vfork, posix_spawn, system and popen while requests are in flight. */
static void case_children(char **argv) {
    (void)argv;
    CHECK(try_ring(&outer, 8) == 0);
    for (int i = 0; i < 10; i++) {
        struct pending p, q;
        submit_pending(&outer, &p, 0, 1);
        submit_pending(&outer, &q, IOSQE_ASYNC, 2);
        pid_t pid = vfork();
        if (pid == 0) {
            execl("/bin/true", "true", (char *)0);
            _exit(99);
        }
        CHECK(status_of(pid) == 0);
        char *args[] = {"/bin/true", 0};
        CHECK(posix_spawn(&pid, args[0], 0, 0, args, environ) == 0 && status_of(pid) == 0);
        int status = system("exit 3");
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3);
        FILE *f = popen("echo a child", "r");
        char line[16] = "";
        CHECK(f && fgets(line, sizeof line, f) && !strcmp(line, "a child\n") && pclose(f) == 0);
        end_pending(&outer, &p, 1);
        end_pending(&outer, &q, 2);
        works(&outer);
    }
}

static int does_nothing(void *arg) {
    (void)arg;
    inline_call(SYS_exit, 0, 0, 0, 0, 0, 0);
    return 0;
}

/* Children of clone with flags that libc has no name for leave their parent alone. */
static void case_odd_clones(char **argv) {
    (void)argv;
    static char stack[1 << 16] __attribute__((aligned(16)));
    const int copies[] = {0, CLONE_FILES, CLONE_FS, CLONE_FS | CLONE_FILES, CLONE_PARENT_SETTID};
    const int shares[] = {CLONE_VM, CLONE_VM | CLONE_VFORK, CLONE_VM | CLONE_FILES,
                          CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND,
                          CLONE_VM | CLONE_VFORK | CLONE_FILES};
    CHECK(try_ring(&outer, 8) == 0);
    for (int i = 0; i < 10; i++) {
        struct pending p, q;
        submit_pending(&outer, &p, 0, 1);
        submit_pending(&outer, &q, IOSQE_ASYNC, 2);
        pid_t pid, told;
        if (i < 5) {
            pid = syscall(SYS_clone, copies[i] | SIGCHLD, 0, &told, 0, 0);
            if (pid == 0)
                inline_call(SYS_exit_group, 0, 0, 0, 0, 0, 0);
        } else {
            pid = clone(does_nothing, stack + sizeof stack, shares[i - 5] | SIGCHLD, 0);
        }
        CHECK(status_of(pid) == 0);
        end_pending(&outer, &p, 1);
        end_pending(&outer, &q, 2);
        works(&outer);
    }
}

/* A child by a raw clone uses its parent's ring and its own. */
static void case_raw_child(char **argv) {
    (void)argv;
    CHECK(try_ring(&outer, 8) == 0);
    works(&outer);
    for (int i = 0; i < 5; i++) {
        pid_t pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        if (pid == 0) {
            alarm(10);
            nop(&outer);
            use_a_ring();
            works(&outer);
            inline_call(SYS_exit_group, 0, 0, 0, 0, 0, 0);
        }
        CHECK(status_of(pid) == 0);
        works(&outer);
    }
}

static void *is_in_enter(void *arg) {
    (void)arg;
    struct ring own;
    CHECK(try_ring(&own, 8) == 0);
    while (!stop)
        works(&own);
    return 0;
}

static void *sleeps_in_enter(void *arg) {
    struct ring *own = arg;
    waiting = self();
    CHECK(next(own).user_data == 5);
    return 0;
}

static void child_of_threads(void) {
    nop(&outer);
    use_a_ring();
    works(&outer);
}

static void *forks_often(void *arg) {
    (void)arg;
    for (int i = 0; i < 30; i++) {
        CHECK(status_of(forked(child_of_threads)) == 0);
        works(&outer);
    }
    return 0;
}

/* A thread, and the first one, fork while others are in enter, asleep and at work. */
static void case_forks(char **argv) {
    (void)argv;
    CHECK(try_ring(&outer, 8) == 0 && try_ring(&second, 8) == 0);
    struct pending p;
    submit_pending(&second, &p, 0, 5);
    pthread_t asleep = start(sleeps_in_enter, &second);
    until_it_waits();
    pthread_t busy[3];
    for (int i = 0; i < 3; i++)
        busy[i] = start(is_in_enter, 0);
    ended(start(forks_often, 0));
    forks_often(0);
    stop = 1;
    for (int i = 0; i < 3; i++)
        ended(busy[i]);
    CHECK(write(p.pipe[1], "12345678", 8) == 8);
    ended(asleep);
}

/* What the host itself answers to a setup with a null pointer, then argv[2] with what follows it. */
static void case_host(char **argv) {
    printf("%ld\n", setup(8, 0));
    fflush(stdout);
    if (argv[2]) {
        execvp(argv[2], argv + 2);
        CHECK(!"executed");
    }
}

/* Uses a ring, then executes argv[2] with what follows it. */
static void case_then(char **argv) {
    CHECK(try_ring(&outer, 8) == 0);
    for (int i = 0; i < 40; i++)
        works(&outer);
    execvp(argv[2], argv + 2);
    CHECK(!"executed");
}

/* Whether this program gained a group, whether it has the library, and what the host answers. */
static void case_gains(char **argv) {
    (void)argv;
    char line[512];
    int mapped = 0;
    FILE *f = fopen("/proc/self/maps", "r");
    while (f && fgets(line, sizeof line, f))
        mapped |= strstr(line, "libringer") != 0;
    puts(!f || getgid() == getegid() ? "no gain" : mapped ? "library" : "no library");
    printf("%ld\n", setup(8, 0));
}

static void case_use(char **argv) {
    (void)argv;
    CHECK(try_ring(&outer, 8) == 0);
    for (int i = 0; i < 40; i++)
        works(&outer);
    puts("used");
}

/* --- hosts ----------------------------------------------------------------------------------- */

/* What setup answers here: 0 or an errno. Either way the program goes on. */
static void case_asks(char **argv) {
    (void)argv;
    printf("%d\n", try_ring(&outer, 8));
    free(malloc(1 << 20));
    int p[2];
    pipe_of(p);
    CHECK(close(p[0]) == 0 && close(p[1]) == 0 && system("exit 0") == 0);
}

/* A ring from before goes on when /proc is gone. Needs CAP_SYS_ADMIN. */
static void case_proc_goes(char **argv) {
    (void)argv;
    CHECK(try_ring(&outer, 8) == 0);
    works(&outer);
    CHECK(unshare(CLONE_NEWNS) == 0);
    CHECK(mount("none", "/", 0, MS_REC | MS_PRIVATE, 0) == 0);
    CHECK(mount("none", "/proc", "tmpfs", 0, 0) == 0);
    CHECK(access("/proc/self", F_OK) == -1);
    for (int i = 0; i < 5; i++)
        works(&outer);
    int file = memfd_create("file", MFD_CLOEXEC);
    CHECK(call(427, outer.fd, IORING_REGISTER_FILES, (long)&file, 1, 0, 0) == 0);
    char got[4];
    CHECK(write(file, "file", 4) == 4);
    put_read(&outer, 0, got, 4, IOSQE_FIXED_FILE, 1);
    CHECK(enter(&outer, 1, 1) == 1 && next(&outer).res == 4);
}

/* Forbids what is writable to become executable, for what argv[2] executes, too. */
static void case_mdwe(char **argv) {
    if (prctl(65, 1, 0, 0, 0) != 0) {
        puts("no PR_SET_MDWE");
        return;
    }
    execvp(argv[2], argv + 2);
    CHECK(!"executed");
}

/* argv[2]: a symbol of a library that was preloaded beside. */
static void case_beside(char **argv) {
    CHECK(dlsym(RTLD_DEFAULT, argv[2]));
    CHECK(try_ring(&outer, 8) == 0);
    for (int i = 0; i < 100; i++) {
        ended(start(makes_a_ring, &outer));
        free(malloc(i << 12));
    }
}

/* --- policy ---------------------------------------------------------------------------------- */

static void forbid(const int *nrs, int n) {
    struct sock_filter code[8] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    };
    int at = 1;
    for (int i = 0; i < n; i++)
        code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nrs[i], n - i, 0);
    code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES);
    struct sock_fprog prog = {.len = at, .filter = code};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0);
}

static int listener(struct sockaddr_in *at) {
    *at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof *at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)at, len) == 0 && listen(fd, 8) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)at, &len) == 0);
    return fd;
}

/* 0 for a request that succeeded, its errno otherwise. */
static int tried(struct ring *r, int op, int flags, const struct sockaddr_in *to) {
    static struct open_how how = {.flags = O_RDONLY | O_CLOEXEC};
    struct io_uring_sqe *s = sqe(r, op);
    s->flags = flags;
    if (op == IORING_OP_CONNECT) {
        s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        s->addr = (long)to, s->off = sizeof *to;
    } else {
        s->fd = AT_FDCWD, s->addr = (long)"/";
        if (op == IORING_OP_OPENAT2)
            s->off = (long)&how, s->len = sizeof how;
        else
            s->open_flags = O_RDONLY | O_CLOEXEC;
    }
    CHECK(enter(r, 1, 1) == 1);
    struct done c = next(r);
    if (c.res >= 0 && op != IORING_OP_CONNECT)
        close(c.res);
    return c.res < 0 ? c.res : 0;
}

/* argv[2]: what a filter forbids, "open" or "connect". Says what requests then answer that would do it
 * and what one answers that would do the other, on a ring from before and on one from behind. */
static void case_policy(char **argv) {
    static const int opens[] = {SYS_open, SYS_openat, SYS_openat2}, connects[] = {SYS_connect};
    int open = !strcmp(argv[2], "open");
    struct sockaddr_in at;
    listener(&at);
    CHECK(try_ring(&outer, 8) == 0);
    if (open)
        forbid(opens, 3);
    else
        forbid(connects, 1);
    CHECK(try_ring(&second, 8) == 0);
    struct ring *rings[] = {&outer, &second};
    for (int i = 0; i < 2; i++) {
        const int ops[] = {IORING_OP_OPENAT, IORING_OP_OPENAT2, IORING_OP_CONNECT};
        for (int k = 0; k < 3; k++)
            printf("%d %d\n", tried(rings[i], ops[k], 0, &at),
                   tried(rings[i], ops[k], IOSQE_ASYNC, &at));
    }
}

static const struct {
    const char *name;
    void (*run)(char **);
} CASES[] = {
    {"leap", case_leap},
    {"leap-away", case_leap_away},
#ifdef __GLIBC__
    {"unwind", case_unwind},
#endif
    {"handler-submits", case_handler_submits},
    {"faults", case_faults},
    {"signalfd", case_signalfd},
    {"cancelled", case_cancelled},
    {"thread-ends", case_thread_ends},
    {"tiny-stacks", case_tiny_stacks},
    {"limit-20", case_limit_20},
    {"low-numbers", case_low_numbers},
    {"walker", case_walker},
    {"numbers", case_numbers},
    {"exec-numbers", case_exec_numbers},
    {"children", case_children},
    {"odd-clones", case_odd_clones},
    {"raw-child", case_raw_child},
    {"forks", case_forks},
    {"host", case_host},
    {"then", case_then},
    {"gains", case_gains},
    {"use", case_use},
    {"asks", case_asks},
    {"proc-goes", case_proc_goes},
    {"mdwe", case_mdwe},
    {"beside", case_beside},
    {"policy", case_policy},
};

int main(int argc, char **argv) {
    alarm(30);
    for (size_t i = 0; argc > 1 && i < sizeof CASES / sizeof *CASES; i++) {
        if (!strcmp(argv[1], CASES[i].name)) {
            CASES[i].run(argv);
            return 0;
        }
    }
    fprintf(stderr, "no such case\n");
    return 2;
}
