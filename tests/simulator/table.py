"""Run seeds without each fix, and show which of them fail: docs/reliability.md."""

from collections.abc import Iterable, Iterator

from tests.simulator.fixes import FIXES
from tests.simulator.run import Result
from tests.simulator.shrink import kind_of
from tests.simulator.workers import run_many

__all__ = ["UNFOUND", "table"]

UNFOUND = "No seed fails without"

MAX_LISTED = 4  # seeds that one row lists
MAX_KINDS = 2  # kinds of violations that it lists


def table(
    names: Iterable[str], seeds: range, jobs: int, findings: int
) -> Iterator[str]:
    """Run seeds without each of these fixes; yield the lines of a table, and a report.

    A fix has had its turn once `findings` seeds have failed without it.
    """
    yield "| without the fix | seeds | seeds that fail | what they report |"
    yield "|---|---|---|---|"
    unfound: list[str] = []
    for name in names:
        ran, failed = _find(name, seeds, jobs, findings)
        yield _row(name, ran, failed)
        if not failed:
            unfound.append(name)
    yield ""
    yield f"{UNFOUND} {', '.join(unfound)}" if unfound else "Each fix is found missing."


def _find(
    name: str, seeds: range, jobs: int, findings: int
) -> tuple[range, list[Result]]:
    """Return the seeds that were run without a fix, and the results that failed."""
    failed: list[Result] = []
    with run_many(seeds, jobs, name) as results:
        for number, result in enumerate(results, 1):
            if result.violations:
                failed.append(result)
                if len(failed) == findings:
                    return seeds[:number], failed
    return seeds, failed


def _row(name: str, ran: range, failed: list[Result]) -> str:
    listed = ", ".join(str(each.plan.seed) for each in failed[:MAX_LISTED])
    more = f", and {len(failed) - MAX_LISTED} more" if len(failed) > MAX_LISTED else ""
    texts = [text for result in failed for text in result.violations]
    kinds = [kind_of(text).removeprefix("and ") for text in texts]
    common = sorted(set(kinds), key=kinds.count, reverse=True)[:MAX_KINDS]
    what = FIXES[name].what
    span = f"{ran.start}–{ran.stop - 1}"
    return f"| `{name}`: {what} | {span} | {listed}{more} | {'; '.join(common)} |"
