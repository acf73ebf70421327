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

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(void);
    } cases[] = {
        {"again", case_again},       {"forked", case_forked}, {"refused", case_refused},
        {"hammered", case_hammered}, {"shapes", case_shapes},
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
