/* musl-uring.c: io_uring without liburing and without glibc, each part once by syscall(2) and once by an
 * instruction of its own.
 *
 *   musl-uring FOLDER          every part; prints "musl: 8 parts, twice"
 *   musl-uring FOLDER KIND     what the first one starts: the file alone
 *
 * Exit code 1 and a line on stderr where something is not as it must be. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCKS 64
#define BLOCK 4096

extern char **environ;
static const char *folder, *self;
static int inline_calls;

#define must(what) \
	do { \
		if (!(what)) { \
			fprintf(stderr, "%s:%d: %s (%s)\n", __func__, __LINE__, #what, strerror(errno)); \
			exit(1); \
		} \
	} while (0)

static long instruction(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long answer;

	__asm__ volatile("syscall"
			 : "=a"(answer)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return answer;
}

/* Of either kind; a negative errno as the kernel has it. */
static long call(long nr, long a, long b, long c, long d, long e, long f)
{
	if (inline_calls)
		return instruction(nr, a, b, c, d, e, f);
	long answer = syscall(nr, a, b, c, d, e, f);
	return answer < 0 ? -errno : answer;
}

struct ring {
	int fd;
	char *rings;
	size_t len;
	struct io_uring_params p;
	struct io_uring_sqe *sqes;
	unsigned queued;
};

static atomic_uint *at(struct ring *r, unsigned offset)
{
	return (atomic_uint *)(r->rings + offset);
}

static void make(struct ring *r, unsigned entries)
{
	memset(r, 0, sizeof *r);
	long fd = call(__NR_io_uring_setup, entries, (long)&r->p, 0, 0, 0, 0);
	must(fd >= 0);
	r->fd = fd;
	must(r->p.features & IORING_FEAT_SINGLE_MMAP);
	size_t sq = r->p.sq_off.array + r->p.sq_entries * sizeof(unsigned);
	size_t cq = r->p.cq_off.cqes + r->p.cq_entries * sizeof(struct io_uring_cqe);
	r->len = sq > cq ? sq : cq;
	int protection = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_POPULATE;
	r->rings = mmap(0, r->len, protection, flags, r->fd, IORING_OFF_SQ_RING);
	must(r->rings != MAP_FAILED);
	r->sqes = mmap(0, r->p.sq_entries * sizeof *r->sqes, protection, flags, r->fd, IORING_OFF_SQES);
	must(r->sqes != MAP_FAILED);
}

static void drop(struct ring *r)
{
	must(munmap(r->sqes, r->p.sq_entries * sizeof *r->sqes) == 0);
	must(munmap(r->rings, r->len) == 0);
	must(close(r->fd) == 0);
}

static struct io_uring_sqe *queue(struct ring *r, int op, int fd, void *buffer, unsigned len, long offset, long data)
{
	unsigned tail = *at(r, r->p.sq_off.tail), i = tail & (r->p.sq_entries - 1);
	struct io_uring_sqe *sqe = &r->sqes[i];

	memset(sqe, 0, sizeof *sqe);
	sqe->opcode = op;
	sqe->fd = fd;
	sqe->addr = (unsigned long)buffer;
	sqe->len = len;
	sqe->off = offset;
	sqe->user_data = data;
	((unsigned *)(r->rings + r->p.sq_off.array))[i] = i;
	atomic_store_explicit(at(r, r->p.sq_off.tail), tail + 1, memory_order_release);
	r->queued++;
	return sqe;
}

static void enter(struct ring *r, unsigned wait)
{
	unsigned n = r->queued;

	r->queued = 0;
	long answer;
	do
		answer = call(__NR_io_uring_enter, r->fd, n, wait, wait ? IORING_ENTER_GETEVENTS : 0, 0, 0);
	while (answer == -EINTR);
	must(answer == n);
}

/* The next completion: its data and, in RES, its result. */
static long reap(struct ring *r, int *res)
{
	unsigned head = *at(r, r->p.cq_off.head);

	while (atomic_load_explicit(at(r, r->p.cq_off.tail), memory_order_acquire) == head)
		must(call(__NR_io_uring_enter, r->fd, 0, 1, IORING_ENTER_GETEVENTS, 0, 0) == 0);
	struct io_uring_cqe *cqe = (struct io_uring_cqe *)(r->rings + r->p.cq_off.cqes) + (head & (r->p.cq_entries - 1));
	long data = cqe->user_data;
	*res = cqe->res;
	atomic_store_explicit(at(r, r->p.cq_off.head), head + 1, memory_order_release);
	return data;
}

