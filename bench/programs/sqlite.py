"""sqlite: the shell fills, searches, changes and packs a database.

Models: an application's embedded database. At scale 1, 120,000 rows of text and blobs are inserted,
half of them by statements of their own that the shell has to parse; two indexes are built; joins,
groups and sorts are asked for; rows are changed and deleted; at last the database is packed
(`vacuum`). It is in memory, and so are the files for sorting: what is measured is not the disk.
Pages of 4 KiB and buffers that grow come from malloc, and small blocks for each statement; what
fits into sqlite's own lookaside slots does not.

The answers, and a check of the whole database, must be those under the C library's malloc.
"""
import random

from programs import support

PACKAGES = ["sqlite3"]
ROWS = 120_000

SETTINGS = """
PRAGMA temp_store = MEMORY;
PRAGMA page_size = 4096;
CREATE TABLE item(id INTEGER PRIMARY KEY, owner INTEGER, name TEXT, payload BLOB);
CREATE TABLE owner(id INTEGER PRIMARY KEY, name TEXT UNIQUE, notes TEXT);
"""

QUESTIONS = """
CREATE INDEX item_by_owner ON item(owner, name);
CREATE INDEX item_by_name ON item(name);
SELECT count(*), sum(length(payload)), min(name), max(name) FROM item;
SELECT owner.name, count(*), max(item.name), group_concat(substr(item.name, -2), '')
  FROM item JOIN owner ON item.owner = owner.id
  GROUP BY owner.id ORDER BY count(*) DESC, owner.id LIMIT 20;
SELECT count(*), sum(length(a.name || b.name)) FROM item AS a JOIN item AS b ON a.name = b.name
  WHERE a.owner % 3 = 0;
SELECT count(DISTINCT upper(name) || owner) FROM item;
WITH ranked AS
  (SELECT name, owner, row_number() OVER (PARTITION BY owner ORDER BY name, id) AS place FROM item)
  SELECT count(*), max(name), sum(place) FROM ranked WHERE place <= 5;
UPDATE item SET name = replace(name, 'e', 'ee') || owner, payload = zeroblob(id % 300)
  WHERE owner % 5 = 1;
DELETE FROM item WHERE owner % 7 = 2;
SELECT sum(json_array_length(list)) FROM
  (SELECT json_group_array(name) AS list FROM item GROUP BY owner % 50);
VACUUM;
PRAGMA integrity_check;
SELECT count(*), sum(length(payload)), min(name), max(name) FROM item;
"""


def available():
    return support.absent(PACKAGES, "sqlite3")


def write_rows(file, rows, source):
    owners = max(10, rows // 100)
    file.write("BEGIN;\n")
    for number in range(owners):
        notes = " ".join(source.choices(support.WORDS, k=source.randrange(40)))
        file.write(f"INSERT INTO owner VALUES({number}, 'owner {number}', '{notes}');\n")
    for number in range(1, rows // 2 + 1):
        name = "-".join(source.choices(support.WORDS, k=3))
        file.write(
            f"INSERT INTO item VALUES({number}, {source.randrange(owners)}, '{name}', "
            f"zeroblob({source.randrange(200)}));\n"
        )
    file.write(
        f"""COMMIT;
INSERT INTO item SELECT id + {rows // 2}, (owner * 7919 + id) % {owners},
  CASE id % 4 WHEN 0 THEN name ELSE name || ' ' || (id % 9973) END, zeroblob(id % 90) FROM item;
"""
    )


def prepare(work, scale, seed):
    with open(work / "work.sql", "w", encoding="utf-8") as file:
        file.write(SETTINGS)
        write_rows(file, support.scaled(ROWS, scale, least=20), random.Random(seed))
        file.write(QUESTIONS)


def run(launcher, work, threads, scale):
    argv = [support.command("sqlite3"), "-batch", "-bail", ":memory:"]
    return support.run_and_compare(launcher, work, argv, stdin=work / "work.sql")
