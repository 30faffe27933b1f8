#!/usr/bin/env python3
"""Checks that the documents tell of things that exist: usage check_docs.py [ROOT].

In README.md, CONTRIBUTING.md and doc/*.md, of what stands between `backquotes`:

    folder/file.c, file.h   exists; a name alone, or the end of a path, must fit one file only
    function()              is a function or macro of ours, or stands in EXTERNAL
    struct name             is one of ours
    some_name, SOME_NAME    occurs in the sources
    MIMALLOC_NAME[=...]     is an option, or another name of one

And everywhere: links to files, and the numbers of rules (P1), which a header must define. Blocks
of code are left alone, but for files below src/ and test/.
"""
import re
import sys
from pathlib import Path

FOLDERS = ("src", "include", "test", "bench", "tools", "cmake")
FILE_SUFFIXES = ("c", "h", "cpp", "py", "sh", "inc", "in", "md", "txt", "golden")
# Names of the system, of tools and of later programs; and of files that a build makes.
EXTERNAL = set("""
    abort aligned_alloc atexit calloc close_range dlclose dlopen exec exit _exit fork free getenv
    madvise main malloc malloc_info malloc_trim malloc_usable_size mallinfo2 membarrier mmap
    mprotect mremap munmap posix_memalign pthread_create pthread_exit realloc reallocarray setjmp
    longjmp strdup strndup vfork clone _Fork execve
    """.split())

FILE = re.compile(rf"^[\w./*-]*[\w*-]\.(?:{'|'.join(FILE_SUFFIXES)})$|^[\w.-]+(?:/[\w.*-]+)*/$")
FUNCTION = re.compile(r"^([A-Za-z_]\w*)\(\)$")
STRUCT = re.compile(r"^(?:struct|enum) (\w+)$")
NAME = re.compile(r"^[A-Za-z]\w*_\w*\w$")
OPTION = re.compile(r"^MIMALLOC_([A-Z_]+)(?:=.*)?$")
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
RULE = re.compile(r"(?<![\w`.-])([ABCDFGHIKLMOPRSTW])([1-9])(?![\w-])")
CODE_FILE = re.compile(r"(?<![\w./-])((?:src|test|include|tools|bench)/[\w./-]*\w)")


class Tree:
    """What the documents may name."""

    def __init__(self, root):
        self.root = root
        self.files = [path for folder in FOLDERS for path in (root / folder).rglob("*")
                      if "__pycache__" not in path.parts]
        self.files += [path for folder in ("doc", ".ci") for path in (root / folder).glob("*")]
        self.files += [path for path in root.iterdir() if path.name in FOLDERS or path.is_file()]
        sources = [path for path in self.files if path.is_file() and path.suffix != ".md"]
        self.text = "\n".join(path.read_text(encoding="utf-8", errors="replace")
                              for path in sources)
        self.words = set(re.findall(r"\w+", self.text))
        self.called = set(re.findall(r"\b(\w+)\s*\(", self.text))
        self.structs = set(re.findall(r"\b(?:struct|enum) (\w+)", self.text))
        headers = "\n".join(path.read_text(encoding="utf-8") for path in sources
                            if path.suffix == ".h" and path.is_relative_to(root / "src"))
        self.rules = set(re.findall(r"^ \*\s+([A-Z]\d)  \S", headers, re.MULTILINE))
        self.rules |= set(re.findall(r"^// (F\d) ", self.text, re.MULTILINE))  # floors, in one.c

    def files_named(self, name):
        """Files or folders whose path is, or ends with, this name; * stands for anything."""
        tail = re.escape(name.rstrip("/")).replace(r"\*", "[^/]*")
        ending = re.compile(rf"(?:^|/){tail}$")
        return [path for path in self.files
                if ending.search(path.relative_to(self.root).as_posix())]

    def problem_of(self, token):
        """What is wrong with the text between two backquotes, or None."""
        if FILE.match(token):
            found = self.files_named(token)
            if not found:
                return f"there is no file {token}"
            if "*" not in token and not (self.root / token).exists() and len(found) > 1:
                return f"{token} may be {' or '.join(sorted(str(path) for path in found))}"
            return None
        option = OPTION.match(token)
        if option:
            known = option.group(1).lower() in self.words or option.group(1) in ("NAME", "X")
            return None if known else f"there is no option {token}"
        function = FUNCTION.match(token)
        if function:
            known = function.group(1) in self.called or function.group(1) in EXTERNAL
            return None if known else f"there is no function {token}"
        struct = STRUCT.match(token)
        if struct:
            return None if struct.group(1) in self.structs else f"there is no {token}"
        if NAME.match(token) and token not in self.words and token not in EXTERNAL:
            return f"{token} is nowhere in the sources"
        return None


def split_lines(text):
    """(number, line, is in a block of code) of each line."""
    is_code = False
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("```"):
            is_code = not is_code
            continue
        yield number, line, is_code


def headings_of(document):
    """The names by which links call the headings of a document."""
    lines = split_lines(document.read_text(encoding="utf-8"))
    titles = [line.lstrip("#").strip().lower() for _, line, is_code in lines
              if line.startswith("#") and not is_code]
    return {re.sub(r"[^\w -]", "", title).replace(" ", "-") for title in titles}


def problems_of_line(tree, document, line, is_code):
    if is_code:
        for name in CODE_FILE.findall(line):
            if not (tree.root / name).exists():
                yield f"there is no file {name}"
        return
    for token in re.findall(r"`([^`]+)`", line):
        problem = tree.problem_of(token)
        if problem:
            yield problem
    for target, heading in LINK.findall(line):
        place = document.parent / target if target else document
        if "://" in target:
            continue
        if not place.exists():
            yield f"a link leads to {target}, which does not exist"
        elif heading and heading not in headings_of(place):
            yield f"{place.name} has no heading {heading}"
    for letter, number in RULE.findall(line):
        if letter + number not in tree.rules:
            yield f"no header of src/ defines rule {letter}{number}"


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve()
    tree = Tree(root)
    documents = [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "doc").glob("*.md"))]
    errors = 0
    for document in documents:
        if not document.exists():
            continue
        for number, line, is_code in split_lines(document.read_text(encoding="utf-8")):
            for problem in problems_of_line(tree, document, line, is_code):
                print(f"{document.relative_to(root)}:{number}: {problem}")
                errors += 1
    if errors:
        sys.exit(1)
    print(f"check_docs: {len(documents)} documents name what exists")


if __name__ == "__main__":
    main()