static int file_named(const char *name, int flags)
{
	char path[4096];

	snprintf(path, sizeof path, "%s/%s", folder, name);
	int fd = open(path, flags | O_CLOEXEC, 0644);
	must(fd >= 0);
	return fd;
}

/* All blocks at once, in order, synced last; then read, all at once and from the end. */
static void file(void)
{
	struct ring r;
	static char out[BLOCKS][BLOCK], in[BLOCKS][BLOCK];
	int res, fd = file_named("file", O_RDWR | O_CREAT | O_TRUNC), seen = 0;

	make(&r, 2 * BLOCKS);
	for (int i = 0; i < BLOCKS; i++) {
		memset(out[i], 'A' + i, BLOCK);
		queue(&r, IORING_OP_WRITE, fd, out[i], BLOCK, (long)i * BLOCK, i)->flags = IOSQE_IO_LINK;
	}
	queue(&r, IORING_OP_FSYNC, fd, 0, 0, 0, BLOCKS);
	enter(&r, BLOCKS + 1);
	for (int i = 0; i <= BLOCKS; i++) {
		must(reap(&r, &res) == i);
		must(res == (i < BLOCKS ? BLOCK : 0));
	}
	for (int i = BLOCKS; i-- > 0;)
		queue(&r, IORING_OP_READ, fd, in[i], BLOCK, (long)i * BLOCK, i);
	enter(&r, BLOCKS);
	for (int i = 0; i < BLOCKS; i++) {
		seen += reap(&r, &res);
		must(res == BLOCK);
	}
	must(seen == BLOCKS * (BLOCKS - 1) / 2);
	must(memcmp(in, out, sizeof in) == 0);
	must(pread(fd, in, sizeof in, 0) == sizeof in);
	must(memcmp(in, out, sizeof in) == 0);
	/* What is refused is refused as by the kernel. */
	queue(&r, IORING_OP_READ, -1, in, BLOCK, 0, 1);
	enter(&r, 1);
	must(reap(&r, &res) == 1 && res == -EBADF);
	close(fd);
	drop(&r);
}

/* A receive that waits for what is sent after it; the end of the other side. */
static void sockets(void)
{
	struct ring r;
	int pair[2], res;
	char in[64] = {0};

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	make(&r, 8);
	for (int i = 0; i < 100; i++) {
		queue(&r, IORING_OP_RECV, pair[0], in, sizeof in, 0, 1);
		enter(&r, 0);
		queue(&r, IORING_OP_SEND, pair[1], &i, sizeof i, 0, 2);
		enter(&r, 2);
		/* In either order. */
		long sum = reap(&r, &res);
		must(res == sizeof i);
		sum += reap(&r, &res);
		must(sum == 3 && res == sizeof i && memcmp(in, &i, sizeof i) == 0);
	}
	queue(&r, IORING_OP_RECV, pair[0], in, sizeof in, 0, 3);
	enter(&r, 0);
	close(pair[1]);
	must(reap(&r, &res) == 3 && res == 0);
	close(pair[0]);
	drop(&r);
}

static void polls(void)
{
	struct ring r;
	int pipes[2], res;

	must(pipe2(pipes, O_CLOEXEC) == 0);
	make(&r, 8);
	queue(&r, IORING_OP_POLL_ADD, pipes[0], 0, 0, 0, 1)->poll32_events = POLLIN;
	enter(&r, 0);
	must(*at(&r, r.p.cq_off.tail) == 0);
	must(write(pipes[1], "x", 1) == 1);
	must(reap(&r, &res) == 1 && res == POLLIN);
	queue(&r, IORING_OP_POLL_ADD, pipes[1], 0, 0, 0, 2)->poll32_events = POLLIN | POLLOUT;
	enter(&r, 1);
	must(reap(&r, &res) == 2 && res == POLLOUT);
	close(pipes[0]), close(pipes[1]);
	drop(&r);
}

/* A ring is ready for poll(2) once it has a completion. */
static void ring_polled(void)
{
	struct ring r;
	int res;

	make(&r, 8);
	struct pollfd p = { .fd = r.fd, .events = POLLIN };
	must(poll(&p, 1, 0) == 0);
	queue(&r, IORING_OP_NOP, -1, 0, 0, 0, 7);
	enter(&r, 0);
	must(poll(&p, 1, 5000) == 1 && p.revents == POLLIN);
	must(reap(&r, &res) == 7 && res == 0);
	drop(&r);
}

