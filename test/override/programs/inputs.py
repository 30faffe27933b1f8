"""Generates what the programs work on: always the same, from fixed seeds."""
import random
import struct
import zlib

WORDS = (
    "page block slice arena heap list thread free remote owner class size tail chunk link state "
    "purge commit reserve claim park adopt load ring lock fork"
).split()


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def cpp_source(path):
    """A C++ file that keeps the optimiser busy for seconds: templates, containers, closures."""
    parts = [
        "#include <algorithm>\n#include <functional>\n#include <map>\n"
        "#include <memory>\n#include <regex>\n"
        "#include <string>\n#include <unordered_map>\n#include <vector>\n"
    ]
    for index in range(30):
        parts.append(
            f"""
template <class T> struct node{index} {{
    T value; std::map<std::string, T> names; std::vector<std::unique_ptr<node{index}>> below;
    template <class F> void visit(F f) {{ f(value); for (auto &n : below) n->visit(f); }}
}};
long work{index}(const std::vector<long> &in) {{
    std::unordered_map<long, std::vector<std::string>> table;
    for (long v : in) table[v % {index + 3}].push_back(std::to_string(v * {index + 1}));
    node{index}<long> root{{}};
    for (auto &[key, texts] : table) {{
        std::sort(texts.begin(), texts.end());
        root.names[texts.front()] = key;
        root.below.push_back(std::make_unique<node{index}<long>>());
    }}
    long sum = 0;
    std::function<void(long &)> add = [&](long &v) {{ sum += v + {index}; }};
    root.visit(add);
    return sum + long(root.names.size());
}}
"""
        )
    write(path, "".join(parts))


def c_source(path):
    """A C file of many functions and tables."""
    source = random.Random(2)
    parts = ["#include <stdio.h>\n#include <string.h>\n"]
    for index in range(250):
        terms = " ".join(
            f"if (v % {source.randrange(2, 99)} == {source.randrange(9)}) "
            f"s += t{index}[v & 15] * {source.randrange(1000)};"
            for _ in range(12)
        )
        table = ", ".join(str(source.randrange(10000)) for _ in range(16))
        parts.append(
            f"static const int t{index}[16] = {{{table}}};\nint f{index}(int n, char *out)\n{{\n"
            f"    int s = 0;\n    for (int v = 0; v < n; v++) {{ {terms} }}\n"
            f"    sprintf(out, \"%d\", s);\n    return s ^ (int)strlen(out);\n}}\n"
        )
    write(path, "".join(parts))


def git_stream(path):
    """A history for git fast-import: 400 commits, 300 files in 20 folders, merges."""
    source = random.Random(3)
    files = {f"folder{n % 20:02}/file{n:03}.txt": source.choices(WORDS, k=300) for n in range(300)}
    with open(path, "w", encoding="utf-8") as out:
        for number in range(400):
            when = 1_600_000_000 + number * 3600
            merge = "merge refs/heads/side\n" if number % 40 == 39 else ""
            branch = "side" if number % 40 > 30 and not merge else "main"
            start = "from refs/heads/main\n" if number % 40 == 31 else ""
            text = f"change {number}"
            out.write(
                f"commit refs/heads/{branch}\n"
                f"committer A Tester <tester@example.org> {when} +0000\n"
                f"data {len(text)}\n{text}\n{start}{merge}"
            )
            names = list(files) if number == 0 else source.sample(list(files), 15)
            for name in names:
                files[name][source.randrange(300)] = source.choice(WORDS) + str(number)
                body = "\n".join(files[name])
                out.write(f"M 100644 inline {name}\ndata {len(body)}\n{body}\n")


def sql_script(path):
    """300,000 rows with two indexes, changes, and a vacuum."""
    write(
        path,
        """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -20000;
CREATE TABLE item(id INTEGER PRIMARY KEY, owner INTEGER, name TEXT, payload BLOB);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)
INSERT INTO item
SELECT i, (i * 7919) % 1009, 'item ' || ((i * 104729) % 300007), zeroblob(i % 90) FROM n;
COMMIT;
CREATE INDEX by_owner ON item(owner, name);
CREATE INDEX by_name ON item(name);
DELETE FROM item WHERE owner % 3 = 0;
UPDATE item SET name = upper(name) || owner WHERE owner % 5 = 1;
VACUUM;
PRAGMA integrity_check;
SELECT owner, count(*), max(name), sum(length(payload)) FROM item GROUP BY owner ORDER BY owner;
.dump
""",
    )


