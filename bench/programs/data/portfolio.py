"""Solves problems with the z3 library on several threads; bench/programs/lean.py says what for.

usage: portfolio.py LIBRARY PROBLEMS.json THREADS

A problem is worked on in three steps, which any thread may do: read, solve, free. A thread takes
what is nearest to its end and was last in the hands of another thread; what it had itself it takes
only when nothing else is left. Python's lock is not held in calls of z3, so the threads run at
once.
"""
import ctypes
import json
import sys
import threading

POINTER = ctypes.c_void_p
CALLS = {
    "Z3_mk_config": ([], POINTER),
    "Z3_del_config": ([POINTER], None),
    "Z3_mk_context": ([POINTER], POINTER),
    "Z3_del_context": ([POINTER], None),
    "Z3_mk_simple_solver": ([POINTER], POINTER),
    "Z3_solver_inc_ref": ([POINTER, POINTER], None),
    "Z3_solver_dec_ref": ([POINTER, POINTER], None),
    "Z3_solver_from_string": ([POINTER, POINTER, ctypes.c_char_p], None),
    "Z3_solver_check": ([POINTER, POINTER], ctypes.c_int),
    "Z3_solver_get_statistics": ([POINTER, POINTER], POINTER),
    "Z3_stats_to_string": ([POINTER, POINTER], ctypes.c_char_p),
}
ANSWERS = {1: "sat", -1: "unsat"}
LIVE_EXTRA = 4  # problems that are read and not yet freed, beside one for each thread


def load(name):
    library = ctypes.CDLL(name)
    for call, (arguments, result) in CALLS.items():
        function = getattr(library, call)
        function.argtypes, function.restype = arguments, result
    return library


class Problem:
    """A problem in its own context; each step is done by one thread at a time."""

    def __init__(self, z3, text, answer):
        self.z3, self.text, self.answer = z3, text.encode(), answer
        self.context = self.solver = None
        self.is_right, self.steps = False, 0
        self.rest = [self.free, self.solve, self.read]
        self.last_thread = None

    def read(self):
        config = self.z3.Z3_mk_config()
        self.context = self.z3.Z3_mk_context(config)
        self.z3.Z3_del_config(config)
        # The other kind of solver chooses its way by how much memory the whole process has.
        self.solver = self.z3.Z3_mk_simple_solver(self.context)
        self.z3.Z3_solver_inc_ref(self.context, self.solver)
        self.z3.Z3_solver_from_string(self.context, self.solver, self.text)

    def solve(self):
        found = self.z3.Z3_solver_check(self.context, self.solver)
        self.is_right = ANSWERS.get(found) == self.answer
        statistics = self.z3.Z3_solver_get_statistics(self.context, self.solver)
        words = self.z3.Z3_stats_to_string(self.context, statistics).decode().split()
        self.steps = int(words[words.index(":rlimit-count") + 1].rstrip(")"))

    def free(self):
        self.z3.Z3_solver_dec_ref(self.context, self.solver)
        self.z3.Z3_del_context(self.context)


class Pool:
    """The problems that wait for a thread."""

    def __init__(self, problems, threads):
        self.unread = problems[::-1]
        self.waiting = []
        self.busy = 0
        self.live_limit = min(2 * threads, threads + LIVE_EXTRA)
        self.changed = threading.Condition()

    def choose(self, thread):
        """A problem for this thread, taken out; None when there is none now. Under the lock."""
        others = [problem for problem in self.waiting if problem.last_thread != thread]
        may_read = self.unread and len(self.waiting) + self.busy < self.live_limit
        if not others and may_read:
            return self.unread.pop()
        choice = min(others or self.waiting, key=lambda problem: len(problem.rest), default=None)
        if choice is not None:
            self.waiting.remove(choice)
        return choice

    def take(self, thread):
        with self.changed:
            while True:
                problem = self.choose(thread)
                if problem is not None:
                    self.busy += 1
                    return problem
                if self.busy == 0:
                    self.changed.notify_all()
                    return None
                self.changed.wait()

    def put(self, problem):
        with self.changed:
            self.busy -= 1
            if problem.rest:
                self.waiting.append(problem)
            self.changed.notify_all()


def work(pool):
    thread = threading.get_ident()
    while (problem := pool.take(thread)) is not None:
        problem.rest.pop()()
        problem.last_thread = thread
        pool.put(problem)


def main():
    z3 = load(sys.argv[1])
    with open(sys.argv[2], encoding="utf-8") as file:
        problems = [Problem(z3, text, answer) for text, answer in json.load(file)]
    count = int(sys.argv[3])
    pool = Pool(problems, count)
    threads = [threading.Thread(target=work, args=(pool,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    right = sum(problem.is_right for problem in problems)
    print(f"{len(problems)} problems, {'all' if right == len(problems) else right} right")
    print(f"{sum(problem.steps for problem in problems)} steps")


if __name__ == "__main__":
    main()
