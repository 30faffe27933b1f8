"""What `make run` runs under python3: text, dictionaries, JSON, and threads that pass blocks on."""
import json
import queue
import random
import threading

LINES = 40000
WORKERS = 4


def make_lines(random_source):
    """Lines of made-up words; the same ones in every run."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(random_source.choices(letters, k=random_source.randint(2, 12)))
             for _ in range(5000)]
    return [" ".join(random_source.choices(words, k=random_source.randint(3, 20)))
            for _ in range(LINES)]


def count_words(inbox, outbox):
    """A worker: counts the words of each batch, and hands its table to another thread."""
    while True:
        batch = inbox.get()
        if batch is None:
            return
        counts = {}
        for line in batch:
            for word in line.split():
                counts[word] = counts.get(word, 0) + 1
        outbox.put(json.dumps(counts))


def main():
    lines = make_lines(random.Random(1))
    inbox, outbox = queue.Queue(), queue.Queue()
    workers = [threading.Thread(target=count_words, args=(inbox, outbox)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    batches = [lines[start:start + 1000] for start in range(0, LINES, 1000)]
    for batch in batches:
        inbox.put(batch)
    total = {}
    for _ in batches:
        for word, count in json.loads(outbox.get()).items():
            total[word] = total.get(word, 0) + count
    for _ in workers:
        inbox.put(None)
    for worker in workers:
        worker.join()

    word = max(total, key=total.get)
    print(f"{sum(total.values())} words in {LINES} lines, {len(total)} different ones; "
          f"'{word}' {total[word]} times")


if __name__ == "__main__":
    main()
