"""python-liburing.py FOLDER: files and sockets by a liburing that a Python wheel has inside.

Each of 40 files is opened, written, synced, read, looked at, closed, renamed; then 16 clients connect and are echoed;
then a thread has a ring of its own. Prints a checksum of what was read, and the bytes echoed.
"""
import hashlib
import os
import pathlib
import socket
import sys
import threading

import liburing as u

FILES, CLIENTS, ROUNDS, ENTRIES = 40, 16, 8, 64
LINK = u.IOSQE_IO_LINK


class Ring:
    """A ring that is used by one thread."""

    def __init__(self):
        self.ring, self.cqe = u.Ring(), u.Cqe()
        u.io_uring_queue_init(ENTRIES, self.ring)

    def run(self, *requests):
        """The results, in the order of the requests: a function that fills an entry, and its arguments.

        What they point to (paths, buffers) lives as long as `requests`. One that begins with LINK holds the next one up.
        """
        for number, request in enumerate(requests):
            linked = request[0] == LINK
            prepare, *arguments = request[linked:]
            sqe = u.io_uring_get_sqe(self.ring)
            prepare(sqe, *arguments)
            sqe.user_data = number
            sqe.flags = LINK if linked else 0
        results = {}
        u.io_uring_submit_and_wait(self.ring, len(requests))
        while len(results) < len(requests):
            u.io_uring_wait_cqe(self.ring, self.cqe)
            done = self.cqe[0]
            results[done.user_data] = done.res
            u.io_uring_cqe_seen(self.ring, done)
        return [results[number] for number in range(len(requests))]

    def close(self):
        u.io_uring_queue_exit(self.ring)


def files(ring, folder, sizes):
    """The checksum of what is read of files of these sizes."""
    os.mkdir(folder)
    names = [pathlib.Path(folder, str(i)) for i in range(len(sizes))]
    content = [(b"file %d " % i * size)[:size] for i, size in enumerate(sizes)]
    fds = ring.run(*((u.io_uring_prep_open, name, os.O_RDWR | os.O_CREAT, 0o644) for name in names))
    for fd, data in zip(fds, content):
        back = bytearray(len(data))
        chain = ((LINK, u.io_uring_prep_write, fd, data, 0), (LINK, u.io_uring_prep_fsync, fd))
        assert ring.run(*chain, (u.io_uring_prep_read, fd, back, 0)) == [len(data), 0, len(data)]
        assert back == data
    seen = [u.Statx() for _ in names]
    ring.run(*((u.io_uring_prep_statx, statx, name) for statx, name in zip(seen, names)))
    assert [statx.size for statx in seen] == sizes
    assert not any(ring.run(*((u.io_uring_prep_close, fd) for fd in fds)))
    assert not any(ring.run(*((u.io_uring_prep_rename, name, name.with_suffix(".new")) for name in names)))
    whole = b"".join(name.with_suffix(".new").read_bytes() for name in names)
    assert whole == b"".join(content)
    return hashlib.sha256(whole).hexdigest()


def split(results):
    """Of the first CLIENTS requests, and of the rest."""
    return results[:CLIENTS], results[CLIENTS:]


def echoes(ring, path):
    """Bytes that came back; every client's receive waits before anything is sent."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(CLIENTS)
    clients = [socket.socket(socket.AF_UNIX) for _ in range(CLIENTS)]
    address = u.Sockaddr(u.AF_UNIX, path)
    accepts = [(u.io_uring_prep_accept, listener.fileno())] * CLIENTS
    connects = ((u.io_uring_prep_connect, c.fileno(), address) for c in clients)
    served, connected = split(ring.run(*accepts, *connects))
    assert not any(connected), connected
    total = 0
    for turn in range(ROUNDS):
        data = [b"%d in turn %d" % (i, turn) for i in range(CLIENTS)]
        there, back = ([bytearray(64) for _ in clients] for _ in range(2))
        receives = ((u.io_uring_prep_recv, fd, buffer) for fd, buffer in zip(served, there))
        sends = ((u.io_uring_prep_send, c.fileno(), d) for c, d in zip(clients, data))
        got, sent = split(ring.run(*receives, *sends))
        assert sent == [len(d) for d in data] and sum(got) == sum(sent), (got, sent)
        receives = ((u.io_uring_prep_recv, c.fileno(), buffer) for c, buffer in zip(clients, back))
        sends = ((u.io_uring_prep_send, fd, bytes(buffer[:n])) for fd, buffer, n in zip(served, there, got))
        got, _ = split(ring.run(*receives, *sends))
        assert [bytes(buffer[:n]) for buffer, n in zip(back, got)] == data
        total += sum(got)
    return total


def thread(folder, answer):
    ring = Ring()
    answer.append(files(ring, folder, [1 + i * 7919 for i in range(12)]))
    ring.close()


def main():
    folder = sys.argv[1]
    ring, answer = Ring(), []
    other = threading.Thread(target=thread, args=(f"{folder}/thread", answer))
    other.start()
    digest = files(ring, f"{folder}/files", [1 + i * 331 for i in range(FILES)])
    total = echoes(ring, f"{folder}/socket")
    other.join()
    ring.close()
    version = f"{u.liburing_version_major()}.{u.liburing_version_minor()}"
    print(f"files {digest[:24]} {answer[0][:24]}, echoed {total}, liburing {version}")


main()
