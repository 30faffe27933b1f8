"""The programs: what each needs, what it is given to do, and what of its results is compared."""
import hashlib
import os
import shutil
import socket
import subprocess
import threading
import time

import inputs
from harness import HERE, Failure

PROGRAMS = {}


class Program:
    """One program. Subclasses say how it is prepared and run; `run` returns what is compared."""

    packages = ()
    commands = ()  # absent commands mean: not installed
    process = ""  # matches the path of the executable that must be served
    own_malloc = False  # the executable exports a malloc of its own: nothing to serve
    in_default_set = False

    def __init_subclass__(cls):
        super().__init_subclass__()
        cls.name = cls.__name__.lower().replace("pp", "++")
        PROGRAMS[cls.name] = cls

    def prepare(self, folder):
        """Generates the inputs."""

    def run(self, session):
        """Works through the inputs; returns {name: bytes or text}, equal for every allocator."""
        raise NotImplementedError

    def is_installed(self):
        return all(shutil.which(command, path=SEARCH_PATH) for command in self.commands)


# The system's own programs, not what a version manager puts in front of them.
SEARCH_PATH = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"


def script(name):
    return os.path.join(HERE, "scripts", name)


def file_digest(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def digest_of(data):
    return hashlib.sha256(data).hexdigest()


class Python3(Program):
    packages = ("python3",)
    commands = ("python3",)
    process = r"/python3[.\d]*$"
    in_default_set = True

    def run(self, session):
        argv = ["/usr/bin/python3", "-B", script("work.py")]
        # every object a block of malloc; then with Python's own allocator of small objects on top
        return {
            "output": session.run(argv, env={"PYTHONMALLOC": "malloc"}),
            "output with pymalloc": session.run(argv, env={"PYTHONMALLOC": "pymalloc"}),
        }


class Redis(Program):
    packages = ("redis-server", "redis-tools")
    commands = ("redis-server", "redis-benchmark")
    process = r"/redis-(server|check-rdb)$"
    in_default_set = True

    def run(self, session):
        path = os.path.join(session.folder, "redis.socket")
        argv = [
            "redis-server",
            "--port",
            "0",
            "--unixsocket",
            path,
            "--save",
            "",
            "--daemonize",
            "no",
            "--enable-debug-command",
            "local",
            "--dir",
            session.folder,
        ]
        with session.server(argv, lambda: os.path.exists(path)):
            rates = self.benchmark(session, path)
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(120)
                link.connect(path)
                replies = link.makefile("rb")
                return {"tests done": rates, **self.dialogue(link, replies)}

    @staticmethod
    def benchmark(session, path):
        result = subprocess.run(
            [
                "redis-benchmark",
                "-s",
                path,
                "-q",
                "-n",
                "40000",
                "-c",
                "20",
                "-P",
                "8",
                "-d",
                "200",
                "-r",
                "20000",
                "-t",
                "set,get,incr,lpush,rpop,sadd,hset,zadd,lrange_100,mset",
            ],
            env=session.plain_environment(),
            capture_output=True,
            text=True,
            timeout=200,
        )
        if result.returncode != 0:
            raise Failure(f"redis-benchmark: {result.stderr.strip()[-150:]}")
        lines = result.stdout.replace("\r", "\n").splitlines()
        done = sorted({line.split(":")[0] for line in lines if "requests per second" in line})
        if len(done) < 10:
            raise Failure(f"redis-benchmark only did {done}")
        return "\n".join(done)

    def dialogue(self, link, replies):
        """Fills a database, always the same; its digest before and after a save and a reload."""

        def ask(*words):
            link.sendall(request(*words))
            return read_reply(replies)

        ask("FLUSHALL")
        sender = threading.Thread(target=link.sendall, args=(b"".join(self.commands_to_fill()),))
        sender.start()
        for _ in self.commands_to_fill():
            read_reply(replies)
        sender.join()
        before = ask("DEBUG", "DIGEST")
        ask("SAVE")
        if (started := ask("BGSAVE")) != "Background saving started":
            raise Failure(f"BGSAVE says {started}")
        while "rdb_bgsave_in_progress:1" in (persistence := ask("INFO", "persistence")):
            time.sleep(0.02)
        if "rdb_last_bgsave_status:ok" not in persistence:
            raise Failure("the forked child could not save")
        ask("MEMORY", "PURGE")
        ask("DEBUG", "RELOAD")
        return {
            "digest": before,
            "digest after reload": ask("DEBUG", "DIGEST"),
            "keys": str(ask("DBSIZE")),
        }

    @staticmethod
    def commands_to_fill():
        for number in range(30000):
            key = str(number % 4000)
            yield (
                request("SET", "s" + key, "v" * (number % 700)),
                request("RPUSH", "l" + key, str(number)),
                request("HSET", "h" + key, "f" + str(number % 37), "x" * (number % 90)),
                request("ZADD", "z" + key, str(number % 91), "m" + str(number % 53)),
                request("DEL", "s" + str((number * 7) % 4000)),
            )[number % 5]


def request(*words):
    """A command in the protocol of redis."""
    return b"".join(
        [
            b"*%d\r\n" % len(words),
            *(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words),
        ]
    )


def read_reply(replies):
    line = replies.readline().rstrip().decode()
    if line[:1] == "-" or not line:
        raise Failure(f"redis answers {line!r}")
    if line[0] == "$":
        length = int(line[1:])
        return replies.read(length + 2)[:-2].decode() if length >= 0 else None
    return line[1:]


class Gcc(Program):
    packages = ("gcc", "libc6-dev")
    commands = ("gcc",)
    process = r"/cc1$"
    in_default_set = True

    def prepare(self, folder):
        inputs.c_source(os.path.join(folder, "large.c"))

    def run(self, session):
        session.run(["gcc", "-std=c11", "-O2", "-c", "../inputs/large.c", "-o", "large.o"])
        return {"object file": file_digest(os.path.join(session.folder, "large.o"))}


class Gpp(Program):
    packages = ("g++", "libc6-dev")
    commands = ("g++",)
    process = r"/cc1plus$"
    in_default_set = True

    def prepare(self, folder):
        inputs.cpp_source(os.path.join(folder, "large.cpp"))

    def run(self, session):
        session.run(["g++", "-std=c++17", "-O2", "-c", "../inputs/large.cpp", "-o", "large.o"])
        return {"object file": file_digest(os.path.join(session.folder, "large.o"))}


class Perl(Program):
    packages = ("perl",)
    commands = ("perl",)
    process = r"/perl$"
    in_default_set = True

    def run(self, session):
        return {"output": session.run(["perl", script("work.pl")], env={"PERL_HASH_SEED": "0"})}


class Git(Program):
    packages = ("git",)
    commands = ("git",)
    process = r"/git$"
    in_default_set = True

    def prepare(self, folder):
        inputs.git_stream(os.path.join(folder, "history"))

    def run(self, session):
        env = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "A", "GIT_COMMITTER_NAME": "A"}
        session.run(["git", "init", "-q", "-b", "main", "origin"], env=env)
        with open(os.path.join(session.inputs, "history"), "rb") as history:
            session.run(["git", "-C", "origin", "fast-import", "--quiet"], stdin=history, env=env)
        session.run(["git", "clone", "-q", "--no-local", "origin", "copy"], env=env)
        session.run(["git", "-C", "copy", "gc", "-q", "--aggressive", "--prune=now"], env=env)

        def ask(*words):
            return session.run(["git", "-C", "copy", *words], env=env)

        return {
            "fsck": ask("fsck", "--full", "--strict", "--no-progress"),
            "rev-parse": ask("rev-parse", "HEAD"),
            "ls-tree": ask("ls-tree", "-r", "-l", "HEAD"),
            "log": digest_of(ask("log", "--stat", "-p")),
            "objects": ask("rev-list", "--objects", "--all"),
            "status": ask("status", "--porcelain"),
        }


