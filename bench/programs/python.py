"""python: the interpreter runs programs that make objects, each object a block of malloc.

Models: programs of the kind of pyperformance that allocate: records to and from JSON and pickle,
words of a text counted and sorted, a tree of objects with methods and closures, a breadth-first
search, a small interpreter of tuples, and a cyclic graph that the collector has to take apart
(data/work.py); 7 rounds of all at scale 1. Nothing that only computes: no n-body, no big numbers.

PYTHONMALLOC=malloc makes Python ask malloc for each object. By default it has its own pools for
objects of up to 512 bytes, and the allocator would hardly be seen. The output, checksums of each
part, must be that under the C library's malloc.
"""
from programs import support

PACKAGES = ["python3"]
ROUNDS = 7
ENVIRONMENT = {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}


def available():
    return support.absent(PACKAGES, "python3")


def prepare(work, scale, seed):
    support.keep_seed(work, seed)


def run(launcher, work, threads, scale):
    rounds = support.scaled(ROUNDS, scale)
    share = min(1, scale * ROUNDS)  # of a round, below one
    script = support.DATA / "work.py"
    seed = support.kept_seed(work)
    argv = [support.command("python3"), "-s", script, seed, rounds, share]
    argv = [str(word) for word in argv]
    return support.run_and_compare(launcher, work, argv, env=ENVIRONMENT)
