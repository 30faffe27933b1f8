"""Reads C just far enough for the checkers: comments, preprocessor lines, functions, names.

This is no parser. It relies on the style of this project: function definitions start at the left
margin, and a macro never hides a brace of the code around it.
"""
import re
from pathlib import Path

KEYWORDS = frozenset(
    "if for while switch return sizeof alignof alignas do else case default goto defined "
    "static_assert _Static_assert _Alignof _Alignas typeof __typeof__ __attribute__ ATOMIC "
    "asm __asm__ catch".split())

IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
CALL = re.compile(r"\b([A-Za-z_]\w*)\s*\(")
ATTRIBUTE = re.compile(r"__attribute__\s*\(\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)\)")


class Function:
    """A definition: `line` and `last` are where its head starts and its body ends, from 1."""

    def __init__(self, name, line, last, head, body, body_line):
        self.name, self.line, self.last = name, line, last
        self.head, self.body, self.body_line = head, body, body_line

    @property
    def parameters(self):
        """The parameters as texts; none for (void)."""
        inside = self.head[re.search(rf"\b{self.name}\s*\(", self.head).end():]
        parts, depth, part = [], 0, ""
        for char in inside:
            if char == ")" and depth == 0:
                break
            depth += (char == "(") - (char == ")")
            if char == "," and depth == 0:
                parts.append(part)
                part = ""
            else:
                part += char
        parts = [text.strip() for text in parts + [part]]
        return [text for text in parts if text not in ("", "void")]

    @property
    def calls(self):
        return {name for name in CALL.findall(self.body) if name not in KEYWORDS}


def blank(text):
    """The same lines with every other character a space."""
    return re.sub(r"[^\n]", " ", text)


def split_comments(text):
    """(code, comments): both keep every line; strings are emptied in `code`."""
    token = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.S)
    code, comments, end = [], [], 0
    for match in token.finditer(text):
        plain, found = text[end:match.start()], match.group()
        code.append(plain)
        comments.append(blank(plain))
        if found[0] == "/":
            code.append(blank(found))
            comments.append(found)
        else:
            code.append(found[0] + " " * (len(found) - 2) + found[0])
            comments.append(blank(found))
        end = match.end()
    return "".join(code) + text[end:], "".join(comments) + blank(text[end:])


def split_directives(code):
    """(plain, directives): code without preprocessor lines, and [(line, text)] of those."""
    plain, directives, lines, index = [], [], code.split("\n"), 0
    while index < len(lines):
        if not lines[index].lstrip().startswith("#"):
            plain.append(lines[index])
            index += 1
            continue
        first, text = index, lines[index]
        while lines[index].rstrip().endswith("\\") and index + 1 < len(lines):
            index += 1
            text = text.rstrip()[:-1] + " " + lines[index]
        directives.append((first + 1, text.strip()))
        index += 1
        plain.extend([""] * (index - first))
    return "\n".join(plain), directives


def function_name(head):
    """The name that `head` (all text from the last `;` or `}` to a `{`) defines, or None."""
    bare = ATTRIBUTE.sub(lambda match: " " * len(match.group()), head)
    match = CALL.search(bare)
    while match and match.group(1) in KEYWORDS:
        match = CALL.search(bare, match.end())
    if not match or "=" in bare or not re.search(r"\)[\w\s]*$", bare):
        return None
    return match.group(1)


class Source:
    """One file: `code` (no comments, no strings), `plain` (no preprocessor lines either)."""

    def __init__(self, path, root):
        self.path = Path(path)
        self.name = self.path.relative_to(root).as_posix()
        self.text = self.path.read_text(encoding="utf-8")
        self.code, self.comments = split_comments(self.text)
        self.plain, self.directives = split_directives(self.code)
        self.functions, self.outside = self._find_functions()

    def _find_functions(self):
        """All definitions, and the file-scope text with their bodies blanked."""
        text, found, outside = self.plain, [], []
        depth, head_start, body_start, name, shown = 0, 0, 0, None, 0
        linkage = 0  # inside the braces of extern "C"
        for match in re.finditer(r"[{};]", text):
            at, char = match.start(), match.group()
            if char == "{":
                if depth == 0:
                    head = text[head_start:at]
                    if re.search(r'extern\s+"\s*"\s*$', head):
                        linkage, head_start = linkage + 1, at + 1
                        continue
                    name, body_start = function_name(head), at
                depth += 1
            elif char == "}":
                if depth == 0:
                    linkage, head_start = max(0, linkage - 1), at + 1
                    continue
                depth -= 1
                if depth == 0 and name:
                    head = text[head_start:body_start]
                    start = head_start + len(head) - len(head.lstrip())
                    found.append(Function(
                        name, 1 + text.count("\n", 0, start), 1 + text.count("\n", 0, at),
                        head, text[body_start:at + 1], 1 + text.count("\n", 0, body_start)))
                    outside += [text[shown:body_start], ";", blank(text[body_start + 1:at + 1])]
                    head_start, shown = at + 1, at + 1
                    name = None
            elif depth == 0:
                head_start = at + 1
        return found, "".join(outside) + text[shown:]

    @property
    def includes(self):
        """[(line, path, is_local)] in order; read from the text, since `code` has no strings."""
        found = []
        for number, line in enumerate(self.text.split("\n"), 1):
            match = re.match(r'\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', line)
            if match:
                found.append((number, match.group(1) or match.group(2), match.group(1) is not None))
        return found

    @property
    def macros(self):
        """{name: (line, calls in its text)} of the function-like and other macros."""
        found = {}
        for line, text in self.directives:
            match = re.match(r"#\s*define\s+([A-Za-z_]\w*)(.*)", text)
            if match:
                calls = {name for name in CALL.findall(match.group(2)) if name not in KEYWORDS}
                found[match.group(1)] = (line, calls - {match.group(1)})
        return found


def sources(root, folder, suffixes=(".c", ".h")):
    base = Path(root) / folder
    paths = sorted(path for path in base.rglob("*") if path.suffix in suffixes)
    return [Source(path, root) for path in paths]
