/* A small io_uring client that makes its calls by the `syscall` instruction (INLINE) or by libc. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef __GLIBC__
/* musl has no wrappers for these. */
#define close_range(first, last, flags) syscall(436, first, last, flags)
#define closefrom(first) syscall(436, first, ~0u, 0)
#endif

#define CHECK(what) \
    do { \
        if (!(what)) { \
            fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #what, errno); \
            exit(1); \
        } \
    } while (0)

__attribute__((unused)) static long inline_call(long nr, long a, long b, long c, long d, long e, long f) {
    long ret;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}

#ifdef INLINE
#define call inline_call
#else
static long call(long nr, long a, long b, long c, long d, long e, long f) {
    long ret = syscall(nr, a, b, c, d, e, f);
    return ret < 0 ? -errno : ret;
}
#endif

static long setup(unsigned entries, struct io_uring_params *p) {
#ifdef INLINE
    /* The number where a scan can see it. */
    long ret;
    __asm__ volatile("movl $425, %%eax\n\tsyscall"
                     : "=a"(ret)
                     : "D"((long)entries), "S"(p)
                     : "rcx", "r11", "memory");
    return ret;
#else
    return call(425, entries, (long)p, 0, 0, 0, 0);
#endif
}

struct ring {
    int fd;
    struct io_uring_params p;
    char *rings;
    struct io_uring_sqe *sqes;
};

#define WORD(r, off) ((unsigned *)((r)->rings + (off)))

static void *map(size_t len, int fd, long off) {
#ifdef INLINE
    return (void *)inline_call(SYS_mmap, 0, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                               fd, off);
#else
    return mmap(0, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, off);
#endif
}

static int try_ring(struct ring *r, unsigned entries) {
    memset(r, 0, sizeof *r);
    r->fd = setup(entries, &r->p);
    if (r->fd < 0)
        return r->fd;
    r->rings = map(r->p.sq_off.array + 4 * r->p.sq_entries, r->fd, IORING_OFF_SQ_RING);
    r->sqes = map(64 * r->p.sq_entries, r->fd, IORING_OFF_SQES);
    CHECK((long)r->rings > 0 && (long)r->sqes > 0);
    return 0;
}

static struct io_uring_sqe *sqe(struct ring *r, int op) {
    unsigned tail = *WORD(r, r->p.sq_off.tail), at = tail & *WORD(r, r->p.sq_off.ring_mask);
    memset(&r->sqes[at], 0, 64);
    r->sqes[at].opcode = op;
    WORD(r, r->p.sq_off.array)[at] = at;
    __atomic_store_n(WORD(r, r->p.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
    return &r->sqes[at];
}

static long enter(struct ring *r, unsigned submit, unsigned wait) {
    return call(426, r->fd, submit, wait, wait ? IORING_ENTER_GETEVENTS : 0, 0, 8);
}

static int reap(struct ring *r, struct io_uring_cqe *out) {
    unsigned head = *WORD(r, r->p.cq_off.head);
    if (head == __atomic_load_n(WORD(r, r->p.cq_off.tail), __ATOMIC_ACQUIRE))
        return 0;
    struct io_uring_cqe *cqes = (void *)(r->rings + r->p.cq_off.cqes);
    *out = cqes[head & *WORD(r, r->p.cq_off.ring_mask)];
    __atomic_store_n(WORD(r, r->p.cq_off.head), head + 1, __ATOMIC_RELEASE);
    return 1;
}

/* One NOP, there and back. */
__attribute__((unused)) static void nop(struct ring *r) {
    struct io_uring_cqe c;
    sqe(r, IORING_OP_NOP)->user_data = 7;
    long n = enter(r, 1, 1);
    if (n != 1)
        fprintf(stderr, "enter answered %ld\n", n);
    CHECK(n == 1 && reap(r, &c) && c.user_data == 7 && c.res == 0);
}

__attribute__((unused)) static void use_a_ring(void) {
    struct ring r;
    CHECK(try_ring(&r, 8) == 0);
    nop(&r);
    int fd = open("/proc/self/exe", O_RDONLY);
    char magic[4];
    struct io_uring_sqe *s = sqe(&r, IORING_OP_READ);
    s->fd = fd, s->addr = (long)magic, s->len = 4;
    struct io_uring_cqe c;
    CHECK(enter(&r, 1, 1) == 1 && reap(&r, &c) && c.res == 4 && !memcmp(magic, "\177ELF", 4));
    close(fd);
    close(r.fd);
}

/* Filters that this process carries, from /proc/self/status. */
__attribute__((unused)) static int filters(void) {
    char line[256];
    int n = -1;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        sscanf(line, "Seccomp_filters: %d", &n);
    fclose(f);
    return n;
}
