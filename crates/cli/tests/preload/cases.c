/* One case for each argument: exit 0 is success, words go to stderr. Run under the library. */
#include "ring.h"

static void case_use(char **argv) {
    (void)argv;
    use_a_ring();
    printf("%d\n", filters());
}

static void case_filters(char **argv) {
    (void)argv;
    printf("%d\n", filters());
}

/* Registers, flags, vector state and red zone around an inline call that goes through the trap. */
static void case_registers(char **argv) {
    (void)argv;
#ifdef INLINE
    struct ring r;
    CHECK(try_ring(&r, 8) == 0);
    nop(&r);
    /* Slots: what each register and red-zone word held after the call; in the order below. */
    static uint64_t out[64] __attribute__((aligned(64)));
    static uint64_t vec[16][4] __attribute__((aligned(64)));
    static uint64_t got[16][4] __attribute__((aligned(64)));
    for (int i = 0; i < 64; i++)
        ((uint64_t *)vec)[i] = 0x0101010101010101ull * (i + 1);
    int avx = __builtin_cpu_supports("avx");
    for (int round = 0; round < 200; round++) {
        sqe(&r, IORING_OP_NOP);
        memset(out, 0, sizeof out);
        uint64_t *out_at = out, (*got_at)[4] = got, (*vec_at)[4] = vec;
        int avx_flag = avx, fd = r.fd;
        __asm__ volatile(
            "pushq %%rbp\n\t"
            "subq $256, %%rsp\n\t"
            "movq %[out], 248(%%rsp)\n\t"
            "movq %[got], 240(%%rsp)\n\t"
            "movl %[avx], 232(%%rsp)\n\t"
            "movl %[fd], %%edi\n\t"
            "testl %[avx], %[avx]\n\t"
            "jz 1f\n\t"
#define LOADY(i) "vmovdqu " #i "*32(%[vec]), %%ymm" #i "\n\t"
            LOADY(0) LOADY(1) LOADY(2) LOADY(3) LOADY(4) LOADY(5) LOADY(6) LOADY(7)
            LOADY(8) LOADY(9) LOADY(10) LOADY(11) LOADY(12) LOADY(13) LOADY(14) LOADY(15)
            "jmp 2f\n"
            "1:\n\t"
#define LOADX(i) "movdqu " #i "*32(%[vec]), %%xmm" #i "\n\t"
            LOADX(0) LOADX(1) LOADX(2) LOADX(3) LOADX(4) LOADX(5) LOADX(6) LOADX(7)
            LOADX(8) LOADX(9) LOADX(10) LOADX(11) LOADX(12) LOADX(13) LOADX(14) LOADX(15)
            "2:\n\t"
            "fld1\n\t"
            /* The red zone of this frame. */
            "movq $0x1111, -8(%%rsp)\n\t"
            "movq $0x2222, -64(%%rsp)\n\t"
            "movq $0x3333, -128(%%rsp)\n\t"
            "movl $1, %%esi\n\t"
            "movl $1, %%edx\n\t"
            "movl $1, %%r10d\n\t"
            "xorl %%r8d, %%r8d\n\t"
            "movl $8, %%r9d\n\t"
            "movq $0x1b, %%rbx\n\t"
            "movq $0x1c, %%r12\n\t"
            "movq $0x1d, %%r13\n\t"
            "movq $0x1e, %%r14\n\t"
            "movq $0x1f, %%r15\n\t"
            "movq $0x20, %%rbp\n\t"
            "stc\n\t"
            "movl $426, %%eax\n\t"
            "syscall\n"
            "3:\n\t"
            "movq %%r11, -16(%%rsp)\n\t"
            "pushfq\n\t"
            "popq %%r11\n\t"
            "xchgq %%r11, 224(%%rsp)\n\t"
            "movq 248(%%rsp), %%r11\n\t"
            "movq %%rax, 0(%%r11)\n\t"
            "movq %%rdi, 8(%%r11)\n\t"
            "movq %%rsi, 16(%%r11)\n\t"
            "movq %%rdx, 24(%%r11)\n\t"
            "movq %%r10, 32(%%r11)\n\t"
            "movq %%r8, 40(%%r11)\n\t"
            "movq %%r9, 48(%%r11)\n\t"
            "movq %%rbx, 56(%%r11)\n\t"
            "movq %%r12, 64(%%r11)\n\t"
            "movq %%r13, 72(%%r11)\n\t"
            "movq %%r14, 80(%%r11)\n\t"
            "movq %%r15, 88(%%r11)\n\t"
            "movq %%rbp, 96(%%r11)\n\t"
            "movq -64(%%rsp), %%rax\n\t"
            "movq %%rax, 112(%%r11)\n\t"
            "movq -128(%%rsp), %%rax\n\t"
            "movq %%rax, 120(%%r11)\n\t"
            "movq 224(%%rsp), %%rax\n\t"
            "movq %%rax, 128(%%r11)\n\t"
            "movq %%rcx, 136(%%r11)\n\t"
            "leaq 3b(%%rip), %%rax\n\t"
            "movq %%rax, 144(%%r11)\n\t"
            "fstpl 152(%%r11)\n\t"
            "movq 240(%%rsp), %%r11\n\t"
            "cmpl $0, 232(%%rsp)\n\t"
            "je 4f\n\t"
#define STOREY(i) "vmovdqu %%ymm" #i ", " #i "*32(%%r11)\n\t"
            STOREY(0) STOREY(1) STOREY(2) STOREY(3) STOREY(4) STOREY(5) STOREY(6) STOREY(7)
            STOREY(8) STOREY(9) STOREY(10) STOREY(11) STOREY(12) STOREY(13) STOREY(14) STOREY(15)
            "vzeroupper\n\t"
            "jmp 5f\n"
            "4:\n\t"
#define STOREX(i) "movdqu %%xmm" #i ", " #i "*32(%%r11)\n\t"
            STOREX(0) STOREX(1) STOREX(2) STOREX(3) STOREX(4) STOREX(5) STOREX(6) STOREX(7)
            STOREX(8) STOREX(9) STOREX(10) STOREX(11) STOREX(12) STOREX(13) STOREX(14) STOREX(15)
            "5:\n\t"
            "addq $256, %%rsp\n\t"
            "popq %%rbp\n\t"
            : [out] "+a"(out_at), [got] "+D"(got_at), [vec] "+S"(vec_at), [avx] "+d"(avx_flag),
              [fd] "+c"(fd)
            :
            : "rbx", "r8", "r9", "r10", "r11", "r12", "r13",
              "r14", "r15", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
              "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
        CHECK(out[0] == 1);
        CHECK(out[1] == (uint64_t)r.fd && out[2] == 1 && out[3] == 1 && out[4] == 1);
        CHECK(out[5] == 0 && out[6] == 8);
        CHECK(out[7] == 0x1b && out[8] == 0x1c && out[9] == 0x1d && out[10] == 0x1e);
        CHECK(out[11] == 0x1f && out[12] == 0x20);
        CHECK(out[14] == 0x2222 && out[15] == 0x3333);
        CHECK(out[16] & 1);
        CHECK(out[17] == out[18]);
        double one;
        memcpy(&one, &out[19], 8);
        CHECK(one == 1.0);
        for (int i = 0; i < 16; i++)
            CHECK(!memcmp(got[i], vec[i], avx ? 32 : 16));
        struct io_uring_cqe c;
        CHECK(reap(&r, &c) && c.res == 0);
    }
#endif
}

/* argv[2]: a program that asks for a ring by an inline call and was not given the library. */
static void case_children(char **argv) {
    use_a_ring();
    int answered = 0;
    for (int i = 0; i < 300; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            char *env[] = {0};
            char *args[] = {argv[2], "host", 0};
            execve(argv[2], args, env);
            _exit(99);
        }
        int status;
        CHECK(waitpid(pid, &status, 0) == pid);
        answered += WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    printf("%d\n", answered);
}

/* The host's own answer to setup with a null pointer: EFAULT, or EPERM/ENOSYS where it refuses. */
static void case_host(char **argv) {
    (void)argv;
    long ret = setup(8, 0);
    CHECK(ret == -EFAULT || ret == -EPERM || ret == -ENOSYS);
}

static void case_blocked(char **argv) {
    (void)argv;
    sigset_t all, now;
    sigfillset(&all);
    CHECK(sigprocmask(SIG_SETMASK, &all, &now) == 0);
    CHECK(!sigismember(&now, SIGSYS));
    CHECK(sigprocmask(SIG_SETMASK, 0, &now) == 0);
    CHECK(sigismember(&now, SIGSYS) && sigismember(&now, SIGSEGV) && sigismember(&now, SIGUSR1));
    use_a_ring();
    CHECK(pthread_sigmask(SIG_UNBLOCK, &all, &now) == 0 && sigismember(&now, SIGBUS));
    CHECK(pthread_sigmask(SIG_BLOCK, 0, &now) == 0 && !sigismember(&now, SIGBUS));
    unsigned long raw = ~0ul;
    CHECK(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &raw, 0, 8) == 0);
    raw = 0;
    CHECK(syscall(SYS_rt_sigprocmask, SIG_BLOCK, 0, &raw, 8) == 0);
    CHECK(raw >> (SIGSYS - 1) & 1);
    use_a_ring();
}

