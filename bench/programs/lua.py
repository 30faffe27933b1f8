"""lua: the interpreter compiles and runs a large script.

Models: the `lua` row of other suites, and programs that are configured or scripted in Lua. Other
suites compile the interpreter itself there; a compile is what the `gcc` row measures, so here it is
Lua that compiles Lua: a generated file of 3000 functions (1.2 MiB) is compiled, run, written as
byte code and read again; then objects, closures, strings and coroutines are made (data/work.lua).
12 such rounds at scale 1; below scale 1/12 the file becomes smaller.

All memory of Lua goes through one function that calls realloc and free, so realloc counts here more
than in any other row. Blocks are small; tables grow by doubling. The output must be that of the
same script under the C library's malloc.
"""
import random

from programs import support

PACKAGES = ["lua5.4"]
ROUNDS = 12
FUNCTIONS = 3000


def available():
    return support.absent(PACKAGES, "lua5.4")


def function_text(source, number):
    """A function that returns a whole number and makes some objects on its way."""
    name, other = (f"{source.choice(support.WORDS)}_{number}" for _ in range(2))
    words = ", ".join(f'"{source.choice(support.WORDS)}{n}"' for n in range(6))
    return f"""local function {name}(value)
  local {other}x = {{ {words}, count = {source.randrange(1000)}, inner = {{ value, {number} }} }}
  local add = function(n) return n * {source.randrange(2, 99)} + {other}x.inner[1] end
  local total = 0
  for index, text in ipairs({other}x) do
    if #text > {source.randrange(3, 8)} then total = total + add(index)
    else total = total - index end
  end
  return total + {other}x.count
end
all[#all + 1] = {name}
"""


def prepare(work, scale, seed):
    source = random.Random(seed)
    count = support.scaled(FUNCTIONS, min(1, scale * ROUNDS))
    with open(work / "source.lua", "w", encoding="utf-8") as file:
        file.write("local all = {}\n")
        for number in range(count):
            # A block each: Lua allows 200 local names at a time.
            file.write(f"do\n{function_text(source, number)}end\n")
        file.write("return all\n")


def run(launcher, work, threads, scale):
    rounds = support.scaled(ROUNDS, scale)
    script = str(support.DATA / "work.lua")
    argv = [support.command("lua5.4"), script, "source.lua", str(rounds)]
    return support.run_and_compare(launcher, work, argv)
