/* Inline calls that trap again and again, at sites of many shapes. Run under the library. */
#define INLINE
#include "ring.h"

#define AGAIN 1000
#define THREADS 4
#define SITES 40
#define ROUNDS 200

static void again(struct ring *r) {
    for (int i = 0; i < AGAIN; i++)
        nop(r);
}

static void case_again(void) {
    struct ring r;
    CHECK(try_ring(&r, 8) == 0);
    again(&r);
}

static void case_forked(void) {
    struct ring r;
    CHECK(try_ring(&r, 8) == 0);
    again(&r);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct ring own;
        CHECK(try_ring(&own, 8) == 0);
        again(&own);
        exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    again(&r);
}

/* PR_SET_MDWE: what was writable never becomes executable. */
static void case_refused(void) {
    CHECK(prctl(65, 1, 0, 0, 0) == 0);
    case_again();
}

/* A naked function has its arguments in registers only. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* One submission by the site itself; answers what the call answers. */
typedef long site(long fd, long submit, long c);

#define ARGUMENTS \
    "xorl %edx, %edx\n\t" \
    "xorl %r10d, %r10d\n\t" \
    "xorl %r8d, %r8d\n\t" \
    "movl $8, %r9d\n\t"

#define SITE(n) \
    __attribute__((naked, noinline)) static long site_##n(long fd, long submit, long c) { \
        __asm__(ARGUMENTS "movl $426, %eax\n\tsyscall\n\tret"); \
    }
#define FOUR(n) SITE(n##0) SITE(n##1) SITE(n##2) SITE(n##3)
FOUR(0) FOUR(1) FOUR(2) FOUR(3) FOUR(4) FOUR(5) FOUR(6) FOUR(7) FOUR(8) FOUR(9)
#define NAMES(n) site_##n##0, site_##n##1, site_##n##2, site_##n##3
static site *const sites[SITES] = {NAMES(0), NAMES(1), NAMES(2), NAMES(3), NAMES(4),
                                   NAMES(5), NAMES(6), NAMES(7), NAMES(8), NAMES(9)};

static void call_by(site *f, struct ring *r, long c, long want) {
    struct io_uring_cqe cqe;
    sqe(r, IORING_OP_NOP)->user_data = 9;
    CHECK(f(r->fd, 1, c) == want);
    CHECK(reap(r, &cqe) && cqe.user_data == 9 && cqe.res == 0);
}

static pthread_barrier_t together;

static void *hammer(void *arg) {
    struct ring r;
    CHECK(try_ring(&r, 8) == 0);
    for (int s = 0; s < SITES; s++) {
        pthread_barrier_wait(&together);
        for (int i = 0; i < ROUNDS; i++)
            call_by(sites[s], &r, 0, 1);
    }
    return arg;
}