static volatile sig_atomic_t handled;
static struct ring outer;

static void uses_a_ring_in_a_handler(int sig) {
    (void)sig;
    use_a_ring();
    handled++;
}

/* A handler whose mask holds everything makes inline calls. */
static void case_handler_mask(char **argv) {
    (void)argv;
    struct sigaction a = {.sa_handler = uses_a_ring_in_a_handler}, b;
    sigfillset(&a.sa_mask);
    CHECK(sigaction(SIGUSR1, &a, 0) == 0 && sigaction(SIGUSR1, 0, &b) == 0);
    CHECK(sigismember(&b.sa_mask, SIGSYS) && sigismember(&b.sa_mask, SIGUSR2));
    CHECK(b.sa_handler == uses_a_ring_in_a_handler);
    raise(SIGUSR1);
    CHECK(handled == 1);
    sigset_t all;
    sigfillset(&all);
    sigdelset(&all, SIGUSR2);
    a.sa_handler = uses_a_ring_in_a_handler;
    CHECK(sigaction(SIGUSR2, &a, 0) == 0);
    sigset_t usr2;
    sigemptyset(&usr2);
    sigaddset(&usr2, SIGUSR2);
    sigprocmask(SIG_BLOCK, &usr2, 0);
    raise(SIGUSR2);
    CHECK(sigsuspend(&all) == -1 && errno == EINTR && handled == 2);
    raise(SIGUSR2);
    CHECK(ppoll(0, 0, 0, &all) == -1 && errno == EINTR && handled == 3);
    raise(SIGUSR2);
    CHECK(pselect(0, 0, 0, 0, 0, &all) == -1 && errno == EINTR && handled == 4);
    raise(SIGUSR2);
    struct epoll_event e;
    int ep = epoll_create1(0);
    CHECK(epoll_pwait(ep, &e, 1, -1, &all) == -1 && errno == EINTR && handled == 5);
}