def postscript(path):
    """40 pages of text, curves and shading."""
    source = random.Random(4)
    parts = ["%!PS-Adobe-3.0\n%%Pages: 40\n"]
    for page in range(1, 41):
        parts.append(f"%%Page: {page} {page}\n/Times-Roman findfont 11 scalefont setfont\n")
        for line in range(50):
            text = " ".join(source.choices(WORDS, k=12))
            parts.append(f"50 {760 - 14 * line} moveto ({text}) show\n")
        for _ in range(120):
            values = [source.randrange(600) for _ in range(8)]
            colour = " ".join(f"{source.random():.3f}" for _ in range(3))
            parts.append(
                "{} setrgbcolor newpath {} {} moveto {} {} {} {} {} {} curveto stroke\n".format(
                    colour, *values
                )
            )
        parts.append(
            "<< /ShadingType 2 /ColorSpace /DeviceRGB /Coords [0 0 600 800] "
            "/Function << /FunctionType 2 /Domain [0 1] /C0 [1 0 0] /C1 [0 0 1] /N 1 >> >> "
            "gsave 400 100 150 150 rectclip shfill grestore showpage\n"
        )
    write(path, "".join(parts))


def smt_problem(path):
    """Two problems: 9 pigeons do not fit into 8 holes; the factors of a 40-bit product."""
    pigeons, holes = 9, 8
    lines = [f"(declare-const p{p}h{h} Bool)" for p in range(pigeons) for h in range(holes)]
    lines += [
        f"(assert (or {' '.join(f'p{p}h{h}' for h in range(holes))}))" for p in range(pigeons)
    ]
    lines += [
        f"(assert (not (and p{p}h{h} p{q}h{h})))"
        for h in range(holes)
        for p in range(pigeons)
        for q in range(p)
    ]
    lines += [
        "(check-sat)",
        "(reset)",
        "(declare-const a (_ BitVec 40))",
        "(declare-const b (_ BitVec 40))",
        f"(assert (= (bvmul a b) (_ bv{65521 * 131071} 40)))",
        "(assert (bvult a (_ bv70000 40)))",
        "(assert (bvult b (_ bv140000 40)))",
        "(assert (bvugt a (_ bv1 40)))",
        "(assert (bvugt b (_ bv1 40)))",
        "(check-sat)",
        "(get-model)",
    ]
    write(path, "\n".join(lines) + "\n")


def document(path):
    """A flat OpenDocument text: 40 headings, 400 paragraphs, a table."""
    source = random.Random(5)
    rows = "".join(
        "<table:table-row>"
        + "".join(
            f"<table:table-cell><text:p>{source.randrange(1000)}</text:p></table:table-cell>"
            for _ in range(6)
        )
        + "</table:table-row>"
        for _ in range(60)
    )
    body = "".join(
        f'<text:h text:outline-level="1">Part {part}</text:h>'
        + "".join(f"<text:p>{' '.join(source.choices(WORDS, k=90))}.</text:p>" for _ in range(10))
        for part in range(1, 41)
    )
    names = "office text table"
    spaces = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in names.split()
    )
    write(
        path,
        f'<?xml version="1.0" encoding="UTF-8"?><office:document {spaces} office:version="1.2" '
        f'office:mimetype="application/vnd.oasis.opendocument.text">'
        f'<office:body><office:text>{body}'
        f'<table:table table:name="t">{rows}</table:table>'
        f'</office:text></office:body></office:document>',
    )


def web_page(path):
    """A page with a script that allocates and draws."""
    write(
        path,
        """<!doctype html><meta charset="utf-8"><title>page</title>
<body style="margin:0;background:#fff"><canvas id="c" width="800" height="600"></canvas><script>
const items = new Map();
for (let i = 0; i < 200000; i++) items.set('key' + (i * 7919) % 30011, [i, 'x'.repeat(i % 50)]);
const draw = document.getElementById('c').getContext('2d');
let n = 0;
for (const [number] of items.values()) {
    if (n++ >= 3000) break;
    draw.fillStyle = `rgb(${number % 256},${number % 199},${number % 151})`;
    draw.fillRect((n * 13) % 800, (n * 29) % 600, 11, 7);
}
</script>""",
    )


def png_pixels(path):
    """Size, format and pixels of a PNG file, without the rest; its row filters are kept."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError(f"{path} is no PNG file")
    at, header, packed = 8, b"", b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        header += body if kind == b"IHDR" else b""
        packed += body if kind == b"IDAT" else b""
        at += length + 12
    return header + zlib.decompress(packed)