static void ended_well(pid_t pid)
{
	int status;

	must(waitpid(pid, &status, 0) == pid);
	must(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* The child submits to the ring that it has of its parent, then to one of its own. */
static void forked(void)
{
	struct ring r;
	int res, fd = file_named("forked", O_RDWR | O_CREAT | O_TRUNC);
	char in[12] = {0};

	make(&r, 8);
	queue(&r, IORING_OP_WRITE, fd, "before", 6, 0, 1);
	enter(&r, 1);
	must(reap(&r, &res) == 1 && res == 6);
	pid_t pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		queue(&r, IORING_OP_WRITE, fd, "child ", 6, 6, 2);
		enter(&r, 1);
		must(reap(&r, &res) == 2 && res == 6);
		file();
		_exit(0);
	}
	ended_well(pid);
	queue(&r, IORING_OP_READ, fd, in, sizeof in, 0, 3);
	enter(&r, 1);
	must(reap(&r, &res) == 3 && res == sizeof in);
	must(memcmp(in, "beforechild ", sizeof in) == 0);
	close(fd);
	drop(&r);
}

static void executed(void)
{
	char *argv[] = { (char *)self, (char *)folder, inline_calls ? "instruction" : "syscall", 0 };
	pid_t pid;

	must(posix_spawn(&pid, self, 0, 0, argv, environ) == 0);
	ended_well(pid);
}

static void *waits(void *of)
{
	struct ring *r = of;
	int res;

	must(call(__NR_io_uring_enter, r->fd, 0, 1, IORING_ENTER_GETEVENTS, 0, 0) == 0);
	must(reap(r, &res) == 5);
	return (void *)(long)res;
}

/* A thread of musl's (a stack of 128 KiB) waits for what this one sends. */
static void threads(void)
{
	struct ring r;
	int pair[2];
	char in[16];
	void *res;
	pthread_t thread;

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	make(&r, 8);
	for (int i = 0; i < 20; i++) {
		queue(&r, IORING_OP_READ, pair[0], in, sizeof in, 0, 5);
		enter(&r, 0);
		must(pthread_create(&thread, 0, waits, &r) == 0);
		must(write(pair[1], "thread", 6) == 6);
		must(pthread_join(thread, &res) == 0);
		must((long)res == 6);
	}
	close(pair[0]), close(pair[1]);
	drop(&r);
}

/* Registered buffers and files. */
static void registered(void)
{
	struct ring r;
	static char buffer[2 * BLOCK];
	struct iovec { void *base; size_t len; } iovec = { buffer, sizeof buffer };
	int res, fd = file_named("registered", O_RDWR | O_CREAT | O_TRUNC);

	make(&r, 8);
	must(call(__NR_io_uring_register, r.fd, IORING_REGISTER_BUFFERS, (long)&iovec, 1, 0, 0) == 0);
	must(call(__NR_io_uring_register, r.fd, IORING_REGISTER_FILES, (long)&fd, 1, 0, 0) == 0);
	memset(buffer, '7', BLOCK);
	queue(&r, IORING_OP_WRITE_FIXED, 0, buffer, BLOCK, 0, 1)->flags = IOSQE_FIXED_FILE | IOSQE_IO_LINK;
	queue(&r, IORING_OP_READ_FIXED, 0, buffer + BLOCK, BLOCK, 0, 2)->flags = IOSQE_FIXED_FILE;
	enter(&r, 2);
	must(reap(&r, &res) == 1 && res == BLOCK);
	must(reap(&r, &res) == 2 && res == BLOCK);
	must(memcmp(buffer, buffer + BLOCK, BLOCK) == 0);
	close(fd);
	drop(&r);
}

int main(int argc, char **argv)
{
	static void (*const parts[])(void) = { file, sockets, polls, ring_polled, forked, executed, threads, registered };
	const int n = sizeof parts / sizeof *parts;

	must(argc > 1);
	self = argv[0];
	folder = argv[1];
	if (argc > 2) {
		inline_calls = strcmp(argv[2], "instruction") == 0;
		file();
		return 0;
	}
	for (inline_calls = 0; inline_calls < 2; inline_calls++)
		for (int i = 0; i < n; i++)
			parts[i]();
	printf("musl: %d parts, twice\n", n);
	return 0;
}