static void count(int sig) {
    (void)sig;
    handled++;
}

static void count_info(int sig, siginfo_t *info, void *context) {
    CHECK(sig == SIGSYS && info->si_code == SI_TKILL && context);
    handled++;
}

/* The program's own SIGSYS handler gets what is not ours, and ours still works. */
static void case_own_sigsys(char **argv) {
    (void)argv;
    struct sigaction a = {.sa_sigaction = count_info, .sa_flags = SA_SIGINFO}, b;
    CHECK(sigaction(SIGSYS, &a, 0) == 0);
    use_a_ring();
    CHECK(raise(SIGSYS) == 0 && handled == 1);
    CHECK(sigaction(SIGSYS, 0, &b) == 0 && b.sa_sigaction == count_info);
    CHECK(signal(SIGSYS, SIG_IGN) == (void *)count_info);
    raise(SIGSYS);
    use_a_ring();
    CHECK(handled == 1);
    CHECK(signal(SIGSYS, count) == SIG_IGN);
    raise(SIGSYS);
    CHECK(handled == 2);
    use_a_ring();
}

#ifdef INLINE
static void answers_77(int sig, siginfo_t *info, void *context) {
    CHECK(sig == SIGSYS && info->si_code == 1 && info->si_errno == 9);
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RAX] = 77;
    handled++;
}