/* Every site is patched while all threads run through it. */
static void case_hammered(void) {
    pthread_t threads[THREADS];
    CHECK(pthread_barrier_init(&together, NULL, THREADS) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, hammer, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

/* The jump takes the place of the second movl; what follows it depends on flags from before it. */
__attribute__((naked, noinline)) static long flags_and_number(long fd, long submit, long other) {
    __asm__("movl %edx, %ecx\n\t" ARGUMENTS
            "cmpl $0, %ecx\n\t"
            "movl $426, %eax\n\t"
            "cmovne %ecx, %eax\n\t"
            "syscall\n\tret");
}

__attribute__((used)) static long number = 426;

/* The number is at a distance from the instruction pointer. */
__attribute__((naked, noinline)) static long by_distance(long fd, long submit, long c) {
    __asm__(ARGUMENTS "movl number(%rip), %eax\n\tsyscall\n\tret");
}

/* Half of the calls come to the middle of what a stub would run. */
__attribute__((naked, noinline)) static long two_ways(long fd, long submit, long way) {
    __asm__("movl %edx, %ecx\n\t" ARGUMENTS
            "movl $426, %eax\n\t"
            "testl %ecx, %ecx\n\t"
            "jnz 1f\n\t"
            "movl $1, %esi\n"
            "1:\n\t"
            "andl $1, %esi\n\t"
            "syscall\n\tret");
}

/* Nothing is long enough to become a jump. */
__attribute__((naked, noinline)) static long too_short(long fd, long submit, long nr) {
    __asm__("movl %edx, %eax\n\t"
            "xorl %edx, %edx\n\t"
            "xorl %r10d, %r10d\n\t"
            "xorl %r8d, %r8d\n\t"
            "xorl %r9d, %r9d\n\t"
            "syscall\n\tret");
}

static void case_shapes(void) {
    struct ring r;
    CHECK(try_ring(&r, 8) == 0);
    for (int i = 0; i < 200; i++) {
        call_by(flags_and_number, &r, 0, 1);
        CHECK(flags_and_number(r.fd, 0, SYS_getpid) == getpid());
        call_by(by_distance, &r, 0, 1);
        call_by(two_ways, &r, i & 1, 1);
        call_by(too_short, &r, 426, 1);
    }
}

#define ASKS(name, before, after) \
    __attribute__((naked, noinline)) static long name(long fd, long submit, long c) { \
        __asm__(ARGUMENTS before "movl $426, %eax\n\tsyscall\n\t" after "ret"); \
    }

/* Each answers 1 if what the call left in the flags, or in r11, is what it found. */
ASKS(asks_carry, "stc\n\t", "jc 1f\n\txorl %eax, %eax\n1:\t")
ASKS(asks_overflow, "movl $-128, %ecx\n\tnegb %cl\n\t", "seto %al\n\tmovzbl %al, %eax\n\t")
ASKS(asks_elsewhere, "stc\n\t", "jmp 2f\n1:\tret\n2:\tjc 1b\n\txorl %eax, %eax\n\t")
ASKS(asks_r11, "stc\n\t", "testl %eax, %eax\n\tmovl %r11d, %eax\n\tandl $1, %eax\n\t")
ASKS(asks_direction, "std\n\t",
     "testl %eax, %eax\n\tleaq -8(%rsp), %rsi\n\tlodsb\n\tcld\n\t"
     "leaq -8(%rsp), %rax\n\tsubq %rsi, %rax\n\t")
/* These do not ask. */
ASKS(returns, "stc\n\t", "")
ASKS(tests, "stc\n\t", "testl %eax, %eax\n\tjs 1f\n\tret\n1:\tsbbl %eax, %eax\n\t")
ASKS(overwrites_r11, "stc\n\t", "movq %rsi, %rcx\n\tmovl $5, %r11d\n\tcmpl $5, %r11d\n\t"
                                "je 1f\n\txorl %eax, %eax\n1:\t")

/* The same, and what all registers and the red zone held after it. */
__attribute__((used)) static uint64_t had[16][2], general[16];
__attribute__((used)) static uint64_t vectors[16][2];
#define LOAD(i) "movups vectors+16*" #i "(%rip), %xmm" #i "\n\t"
#define STORE(i) "movups %xmm" #i ", had+16*" #i "(%rip)\n\t"
#define ALL(do) \
    do(0) do(1) do(2) do(3) do(4) do(5) do(6) do(7) \
    do(8) do(9) do(10) do(11) do(12) do(13) do(14) do(15)
#define KEEP(reg, i) "movq " reg ", general+8*" #i "(%rip)\n\t"
ASKS(shows_all,
     "pushq %rbx\n\tpushq %rbp\n\tpushq %r12\n\tpushq %r13\n\tpushq %r14\n\tpushq %r15\n\t"
     "movl $6, %ebx\n\tmovl $7, %ebp\n\tmovl $8, %r12d\n\tmovl $9, %r13d\n\t"
     "movl $10, %r14d\n\tmovl $11, %r15d\n\t"
     "movq $12, -8(%rsp)\n\tmovq $13, -64(%rsp)\n\tmovq $14, -128(%rsp)\n\t" ALL(LOAD),
     "1:\t" KEEP("%rdi", 0) KEEP("%rsi", 1) KEEP("%rdx", 2) KEEP("%r10", 3) KEEP("%r8", 4)
     KEEP("%r9", 5) KEEP("%rbx", 6) KEEP("%rbp", 7) KEEP("%r12", 8) KEEP("%r13", 9)
     KEEP("%r14", 10) KEEP("%r15", 11)
     "movq -8(%rsp), %rdx\n\t" KEEP("%rdx", 12) "movq -64(%rsp), %rdx\n\t" KEEP("%rdx", 13)
     "movq -128(%rsp), %rdx\n\t" KEEP("%rdx", 14)
     "leaq 1b(%rip), %rdx\n\tsubq %rcx, %rdx\n\t" KEEP("%rdx", 15) ALL(STORE)
     "popq %r15\n\tpopq %r14\n\tpopq %r13\n\tpopq %r12\n\tpopq %rbp\n\tpopq %rbx\n\t")

static void check_all(struct ring *r) {
    const uint64_t want[16] = {r->fd, 1, 0, 0, 0, 8, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0};
    memset(had, 0, sizeof had);
    memset(general, 0xff, sizeof general);
    call_by(shows_all, r, 0, 1);
    CHECK(!memcmp(general, want, sizeof want));
    CHECK(!memcmp(had, vectors, sizeof had));
}

/* Where the stub of a patched site goes on. */
static uint64_t trampoline_of(site *f) {
    const unsigned char *code = (const unsigned char *)f;
    int32_t by;
    uint64_t to;
    while (*code != 0xe9)
        code++;
    memcpy(&by, code + 1, 4);
    for (code += 5 + by; memcmp(code, "\xff\x25\0\0\0", 6); code++)
        ;
    memcpy(&to, code + 6, 8);
    return to;
}

static void case_flags(void) {
    static site *const ask[] = {asks_carry, asks_overflow, asks_elsewhere, asks_r11,
                                asks_direction};
    static site *const not[] = {returns, tests, overwrites_r11, shows_all};
    struct ring r;
    CHECK(try_ring(&r, 8) == 0);
    for (int i = 0; i < 32; i++)
        vectors[i / 2][i % 2] = 0x0101010101010101ull * (i + 1);
    for (int i = 0; i < 200; i++) {
        for (int k = 0; k < 5; k++)
            call_by(ask[k], &r, 0, 1);
        for (int k = 0; k < 3; k++)
            call_by(not[k], &r, 0, 1);
        check_all(&r);
    }
    for (int k = 0; k < 5; k++)
        CHECK(trampoline_of(ask[k]) == trampoline_of(ask[0]));
    for (int k = 0; k < 4; k++)
        CHECK(trampoline_of(not[k]) == trampoline_of(not[0]));
    CHECK(trampoline_of(ask[0]) != trampoline_of(not[0]));
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(void);
    } cases[] = {
        {"again", case_again},       {"forked", case_forked}, {"refused", case_refused},
        {"hammered", case_hammered}, {"shapes", case_shapes},
        {"flags", case_flags},
    };
    for (size_t i = 0; argc > 1 && i < sizeof cases / sizeof *cases; i++) {
        if (!strcmp(argv[1], cases[i].name)) {
            cases[i].run();
            return 0;
        }
    }
    fprintf(stderr, "no such case\n");
    return 2;
}
