"""What a guest said, and what to make of it."""

import re
from collections import Counter
from dataclasses import dataclass, field

# A test's own line, also after what another one has printed meanwhile.
TEST = re.compile(r"test (\S+)(?: - should panic)? \.\.\. (ok|FAILED)$", re.MULTILINE)
SKIP = re.compile(r"skipped (\S+): (.*)$", re.MULTILINE | re.IGNORECASE)
# Of what a test reads, what this kernel does not know.
LEFT_OUT = re.compile(r"left out (\S+: .*)$", re.MULTILINE)
FIGURE = re.compile(r"(median of \d+: .*)$", re.MULTILINE)
SUM = re.compile(r"test result: \S+ (\d+) passed; (\d+) failed")
START = re.compile(r"^VMSTART (\S+)", re.MULTILINE)
EXIT = re.compile(r"^VMEXIT (\d+)$", re.MULTILINE)


@dataclass
class Result:
    """A row of the table."""

    guest: str
    version: str = ""
    passed: int = 0
    failed: list[str] = field(default_factory=list)
    # Why, and how many tests each.
    skipped: Counter[str] = field(default_factory=Counter)
    # Parts of tests, and why.
    left_out: list[str] = field(default_factory=list)
    # What a test has measured.
    figures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    # What makes the whole guest a failure, or the reason for which there is none.
    error: str = ""
    vanished: bool = False
    # Its kernel could not be fetched.
    unavailable: bool = False

    @property
    def run(self) -> int:
        return self.passed + len(self.failed)

    @property
    def good(self) -> bool:
        return self.vanished or not (self.failed or self.error)

    @property
    def summary(self) -> str:
        if self.error:
            return f"FAILED: {self.error}"
        return f"{self.run} run, {self.passed} passed, {len(self.failed)} failed, {self.skipped.total()} skipped"


def read(guest: str, output: str, may_skip: list[str], is_command: bool) -> Result:
    """The result of a guest by what it printed: its exit is believed only with its marker, and its tests only as far as
    their lines agree with the sums. A command counts as one test."""
    result = Result(guest)
    output = output.replace("\r", "")
    started, ended = START.search(output), EXIT.search(output)
    if started:
        result.version = started[1]
    if is_command and ended:
        result.passed, result.failed = (1, []) if ended[1] == "0" else (0, ["the command"])
        return result
    tests = TEST.findall(output)
    result.failed = [name for name, verdict in tests if verdict == "FAILED"]
    # Tests run in threads of their name, and say so once for each reason.
    reasons = {name: reason for name, reason in SKIP.findall(output)}
    result.skipped = Counter(reasons.values())
    result.passed = len(tests) - len(result.failed) - len(reasons)
    result.left_out = sorted(set(LEFT_OUT.findall(output)))
    result.figures = FIGURE.findall(output)

    sums = [sum(map(int, column)) for column in zip(*SUM.findall(output))] or [0, 0]
    all_reasons = [*result.skipped, *result.left_out]
    unexpected = [reason for reason in all_reasons if not any(re.search(may, reason) for may in may_skip)]
    if not started:
        result.error = "the guest did not start"
    elif not ended:
        result.error = "the guest died, or did not end in time"
    elif sums != [len(tests) - len(result.failed), len(result.failed)]:
        result.error = f"{len(tests)} tests are listed, but the sums are {sums[0]} passed and {sums[1]} failed"
    elif not result.run:
        result.error = "nothing ran"
    elif ended[1] != "0" and not result.failed:
        result.error = f"the tests ended with {ended[1]}"
    elif unexpected:
        result.error = f"skipped, but must run here: {unexpected[0]}"
    return result


def table(results: list[Result]) -> str:
    """One row a guest; below, why tests were skipped, and what failed."""
    rows = [("guest", "kernel", "run", "passed", "failed", "skipped", "seconds", "")]
    for result in results:
        numbers = (result.run, result.passed, len(result.failed), result.skipped.total(), f"{result.seconds:.0f}")
        verdict = "skipped" if result.vanished else "ok" if result.good else "FAILED"
        rows.append((result.guest, result.version, *map(str, numbers), verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    for result in results:
        lines += [f"{result.guest}: {result.error}"] if result.error else []
        lines += [f"{result.guest}: failed: {name}" for name in result.failed]
        lines += [f"{result.guest}: {figure}" for figure in result.figures]
        lines += [f"{result.guest}: {count} skipped: {reason}" for reason, count in result.skipped.items()]
        lines += [f"{result.guest}: left out: {part}" for part in result.left_out]
    return "\n".join(lines)