/* A sandbox inside the program: its own filter traps getppid and mmap of descriptor 99. */
static void case_own_filter(char **argv) {
    (void)argv;
    struct sigaction a = {.sa_sigaction = answers_77, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGSYS, &a, 0) == 0);
    struct sock_filter f[] = {
        {0x20, 0, 0, 0},             /* nr */
        {0x15, 3, 0, SYS_getppid},   /* getppid: trap */
        {0x15, 0, 3, SYS_mmap},      /* not mmap: allow */
        {0x20, 0, 0, 16 + 8 * 4},    /* the descriptor */
        {0x15, 0, 1, 99},            /* not 99: allow */
        {0x06, 0, 0, 0x00030000 | 9},
        {0x06, 0, 0, 0x7fff0000},
    };
    struct sock_fprog p = {sizeof f / sizeof *f, f};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &p) == 0);
    use_a_ring();
    CHECK(handled == 0);
    CHECK(inline_call(SYS_getppid, 0, 0, 0, 0, 0, 0) == 77 && handled == 1);
    CHECK(inline_call(SYS_mmap, 0, 4096, PROT_READ, MAP_SHARED, 99, 0) == 77 && handled == 2);
    use_a_ring();
    CHECK(handled == 2);
}
#endif

/* On an alternate stack, and with a small one armed. */
static void case_altstack(char **argv) {
    (void)argv;
    static char stack[64 * 1024];
    stack_t s = {.ss_sp = stack, .ss_size = sizeof stack};
    CHECK(sigaltstack(&s, 0) == 0);
    use_a_ring();
    struct sigaction a = {.sa_handler = uses_a_ring_in_a_handler, .sa_flags = SA_ONSTACK};
    CHECK(sigaction(SIGUSR1, &a, 0) == 0);
    raise(SIGUSR1);
    CHECK(handled == 1);
}

static volatile long nested;

static void enters(int sig) {
    (void)sig;
    nested = enter(&outer, 0, 0);
}

/* A handler that comes in while its thread waits in enter does not hang. */
static void case_nested(char **argv) {
    (void)argv;
    CHECK(try_ring(&outer, 8) == 0);
    struct sigaction a = {.sa_handler = enters};
    CHECK(sigaction(SIGALRM, &a, 0) == 0);
    nested = 1;
    alarm(1);
    CHECK(enter(&outer, 0, 1) == -EINTR);
    CHECK(nested == 0 || nested == -EAGAIN);
    nop(&outer);
}

static int pipe_ends[2];

static void *polls_forever(void *arg) {
    struct pollfd p = {.fd = pipe_ends[0], .events = POLLIN};
    CHECK(write(pipe_ends[1] + 0 * (long)arg, "", 0) == 0);
    poll(&p, 1, -1);
    return 0;
}

static void *closes_forever(void *arg) {
    (void)arg;
    for (;;) {
        close(-1);
        fcntl(-1, F_GETFD);
    }
    return 0;
}

/* The interposed functions are cancellation points as the real ones are. */
static void case_cancel(char **argv) {
    (void)argv;
    CHECK(pipe(pipe_ends) == 0);
    void *(*bodies[])(void *) = {polls_forever, closes_forever};
    for (int i = 0; i < 2; i++) {
        pthread_t t;
        void *ret;
        CHECK(pthread_create(&t, 0, bodies[i], 0) == 0);
        CHECK(pthread_cancel(t) == 0 && pthread_join(t, &ret) == 0 && ret == PTHREAD_CANCELED);
    }
}

/* argv[2]: a shared object whose `use` makes inline calls; argv[3]: filters that were there. */
static void case_dlopen(char **argv) {
    int before = atoi(argv[3]);
    CHECK(filters() == before);
    void *so = dlopen(argv[2], RTLD_NOW);
    CHECK(so);
    CHECK(filters() == before + 1);
    void (*use)(void) = (void (*)(void))dlsym(so, "use");
    CHECK(use);
    use();
    /* Again: nothing new. */
    CHECK(dlopen(argv[2], RTLD_NOW) && filters() == before + 1);
}