class Sqlite3(Program):
    packages = ("sqlite3",)
    commands = ("sqlite3",)
    process = r"/sqlite3$"
    in_default_set = True

    def prepare(self, folder):
        inputs.sql_script(os.path.join(folder, "work.sql"))

    def run(self, session):
        with open(os.path.join(session.inputs, "work.sql"), "rb") as commands:
            output = session.run(["sqlite3", "-bail", "work.db"], stdin=commands)
        return {
            "output and dump": f"{len(output)} bytes {digest_of(output)}",
            "database": file_digest(os.path.join(session.folder, "work.db")),
        }


class Node(Program):
    packages = ("nodejs",)
    commands = ("node",)
    process = r"/node(js)?$"

    def run(self, session):
        return {"output": session.run(["/usr/bin/node", script("work.js")])}


class Ghostscript(Program):
    packages = ("ghostscript",)
    commands = ("gs",)
    process = r"/gs$"

    def prepare(self, folder):
        inputs.postscript(os.path.join(folder, "pages.ps"))

    def run(self, session):
        common = ["gs", "-q", "-dNOPAUSE", "-dBATCH", "-dSAFER"]
        session.run([*common, "-sDEVICE=pdfwrite", "-sOutputFile=pages.pdf", "../inputs/pages.ps"])
        session.run(
            [*common, "-sDEVICE=png16m", "-r100", "-sOutputFile=page-%02d.png", "pages.pdf"]
        )
        return {
            f"page {page}": digest_of(
                inputs.png_pixels(os.path.join(session.folder, f"page-{page:02}.png"))
            )
            for page in range(1, 41)
        }


class Z3(Program):
    packages = ("z3",)
    commands = ("z3",)
    process = r"/z3$"

    def prepare(self, folder):
        inputs.smt_problem(os.path.join(folder, "problem.smt2"))

    def run(self, session):
        return {"output": session.run(["z3", "../inputs/problem.smt2"])}


