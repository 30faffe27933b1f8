"""python3: threads, processes by fork and by spawn, ctypes, and blocks that change threads."""
import ctypes
import hashlib
import json
import multiprocessing
import queue
import random
import threading
import zlib


def digest(seed):
    """Grows and shrinks objects of all sizes; returns a checksum of what they hold."""
    source = random.Random(seed)
    table, checksum = {}, hashlib.sha256()
    for step in range(4000):
        key = f"key-{source.randrange(1500)}"
        if key in table and source.random() < 0.4:
            checksum.update(repr(table.pop(key)).encode())
        else:
            table[key] = [source.random() for _ in range(source.randrange(40))] + [
                "x" * (step % 97)
            ]
    text = json.dumps(table, sort_keys=True)
    packed = zlib.compress(text.encode(), 6)
    assert json.loads(zlib.decompress(packed)) == table
    checksum.update(packed)
    return checksum.hexdigest()


def worker(inbox, outbox):
    while (seed := inbox.get()) is not None:
        outbox.put((seed, digest(seed), bytearray(seed * 1000 % 70000)))


def with_threads():
    inbox, outbox = queue.Queue(), queue.Queue()
    threads = [threading.Thread(target=worker, args=(inbox, outbox)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for seed in range(12):
        inbox.put(seed)
    results = sorted((outbox.get() for _ in range(12)), key=lambda result: result[0])
    for _ in threads:
        inbox.put(None)
    for thread in threads:
        thread.join()
    return [(seed, text, len(block)) for seed, text, block in results]


def with_short_threads():
    """Many threads that end while what they allocated lives on."""
    found = [None] * 300

    def fill(index):
        found[index] = [str(number) * 3 for number in range(index)]

    for start in range(0, 300, 20):
        threads = [
            threading.Thread(target=fill, args=(index,)) for index in range(start, start + 20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return sum(len(text) for texts in found for text in texts)


def with_processes(method):
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        results = pool.map(digest, range(4))
        pool.close()
        pool.join()
    return results


def with_ctypes():
    """malloc and its kin through the C library's handle: they must be the program's."""
    libc = ctypes.CDLL(None)
    for name in ("malloc", "calloc", "realloc", "strdup", "aligned_alloc"):
        getattr(libc, name).restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    libc.realloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    block = libc.realloc(libc.malloc(100), 100000)
    ctypes.memset(block, 7, 100000)
    copy = libc.strdup(b"a copy by the C library")
    text = ctypes.string_at(copy).decode()
    zeros = libc.calloc(1000, 100)
    aligned = libc.aligned_alloc(4096, 8192)
    result = (
        ctypes.string_at(block, 100000).count(7),
        text,
        any(ctypes.string_at(zeros, 100000)),
        aligned % 4096,
    )
    for pointer in (block, copy, zeros, aligned):
        libc.free(pointer)
    return result


if __name__ == "__main__":
    print(with_threads())
    print(with_short_threads())
    print("fork", with_processes("fork"))
    print("spawn", with_processes("spawn"))
    print(with_ctypes())
