"""gcc: the C++ compiler compiles one large file.

Models: the compile of a large program, by its slowest file. The file includes ten headers of the
standard library and has, at scale 1, 3 generated groups of classes: templates that contain each
other, containers of them, visitors of variants, closures and sorts, all instantiated and optimised
(-O1). Where the scale is too small for a group there are only headers, and fewer of them.

Measured are the driver and its children; nearly all time, and the peak, are those of `cc1plus`;
what is resident at the end is the driver's. The compiler's trees come from a collected heap of its
own, which takes its pages from the system; malloc sees its tables, bitmaps, vectors and strings.

The object file must be, byte by byte, the one that is compiled under the C library's malloc.
"""
import random

from programs import support

PACKAGES = ["g++", "libc6-dev"]
GROUPS = 3
HEADERS = "vector string map array memory variant unordered_map functional algorithm regex".split()

GROUP = """
namespace group{number} {{
template <class T, int N> struct row {{
    std::array<T, N> cells; std::vector<std::unique_ptr<row<T, N - 1>>> below;
    template <class F> void visit(F f) {{
        for (auto &cell : cells) f(cell);
        for (auto &part : below) part->visit(f);
    }}
}};
template <class T> struct row<T, 0> {{ template <class F> void visit(F) {{}} }};
struct {first} {{ long {second}; std::string name; }};
struct {third} {{ std::map<std::string, {first}> parts; std::vector<long> sizes; }};
using item = std::variant<long, std::string, {first}, {third}>;
struct measure {{
    long operator()(long value) const {{ return value * {factor}; }}
    long operator()(const std::string &text) const {{ return long(text.size()) + {number}; }}
    long operator()(const {first} &one) const {{ return one.{second} + long(one.name.size()); }}
    long operator()(const {third} &many) const {{
        long sum = 0;
        for (auto &[key, part] : many.parts) sum += (*this)(part) + long(key.size());
        for (long bytes : many.sizes) sum += bytes % {factor};
        return sum;
    }}
}};
long work(const std::vector<long> &input) {{
    std::vector<item> items;
    std::unordered_map<std::string, std::vector<item>> table;
    for (long value : input) {{
        if (value % 3 == 0) items.emplace_back(value);
        else if (value % 3 == 1) items.emplace_back(std::to_string(value));
        else items.emplace_back({first}{{value, "{first}"}});
        table[std::to_string(value % {factor})].push_back(items.back());
    }}
    {third} many;
    for (auto &[key, list] : table) many.parts[key] = {first}{{long(list.size()), key}};
    items.emplace_back(many);
    std::vector<long> measures;
    for (auto &one : items) measures.push_back(std::visit(measure{{}}, one));
    std::sort(measures.begin(), measures.end());
    long sum = measures.front();
    std::function<void(long &)> add = [&sum](long &cell) {{ sum += cell + {number}; }};
    row<long, {depth}> rows{{}};
    rows.visit(add);
    for (long value : measures) sum = sum * 31 + value;
    return sum;
}}
}}
"""


def available():
    return support.absent(PACKAGES, "g++")


def prepare(work, scale, seed):
    source = random.Random(seed)
    groups = round(GROUPS * scale)
    headers = HEADERS if groups > 0 else HEADERS[: max(1, round(len(HEADERS) * GROUPS * scale))]
    with open(work / "large.cpp", "w", encoding="utf-8") as file:
        for header in headers:
            file.write(f"#include <{header}>\n")
        file.write("std::vector<long> numbers{1, 2};\n")
        for number in range(groups):
            first, second, third = source.sample(support.WORDS, 3)
            file.write(
                GROUP.format(
                    number=number,
                    first=f"{first}_part",
                    second=f"{second}_count",
                    third=f"{third}_parts",
                    factor=source.randrange(2, 100),
                    depth=source.randrange(3, 7),
                )
            )


def run(launcher, work, threads, scale):
    def arguments(output):
        options = ["-std=c++17", "-O1", "-c", "large.cpp", "-o", output]
        return [support.command("g++"), *options]

    (work / "found.o").unlink(missing_ok=True)
    measurement = launcher.run(arguments("found.o"), cwd=work)
    support.require_success(measurement, "g++")

    def digest_under_plain_malloc():
        support.plain_output(launcher, arguments("wanted.o"), cwd=work)
        return support.digest_of(work / "wanted.o")

    support.require_reference(work, support.digest_of(work / "found.o"), digest_under_plain_malloc)
    return {"measurement": measurement, "values": {}}
