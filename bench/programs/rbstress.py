"""rbstress: a ruby program makes objects, fills tables and strings, and lets the collector run.

Models: a web application's worker. 4 threads, of which ruby runs one at a time, each serve 500
requests at scale 1: a request takes records out of a store, puts changed ones back, renders a page
from a template and parses it again; the store drops its oldest records, and the collector frees
what belonged to them (data/work.rb). Objects lie in ruby's own pages of slots; strings of more than
23 bytes, arrays of more than 3 elements, hashes and instance variables come from malloc, are made
by the threads and freed by whichever thread the collector runs in.

The output, checksums of what each thread rendered, must be that under the C library's malloc.
"""
from programs import support

PACKAGES = ["ruby"]
REQUESTS = 500
ENVIRONMENT = {"RUBYOPT": "", "GEM_HOME": "", "RUBYLIB": ""}


def available():
    return support.absent(PACKAGES, "ruby")


def prepare(work, scale, seed):
    support.keep_seed(work, seed)


def run(launcher, work, threads, scale):
    seed = support.kept_seed(work)
    requests = support.scaled(REQUESTS, scale)
    script = str(support.DATA / "work.rb")
    argv = [support.command("ruby"), "--disable-gems", script, seed, str(requests)]
    return support.run_and_compare(launcher, work, argv, env=ENVIRONMENT)
