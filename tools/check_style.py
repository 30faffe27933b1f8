#!/usr/bin/env python3
"""Checks the rules of form that a machine can check: usage check_style.py [ROOT].

Everywhere (src include test bench): 100 columns, no tabs or trailing blanks, no to-do notes, no
commented-out code. In src also: file and function length, parameters, nesting, where #if may stand,
file-scope names that start with their module's, include guards, unique file names.
"""
import re
import sys
from collections import defaultdict
from pathlib import Path

from c_source import IDENTIFIER, sources

MAX_COLUMNS = 100
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 5
MAX_NESTING = 3

# Folders and files where code may depend on the platform or the build.
CONDITIONALS_ALLOWED = ("include/", "src/base/", "src/prim/", "src/override/", "src/one.c")
# Files that define names that are not their own: the compiler's and the standard's.
FOREIGN_NAMES = ("src/base/compiler.h", "src/override/")

TO_DO = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
# A statement in a comment: ends in ; { or } and has the look of a call, an assignment or a block.
OLD_CODE = re.compile(
    r"^(?:(?:if|for|while|switch)\s*\(.*[;{]"
    r"|(?:return\b[^.,]*|[\w.\->\[\]*]+\s*[-+|&]?=[^=].*|[A-Za-z_]\w*\([^)]*\)\s*);"
    r"|}\s*|#\s*(?:if|endif|include|define)\b.*)$")


class Report:
    def __init__(self):
        self.errors = []

    def fail(self, source, line, text):
        self.errors.append((source.name, line, text))


def check_lines(report, source):
    lines = source.text.split("\n")
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_COLUMNS:
            report.fail(source, number, f"{len(line)} columns, at most {MAX_COLUMNS}")
        if "\t" in line:
            report.fail(source, number, "a tab; indent with four spaces")
        if line != line.rstrip():
            report.fail(source, number, "blanks at the end of the line")
    if source.text and not source.text.endswith("\n"):
        report.fail(source, len(lines), "no newline at the end of the file")


def check_comments(report, source):
    for number, line in enumerate(source.comments.split("\n"), 1):
        match = TO_DO.search(line)
        if match and not re.search(r"#\d+", line):
            report.fail(source, number, f"{match.group()} without an issue number")
        if OLD_CODE.match(re.sub(r"^\s*(//|/?\*+(?!/))\s?", "", line).strip().rstrip("*/ ")):
            report.fail(source, number, "looks like commented-out code")


def check_conditionals(report, source):
    if source.name.startswith(CONDITIONALS_ALLOWED):
        return
    guard = guard_line(source)
    for number, text in source.directives:
        if re.match(r"#\s*(if|ifdef|ifndef|elif)\b", text) and number != guard:
            report.fail(source, number, "#if lives only in include/ base/ prim/ override/ one.c; "
                                        "test a CFG_ constant with a plain if")


def guard_line(source):
    """The line of the include guard's #ifndef, 0 when there is none."""
    if len(source.directives) < 2:
        return 0
    (line, first), (_, second) = source.directives[:2]
    match = re.match(r"#\s*ifndef\s+(\w+)", first)
    return line if match and re.match(rf"#\s*define\s+{match.group(1)}\b", second) else 0


def check_guard(report, source):
    if not source.name.endswith(".h"):
        return
    wanted = "_".join(Path(source.name).with_suffix(".h").parts[1:]).upper().replace(".", "_")
    if f"#ifndef {wanted}" not in [text for _, text in source.directives]:
        report.fail(source, 1, f"the include guard is not {wanted}")


def is_table(function):
    """Plain switches and tables may be long: most lines are cases or initialisers."""
    lines = [line.strip() for line in function.body.split("\n") if line.strip()]
    plain = [line for line in lines if re.match(r"(case\b|default\s*:|\{|\"|X\()", line)]
    return len(plain) * 10 >= len(lines) * 6


def nesting(function):
    """(depth, line) of the deepest block in a function; initialisers do not count."""
    deepest, where, stack = 0, function.body_line, []
    for match in re.finditer(r"[{}]", function.body[1:-1]):
        at = match.start() + 1
        if match.group() == "}":
            if stack:
                stack.pop()
            continue
        before = function.body[:at].rstrip()
        is_block = before.endswith((")", "{", "}", ";", ":")) or re.search(r"\b(else|do)$", before)
        stack.append(1 if is_block else 0)
        if sum(stack) > deepest:
            deepest, where = sum(stack), function.body_line + function.body.count("\n", 0, at)
    return deepest, where


