#!/usr/bin/env python3
"""Breaks each rule of the checkers once, in a tree made for it, and expects its message."""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent.parent / "tools"

# A tree that keeps all rules: two floors, a call downward.
GOOD = {
    "src/one.c": '#include "base/low.c"\n#include "core/mid.c"\n#include "core/top.c"\n',
    "src/base/low.h": "#ifndef BASE_LOW_H\n#define BASE_LOW_H\nint low_value(int x);\n#endif\n",
    "src/base/low.c": '#include "base/low.h"\n\nint low_value(int x)\n{\n    return x;\n}\n',
    "src/core/mid.h": "#ifndef CORE_MID_H\n#define CORE_MID_H\nint mid_value(void);\n#endif\n",
    "src/core/mid.c": '#include "core/mid.h"\n#include "base/low.h"\n\nstatic int mid_count;\n\n'
                      "int mid_value(void)\n{\n    return low_value(mid_count);\n}\n",
    "src/core/top.c": '#include "core/mid.h"\n\nint top_value(void);\n\nint top_value(void)\n{\n'
                      "    return mid_value();\n}\n",
}


def guarded(guard, text):
    """A header."""
    return f"#ifndef {guard}\n#define {guard}\n{text}\n#endif\n"


def run_tool(tool, changes):
    """(exit status, output) of a tool on the good tree with some files changed or removed."""
    with tempfile.TemporaryDirectory() as root:
        for name, text in {**GOOD, **changes}.items():
            if text is not None:
                path = Path(root) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        result = subprocess.run([sys.executable, TOOLS / tool, root], capture_output=True,
                                text=True, check=False)
        return result.returncode, result.stdout + result.stderr


class CheckerTest(unittest.TestCase):
    def expect(self, tool, text, changes):
        status, output = run_tool(tool, changes)
        self.assertEqual(status, 1, output)
        self.assertIn(text, output)

    def low(self, body):
        """low.c with another body."""
        return {"src/base/low.c": '#include "base/low.h"\n\n' + body}


class Floors(CheckerTest):
    def floors(self, text, changes):
        self.expect("check_floors.py", text, changes)

    def test_a_good_tree_passes(self):
        self.assertEqual(run_tool("check_floors.py", {})[0], 0)

    def test_a_file_that_one_c_lacks(self):
        self.floors("src/base/other.c:1: is not included by src/one.c", {"src/base/other.c": "\n"})

    def test_a_file_that_does_not_exist(self):
        self.floors("base/low.c does not exist", {"src/base/low.c": None})

    def test_a_file_out_of_floor_order(self):
        self.floors("stands above a lower floor", {
            "src/one.c": '#include "core/mid.c"\n#include "core/top.c"\n#include "base/low.c"\n'})

    def test_an_upward_include(self):
        self.floors("includes upward: src/core/mid.h is F2 core, above F0 base", {
            "src/base/low.c": '#include "core/mid.h"\n'})

    def test_an_upward_call(self):
        self.floors("low_value calls upward: mid_value", self.low(
            "int mid_value(void);\nint low_value(int x)\n{\n    return mid_value() + x;\n}\n"))

    def test_an_upward_call_in_a_macro(self):
        self.floors("LOW calls upward: mid_value", {
            "src/base/low.h": guarded("BASE_LOW_H", "#define LOW mid_value()")})

    def test_an_upward_call_within_a_floor(self):
        self.floors("mid_value calls upward: top_value; src/core/top.c stands after", {
            "src/core/mid.c": "int top_value(void);\n"
                              "int mid_value(void)\n{\n    return top_value();\n}\n"})

    def test_a_circle_of_functions_in_one_file(self):
        self.floors("circle of calls", self.low(
            "static int low_a(int x)\n{\n    return low_b(x);\n}\n"
            "static int low_b(int x)\n{\n    return low_a(x);\n}\n"))

    def test_a_circle_of_includes(self):
        self.floors("circle of includes", {
            "src/base/low.h": guarded("BASE_LOW_H", '#include "base/more.h"'),
            "src/base/more.h": guarded("BASE_MORE_H", '#include "base/low.h"')})

    def test_an_included_c_file(self):
        self.floors("only src/one.c may include a .c file", {
            "src/core/top.c": '#include "base/low.c"\n'})

    def test_names_in_comments_and_strings_are_no_calls(self):
        changes = self.low('// mid_value() is above\n'
                           'int low_value(int x)\n{\n    return "mid_value()"[x];\n}\n')
        self.assertEqual(run_tool("check_floors.py", changes)[0], 0)