class Nginx(Program):
    packages = ("nginx",)
    commands = ("nginx",)
    process = r"/nginx$"

    def prepare(self, folder):
        os.makedirs(os.path.join(folder, "site"))
        inputs.c_source(os.path.join(folder, "site", "large.txt"))
        inputs.web_page(os.path.join(folder, "site", "index.html"))

    def run(self, session):
        path = os.path.join(session.folder, "nginx.socket")
        user = "user root;" if os.geteuid() == 0 else ""  # it must reach the folder of this run
        temporary = " ".join(
            f"{kind}_temp_path tmp;"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        inputs.write(
            os.path.join(session.folder, "nginx.conf"),
            f"""{user} daemon off; worker_processes 2;
pid nginx.pid; error_log stderr;
events {{ worker_connections 64; }}
http {{ access_log off; {temporary} gzip on; gzip_min_length 100;
gzip_types text/plain; default_type text/plain;
server {{ listen unix:{path}; root ../inputs/site;
location /echo {{ return 200 "$request_uri $http_tag\\n"; }} }} }}
""",
        )
        argv = ["nginx", "-e", "stderr", "-p", session.folder, "-c", "nginx.conf"]
        with session.server(argv, lambda: os.path.exists(path)):
            return {"answers": self.ask(path)}

    @staticmethod
    def ask(path):
        """2,000 requests over 20 connections, half of them for gzip; the digest of the answers."""
        digest = hashlib.sha256()
        for connection in range(20):
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(30)
                link.connect(path)
                replies = link.makefile("rb")
                for number in range(100):
                    target = ("/index.html", "/large.txt", f"/echo/{number}", "/missing")[
                        number % 4
                    ]
                    packed = "Accept-Encoding: gzip\r\n" if connection % 2 else ""
                    link.sendall(
                        f"GET {target} HTTP/1.1\r\nHost: local\r\n"
                        f"Tag: {'t' * (number * 7)}\r\n{packed}\r\n".encode()
                    )
                    digest.update(read_answer(replies))
        return digest.hexdigest()


def read_answer(replies):
    """Status and body of an HTTP answer, of given length or in chunks."""
    status, headers = replies.readline(), {}
    if not status:
        raise Failure("nginx closed the connection")
    while line := replies.readline().strip():
        name, _, value = line.decode().partition(": ")
        headers[name.lower()] = value
    if headers.get("transfer-encoding") != "chunked":
        return status + replies.read(int(headers["content-length"]))
    body = b""
    while length := int(replies.readline(), 16):
        body += replies.read(length)
        replies.readline()
    replies.readline()
    return status + body


class Ruby(Program):
    packages = ("ruby",)
    commands = ("ruby",)
    process = r"/ruby[\d.]*$"

    def run(self, session):
        return {"output": session.run(["/usr/bin/ruby", script("work.rb")])}


class Openjdk(Program):
    packages = ("default-jdk-headless",)
    commands = ("java", "javac")
    process = r"/java$"

    def run(self, session):
        session.run(["javac", "-J-XX:-UsePerfData", "-d", "classes", script("Work.java")])
        return {
            "output": session.run(
                ["java", "-XX:-UsePerfData", "-Xmx256m", "-cp", "classes", "Work"]
            )
        }


class Libreoffice(Program):
    packages = ("libreoffice-writer-nogui", "poppler-utils")
    commands = ("soffice", "pdftotext")
    process = r"/soffice\.bin$"

    def prepare(self, folder):
        inputs.document(os.path.join(folder, "document.fodt"))

    def run(self, session):
        profile = f"file://{session.folder}/profile"
        session.run(
            [
                "soffice",
                f"-env:UserInstallation={profile}",
                "--headless",
                "--norestore",
                "--convert-to",
                "pdf",
                "--outdir",
                session.folder,
                os.path.join(session.inputs, "document.fodt"),
            ]
        )
        pdf = os.path.join(session.folder, "document.pdf")
        if not os.path.exists(pdf):
            raise Failure("soffice wrote no PDF file")
        text = subprocess.run(
            ["pdftotext", "-layout", pdf, "-"], check=True, capture_output=True
        ).stdout
        if len(text) < 10000:
            raise Failure("the PDF file holds no text")
        return {"text of the PDF": text}


class Chromium(Program):
    packages = ("chromium",)
    commands = ("chromium",)
    process = r"/chromium$"
    own_malloc = True

    def prepare(self, folder):
        inputs.web_page(os.path.join(folder, "page.html"))

    def run(self, session):
        session.run(
            [
                "chromium",
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--hide-scrollbars",
                f"--user-data-dir={session.folder}/profile",
                "--window-size=800,600",
                "--screenshot=shot.png",
                f"file://{session.inputs}/page.html",
            ]
        )
        return {"pixels": digest_of(inputs.png_pixels(os.path.join(session.folder, "shot.png")))}