def check_functions(report, source):
    for function in source.functions:
        lines = function.last - function.line + 1
        if lines > MAX_FUNCTION_LINES and not is_table(function):
            report.fail(source, function.line,
                        f"{function.name}: {lines} lines, at most {MAX_FUNCTION_LINES}")
        parameters = function.parameters
        if len(parameters) > MAX_PARAMETERS and not function.name.startswith("mi_"):
            report.fail(source, function.line,
                        f"{function.name}: {len(parameters)} parameters, at most {MAX_PARAMETERS}")
        flags = [text for text in parameters if re.match(r"(const\s+)?bool\s+\w+$", text)]
        if len(flags) > 1 and not function.name.startswith("mi_"):
            report.fail(source, function.line, f"{function.name}: two booleans in a parameter list")
        depth, line = nesting(function)
        if depth > MAX_NESTING:
            report.fail(source, line,
                        f"{function.name}: {depth} levels deep, at most {MAX_NESTING}")


def module_prefixes(source):
    """What file-scope names may start with: the file's name, a word of it (one hook of the hooks
    too), or its folders'."""
    path = Path(source.name)
    words = {path.stem, *path.parts[1:-1], *path.stem.split("_")}
    words |= {word[:-1] for word in words if word.endswith("s") and len(word) > 3}
    return tuple(f"{word}_" for word in words)


def file_scope_variables(source):
    """(line, name) of the variables that a file defines at file scope."""
    text, depth, kept = source.outside, 0, []
    for char in text:
        depth -= char == "}"
        kept.append(char if depth == 0 or char == "\n" else " ")
        depth += char == "{"
    statement = re.compile(r"[^;]+;")
    for match in statement.finditer("".join(kept)):
        lead = len(match.group()) - len(match.group().lstrip())
        head = re.split(r"=", match.group().strip()[:-1])[0].strip()
        if not re.match(r"(static|extern|THREAD_LOCAL|const|struct|ATOMIC|[a-z])", head):
            continue
        if re.match(r"(typedef|enum|union|using|static_assert|extern)\b", head):
            continue
        if re.match(r"struct\s+\w+\s*(\{\s*\}?\s*)?$", head):
            continue
        head = re.sub(r"ATOMIC\([^()]*\)|__attribute__\s*\(\(.*?\)\)\s*$", " int ", head,
                      flags=re.S)
        head = re.sub(r"\balignas\s*\([^()]*\)", " ", head)
        if "(" in head:
            continue
        names = IDENTIFIER.findall(re.sub(r"\[[^\]]*\]|\{\s*\}", "", head))
        if len(names) >= 2:
            yield 1 + text.count("\n", 0, match.start() + lead), names[-1]


def check_names(report, source):
    if source.name.startswith(FOREIGN_NAMES) or source.name == "src/one.c":
        return
    prefixes = module_prefixes(source) + ("mi_",)
    names = [(function.line, function.name) for function in source.functions]
    names += list(file_scope_variables(source))
    for line, name in names:
        if not name.lower().startswith(prefixes) and name.lower() + "_" not in prefixes:
            report.fail(source, line, f"{name}: file-scope names start with their module's "
                                      f"({', '.join(sorted(prefixes))})")


def check_file_length(report, source):
    lines = source.text.count("\n")
    if lines > MAX_FILE_LINES:
        report.fail(source, lines, f"{lines} lines, at most {MAX_FILE_LINES}: split the file")


def check_unique(report, files):
    seen = defaultdict(list)
    for source in files:
        seen[Path(source.name).name].append(source)
    for name, owners in seen.items():
        for source in owners[1:]:
            report.fail(source, 1, f"a second file named {name} ({owners[0].name})")
    one_object = defaultdict(list)
    for source in files:
        for function in source.functions:
            one_object[function.name].append((source, function))
    for name, owners in one_object.items():
        folders = {Path(source.name).parent.name for source, _ in owners}
        in_prim = all(source.name.startswith("src/prim/") for source, _ in owners)
        same_file = len({source.name for source, _ in owners}) == 1  # two arms of an #if
        if len(owners) > 1 and not same_file and not (in_prim and len(folders) == len(owners)):
            source, function = owners[1]
            report.fail(source, function.line, f"{name} is also defined in {owners[0][0].name}")


def main():
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    report = Report()
    inner = sources(root, "src")
    outer = [source for folder in ("include", "test", "bench")
             for source in sources(root, folder, (".c", ".h", ".cpp", ".cc"))]
    for source in inner + outer:
        check_lines(report, source)
        check_comments(report, source)
    for source in inner:
        check_conditionals(report, source)
        check_guard(report, source)
        check_functions(report, source)
        check_names(report, source)
        check_file_length(report, source)
    check_unique(report, inner)
    for name, line, text in sorted(set(report.errors)):
        print(f"{name}:{line}: {text}")
    print(f"check_style: {len(inner)} files in src, {len(outer)} others, "
          f"{len(set(report.errors))} errors")
    return 1 if report.errors else 0


if __name__ == "__main__":
    sys.exit(main())
