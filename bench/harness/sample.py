"""Takes one sample: one run of a row under one allocator."""
import importlib
import json
import shutil
import tempfile
from pathlib import Path

from harness import suite
from harness.common import last_line, read_text
from harness.launcher import CannotRun, Crashed, Launcher, SampleFailed, WrongResult
from harness.results import MEASURES

STATUS_WRONG = 1
STATUS_CANNOT = 77
# A quick sample, which has a tenth of the work, may take this part of the suite's time limit.
QUICK_SHARE = 0.25
QUICK_LEAST_S = 10


class Sampler:
    """What all samples of a run share. Make it with `with`: it has a folder of its own."""

    def __init__(self, build, mode, seed=None):
        self.build, self.mode, self.seed = build, mode, seed
        self.measure = build.program("measure")
        self.folder = None
        self.prepared = {}  # of each workload that is a module: None, or why it cannot run

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="bench-"))
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)

    def limit_s(self, workload):
        if self.mode == "quick":
            return min(workload.timeout, max(QUICK_LEAST_S, workload.timeout * QUICK_SHARE))
        return workload.timeout

    def arguments(self, row):
        return row.workload.arguments[self.mode]

    def work(self, workload):
        return self.folder / "work" / workload.name

    def prepare(self, workload):
        """Makes the input of a real program. Returns None, or a line: why it cannot run."""
        if workload.name not in self.prepared:
            self.prepared[workload.name] = self.prepare_first(workload)
        return self.prepared[workload.name]

    def prepare_first(self, workload):
        reason = why_unavailable(workload.module)
        if reason is not None:
            return reason
        try:
            work = self.work(workload)
            work.mkdir(parents=True)
            scale = suite.scale_of(workload.arguments[self.mode])
            load_module(workload.module).prepare(work, scale, 1 if self.seed is None else self.seed)
            return None
        except Exception as error:  # whatever is wrong with one program must not end the others
            return f"its input cannot be made: {type(error).__name__}: {last_line(str(error))}"

    def take(self, row, allocator):
        """(sample, series), or a SampleFailed."""
        scratch = Path(tempfile.mkdtemp(dir=self.folder))
        launcher = Launcher(self.measure, allocator, scratch, self.limit_s(row.workload),
                            is_real_program=row.workload.module is not None)
        try:
            if row.workload.module:
                return self.take_of_module(row, launcher)
            return self.take_of_program(row, launcher)
        finally:
            launcher.close()
            shutil.rmtree(scratch, ignore_errors=True)

    def program_argv(self, row, mode=None):
        argv = [self.build.program(row.workload.program), "--threads", str(row.threads)]
        if self.seed is not None:
            argv += ["--seed", str(self.seed)]
        return [*argv, *row.workload.arguments[mode or self.mode], "--json"]

    def take_of_program(self, row, launcher):
        measurement = launcher.run(self.program_argv(row))
        check_status(measurement)
        report = read_report(read_text(measurement.stdout))
        sample = sample_of(measurement, report.get("values", {}))
        # Taken by the workload, before what an allocator may do when a process exits.
        sample["end_kib"] = report.get("end_kib", sample["end_kib"])
        for name, unit in (("seconds", "s"), ("operations", "1")):
            sample["values"].setdefault(name, {"value": report[name], "unit": unit})
        check_main(row.workload, sample)
        return sample, report.get("series", {})

    def take_of_module(self, row, launcher):
        reason = self.prepare(row.workload)
        if reason is not None:
            raise CannotRun(reason)
        module = load_module(row.workload.module)
        scale = suite.scale_of(self.arguments(row))
        try:
            result = module.run(launcher, self.work(row.workload), row.threads, scale)
            measurement = result["measurement"]
            check_status(measurement)
        except SampleFailed as error:
            raise first_crash(launcher, error) from error
        except Exception as error:  # a client whose server died, for one
            unexpected = WrongResult(f"{type(error).__name__}: {last_line(str(error))}")
            raise first_crash(launcher, unexpected) from error
        sample = sample_of(measurement, result.get("values", {}))
        check_main(row.workload, sample)
        return sample, result.get("series", {})


def load_module(name):
    return importlib.import_module(f"programs.{name}")


def why_unavailable(name):
    """None when a real program can run here, else one line."""
    try:
        return load_module(name).available()
    except Exception as error:  # a mistake in one module must not end the others
        return f"programs/{name}.py: {type(error).__name__}: {last_line(str(error))}"


def first_crash(launcher, error):
    """A program that crashed explains more than what was missed afterwards."""
    for running in launcher.started:
        if not running.is_running():
            try:
                measurement = running.wait()
            except SampleFailed as crash:
                return crash
            if measurement.status == STATUS_CANNOT:
                return CannotRun(measurement.last_words())
    return error


def check_status(measurement):
    status, words = measurement.status, measurement.last_words()
    if status == 0:
        return
    if status == STATUS_WRONG and words:
        raise WrongResult(words)
    if status == STATUS_CANNOT:
        raise CannotRun(words or "it says that it cannot run here")
    raise Crashed(f"exit status {status}" + (f": {words}" if words else ""))


def read_report(text):
    """The line of JSON that a workload prints."""
    try:
        report = json.loads(last_report_line(text))
        float(report["seconds"]), float(report["operations"])
        return report
    except (ValueError, TypeError, KeyError) as error:
        raise WrongResult(f"its last line is no result: {text.strip()[-80:]!r}") from error


def last_report_line(text):
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


def sample_of(measurement, values):
    sample = {name: getattr(measurement, name) for name in MEASURES}
    return {**sample, "instructions": None, "values": dict(values)}


def check_main(workload, sample):
    if workload.main not in MEASURES and workload.main not in sample["values"]:
        raise WrongResult(f"it did not report {workload.main}")
