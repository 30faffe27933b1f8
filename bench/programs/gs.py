"""gs: ghostscript interprets and draws a long document.

Models: a document server. One process reads a generated PDF file of 2000 pages at scale 1, as it
would read a processor's manual: text in three of the standard fonts, curves, numbers, links and an
outline; the contents of each second page are compressed. The pages are drawn as bitmaps of 24 dots
per inch: fonts, paths and clipping work, but little time goes into pixels.

The bitmaps must be those that ghostscript draws under the C library's malloc. Ghostscript has pools
of its own for small objects; malloc sees their chunks, glyphs, paths and the libraries it links.
"""
import random
import zlib

from harness.launcher import WrongResult
from programs import support

PACKAGES = ["ghostscript"]
PAGES = 2000
LINES_PER_PAGE = 25
CURVES_PER_PAGE = 8
PAGES_PER_BRANCH = 50
FONTS = ("Times-Roman", "Helvetica-Bold", "Courier")
FIRST_PAGE = 5 + len(FONTS)
PAGE_BYTES = 198 // 8 * 280  # at least, of a bitmap


def available():
    return support.absent(PACKAGES, "gs")


def page_contents(source, number):
    parts = [f"BT /F2 14 Tf 60 780 Td (Part {number // 20 + 1}, page {number + 1}) Tj ET\n"]
    for line in range(LINES_PER_PAGE):
        font, height = ("F1", 10) if line % 9 else ("F3", 8)
        text = " ".join(source.choices(support.WORDS, k=11)) + f" {source.randrange(10**6)}"
        parts.append(f"BT /{font} {height} Tf 60 {750 - 14 * line} Td ({text}) Tj ET\n")
    for _ in range(CURVES_PER_PAGE):
        points = " ".join(str(source.randrange(60, 540)) for _ in range(6))
        grey = source.randrange(100) / 100
        parts.append(f"q {grey} G {source.randrange(60, 540)} 90 m {points} c S Q\n")
    return "".join(parts).encode()


class Writer:
    """A PDF file that is written object by object."""

    def __init__(self, file):
        self.file = file
        self.places = {}
        file.write(b"%PDF-1.4\n")

    def add(self, number, body):
        self.places[number] = self.file.tell()
        self.file.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))

    def add_stream(self, number, data, is_packed):
        header = b""
        if is_packed:
            data, header = zlib.compress(data, 6), b"/Filter /FlateDecode "
        length = b"/Length %d" % len(data)
        self.add(number, b"<< %s%s >>\nstream\n%s\nendstream" % (header, length, data))

    def finish(self):
        """The table of places, in the order of the numbers: there must be no gap."""
        start = self.file.tell()
        count = len(self.places) + 1
        self.file.write(b"xref\n0 %d\n0000000000 65535 f \n" % count)
        for number in range(1, count):
            self.file.write(b"%010d 00000 n \n" % self.places[number])
        self.file.write(
            b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (count, start)
        )


def write_document(path, pages, source):
    """Objects: 1 catalogue, 2 tree, 3 resources, 4 outline, 5 to 7 fonts, pages, branches of 2.

    The fonts are objects of their own: ghostscript keeps only such ones from page to page.
    """
    with open(path, "wb") as file:
        out = Writer(file)
        out.add(1, b"<< /Type /Catalog /Pages 2 0 R /Outlines 4 0 R >>")
        write_tree(out, pages)
        out.add(3, b"<< /Font << /F1 5 0 R /F2 6 0 R /F3 7 0 R >> >>")
        for number, name in enumerate(FONTS, 5):
            out.add(number, f"<< /Type /Font /Subtype /Type1 /BaseFont /{name} >>".encode())
        out.add(
            4,
            b"<< /Type /Outlines /Count %d /First %d 0 R /Last %d 0 R >>"
            % (pages, FIRST_PAGE + 2, first_branch(pages) - 1),
        )
        for page in range(pages):
            write_page(out, page, pages, source)
        out.finish()


def references(numbers):
    return b" ".join(b"%d 0 R" % number for number in numbers)


def write_tree(out, pages):
    """Two levels: ghostscript walks along all branches to a page."""
    branches = range(first_branch(pages), first_branch(pages) + -(-pages // PAGES_PER_BRANCH))
    out.add(2, b"<< /Type /Pages /Count %d /Kids [%s] >>" % (pages, references(branches)))
    for index, number in enumerate(branches):
        inside = range(index * PAGES_PER_BRANCH, min((index + 1) * PAGES_PER_BRANCH, pages))
        out.add(
            number,
            b"<< /Type /Pages /Parent 2 0 R /Count %d /Kids [%s] >>"
            % (len(inside), references(FIRST_PAGE + 3 * page for page in inside)),
        )


def first_branch(pages):
    return FIRST_PAGE + 3 * pages


def write_page(out, page, pages, source):
    """The page, its contents, and its entry in the outline."""
    number = FIRST_PAGE + 3 * page
    parent = first_branch(pages) + page // PAGES_PER_BRANCH
    target = FIRST_PAGE + 3 * source.randrange(pages)
    link = (
        "<< /Type /Annot /Subtype /Link /Rect [60 60 200 75] /Border [0 0 0] "
        f"/Dest [{target} 0 R /Fit] >>"
    )
    out.add(
        number,
        f"<< /Type /Page /Parent {parent} 0 R /MediaBox [0 0 595 842] /Resources 3 0 R "
        f"/Contents {number + 1} 0 R /Annots [{link}] >>".encode(),
    )
    out.add_stream(number + 1, page_contents(source, page), is_packed=page % 2 == 1)
    neighbours = "" if page == 0 else f"/Prev {number - 1} 0 R "
    neighbours += "" if page == pages - 1 else f"/Next {number + 5} 0 R "
    out.add(
        number + 2,
        f"<< /Title (Page {page + 1}) /Parent 4 0 R {neighbours}"
        f"/Dest [{number} 0 R /Fit] >>".encode(),
    )


def prepare(work, scale, seed):
    path = work / "document.pdf"
    write_document(path, support.scaled(PAGES, scale), random.Random(seed))


def arguments(output):
    return [
        support.command("gs"),
        "-q",
        "-dNOPAUSE",
        "-dBATCH",
        "-dSAFER",
        "-sDEVICE=pbmraw",
        "-r24",
        f"-sOutputFile={output}",
        "document.pdf",
    ]


def run(launcher, work, threads, scale):
    found, wanted = work / "found.pbm", work / "wanted.pbm"
    found.unlink(missing_ok=True)
    measurement = launcher.run(arguments(found), cwd=work)
    support.require_success(measurement, "gs")
    pages = support.scaled(PAGES, scale)
    if not found.exists() or found.stat().st_size < pages * PAGE_BYTES:
        raise WrongResult(f"gs did not draw {pages} pages")

    def drawn_under_plain_malloc():
        support.plain_output(launcher, arguments(wanted), cwd=work)
        return summary(wanted)

    support.require_reference(work, summary(found), drawn_under_plain_malloc)
    return {"measurement": measurement, "values": {}}


def summary(path):
    return f"{path.stat().st_size} bytes, {support.digest_of(path)}"