/* argv[2]: an object that makes many calls, and comes and goes with what was changed in its code. */
static void case_reload(char **argv) {
    for (int i = 0; i < 3; i++) {
        void *so = dlopen(argv[2], RTLD_NOW);
        CHECK(so);
        void (*again)(void) = (void (*)(void))dlsym(so, "use_again");
        CHECK(again);
        again();
        CHECK(dlclose(so) == 0 && !dlopen(argv[2], RTLD_NOW | RTLD_NOLOAD));
    }
}

/* argv[2]: the same by a name that is searched. */
static void case_dlopen_name(char **argv) {
    void *so = dlopen(argv[2], RTLD_NOW);
    CHECK(so);
    void (*use)(void) = (void (*)(void))dlsym(so, "use");
    CHECK(use && filters() == atoi(argv[3]) + 1);
    use();
}

/* A daemon's start: everything from 3 on is closed; rings made before are gone, new ones work. */
static void case_closefrom(char **argv) {
    (void)argv;
    CHECK(try_ring(&outer, 8) == 0);
    nop(&outer);
    CHECK(close_range(3, ~0u, 0) == 0);
    CHECK(enter(&outer, 0, 0) == -EBADF);
    use_a_ring();
    closefrom(3);
    use_a_ring();
    for (int fd = 3; fd < 1024; fd++)
        close(fd);
    use_a_ring();
}

/* The child uses its maker's ring and makes its own; both go on. */
static void case_fork(char **argv) {
    (void)argv;
    CHECK(try_ring(&outer, 8) == 0);
    nop(&outer);
    pid_t pid = fork();
    if (pid == 0) {
        nop(&outer);
        use_a_ring();
        exit(0);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    nop(&outer);
    char *args[] = {"/bin/true", 0};
    CHECK(posix_spawn(&pid, args[0], 0, 0, args, 0) == 0);
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    nop(&outer);
    pid = vfork();
    if (pid == 0) {
        close(outer.fd);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    nop(&outer);
}

static void case_environment(char **argv) {
    (void)argv;
    extern char **environ;
    for (char **e = environ; *e; e++)
        puts(*e);
}

static void case_killed(char **argv) {
    (void)argv;
    use_a_ring();
    kill(getpid(), SIGKILL);
}

static void leave(int sig) {
    (void)sig;
    exit(0);
}

static void case_exit_in_handler(char **argv) {
    (void)argv;
    use_a_ring();
    signal(SIGUSR1, leave);
    raise(SIGUSR1);
}

static void case_quick_exit(char **argv) {
    (void)argv;
    use_a_ring();
    _exit(0);
}

static const struct {
    const char *name;
    void (*run)(char **);
} CASES[] = {
    {"use", case_use},
    {"filters", case_filters},
    {"registers", case_registers},
    {"children", case_children},
    {"host", case_host},
    {"blocked", case_blocked},
    {"handler-mask", case_handler_mask},
    {"own-sigsys", case_own_sigsys},
#ifdef INLINE
    {"own-filter", case_own_filter},
#endif
    {"altstack", case_altstack},
    {"nested", case_nested},
    {"cancel", case_cancel},
    {"dlopen", case_dlopen},
    {"dlopen-name", case_dlopen_name},
    {"reload", case_reload},
    {"closefrom", case_closefrom},
    {"fork", case_fork},
    {"environment", case_environment},
    {"killed", case_killed},
    {"exit-in-handler", case_exit_in_handler},
    {"quick-exit", case_quick_exit},
};

int main(int argc, char **argv) {
    for (size_t i = 0; argc > 1 && i < sizeof CASES / sizeof *CASES; i++) {
        if (!strcmp(argv[1], CASES[i].name)) {
            CASES[i].run(argv);
            return 0;
        }
    }
    fprintf(stderr, "no such case\n");
    return 2;
}