class Style(CheckerTest):
    def style(self, text, changes):
        self.expect("check_style.py", text, changes)

    def test_a_good_tree_passes(self):
        status, output = run_tool("check_style.py", {})
        self.assertEqual(status, 0, output)

    def test_columns(self):
        self.style("101 columns", self.low("//" + "x" * 99 + "\n"))

    def test_tabs_and_trailing_blanks(self):
        self.style("a tab", self.low("int\tlow_x;\n"))
        self.style("blanks at the end", self.low("int low_x; \n"))

    def test_to_do_notes(self):
        self.style("TODO without an issue number", self.low("// TODO: more\n"))

    def test_old_code(self):
        for line in ("x = y + 1;", "return x;", "low_value(3);", "if (x) {", "#if 0"):
            self.style("commented-out code", self.low(f"// {line}\n"))

    def test_a_comment_in_words_is_no_old_code(self):
        text = "// Returns x; the caller (who else?) knows why.\n// so that a == b holds\n"
        self.assertEqual(run_tool("check_style.py", self.low(text))[0], 0)

    def test_conditionals(self):
        self.style("#if lives only in", {"src/core/top.c": "#if MI_DEBUG\n#endif\n"})

    def test_include_guard(self):
        self.style("the include guard is not BASE_LOW_H", {
            "src/base/low.h": "int low_value(int x);\n"})

    def test_function_length(self):
        body = "    low_count++;\n" * 60
        self.style("64 lines, at most 60", self.low(f"void low_long(void)\n{{\n{body}\n}}\n"))

    def test_a_long_switch_is_allowed(self):
        cases = "".join(f"    case {n}: return {n};\n" for n in range(80))
        text = f"int low_long(int x)\n{{\n    switch (x) {{\n{cases}    }}\n    return 0;\n}}\n"
        self.assertEqual(run_tool("check_style.py", self.low(text))[0], 0)

    def test_parameters(self):
        self.style("6 parameters", self.low(
            "void low_x(int a, int b, int c, int d, int e, int f)\n{\n}\n"))
        self.style("two booleans", self.low("void low_x(bool a, bool b)\n{\n}\n"))

    def test_nesting(self):
        self.style("4 levels deep", self.low(
            "void low_x(int a)\n{\n    if (a) {\n        while (a) {\n            do {\n"
            "                if (a) {\n                    a--;\n                }\n"
            "            } while (a);\n        }\n    }\n}\n"))

    def test_names(self):
        self.style("other_value: file-scope names", self.low(
            "int other_value(void)\n{\n    return 1;\n}\n"))
        self.style("counter: file-scope names", self.low("static int counter = 1;\n"))
        self.style("table: file-scope names", self.low("static const char *table[] = { 0, 1 };\n"))

    def test_unique_file_names(self):
        self.style("a second file named low.h", {
            "src/core/low.h": "#ifndef CORE_LOW_H\n#define CORE_LOW_H\n#endif\n"})

    def test_unique_function_names(self):
        self.style("low_value is also defined in", {
            "src/base/low_more.c": "int low_value(int x)\n{\n    return x;\n}\n"})


class Docs(CheckerTest):
    def docs(self, text, line):
        self.expect("check_docs.py", text, {"README.md": line + "\n"})

    def test_a_document_that_names_what_exists_passes(self):
        status, output = run_tool("check_docs.py", {
            "README.md": "# A title\n\n`src/base/low.h`, `low.c`, `low_value()`, `mid_count`, "
                         "[there](doc/more.md#the-other-title), [here](#a-title)\n",
            "doc/more.md": "## The other title\n\n```sh\ncat src/one.c\n```\n"})
        self.assertEqual(status, 0, output)

    def test_files(self):
        self.docs("README.md:1: there is no file src/base/lower.h", "`src/base/lower.h`")
        self.docs("there is no file lower.c", "`lower.c`")
        self.docs("there is no file src/lower.c", "```\ncc src/lower.c\n```")

    def test_names(self):
        self.docs("there is no function low_other()", "`low_other()`")
        self.docs("there is no struct low", "`struct low`")
        self.docs("low_count is nowhere", "`low_count`")
        self.docs("there is no option MIMALLOC_FASTER=1", "`MIMALLOC_FASTER=1`")

    def test_links_and_rules(self):
        self.docs("a link leads to more.md, which does not exist", "[more](more.md)")
        self.docs("README.md has no heading more", "[more](#more)")
        self.docs("no header of src/ defines rule P7", "by rule P7")


if __name__ == "__main__":
    unittest.main()
