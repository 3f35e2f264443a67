"""`shoal doctor`: what works here, what does not, and what to do about it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shoal.cli.options import everywhere, option, settings_from
from shoal.errors import ShoalError

if TYPE_CHECKING:
    from shoal.doctor import Finding

__all__ = ["command"]


@everywhere
@click.command("doctor")
@option(
    "-C",
    "--folder",
    default=".",
    type=click.Path(path_type=Path, readable=False),
    metavar="DIR",
    help="Look at the disk where DIR is; here by default.",
)
def command(folder: Path, **options: Any) -> None:
    """Look at ports, multicast, the DHT, the disk and the machine.

    Each line says what was tried and, where there is something to know or to do, what.
    Exits 1 when something that is needed does not work.

    \b
    shoal doctor
    shoal doctor --port 4001 --peer 192.168.1.7:4001 -C /srv/models
    """
    from shoal.cli.runner import run_command

    run_command(_examine(folder, options))


async def _examine(folder: Path, options: dict[str, Any]) -> None:
    from shoal.cli.output import Output
    from shoal.doctor import State, examine

    output = Output.from_options(options)
    findings = []
    async for each in examine(settings_from(options), folder):
        findings.append(each)
        output.result(
            _plain(each),
            event="check",
            name=each.name,
            state=each.state.value,
            found=each.found,
            advice=each.advice,
        )
    bad = [each.name for each in findings if each.state is State.FAILED]
    if bad:
        count = f"{len(bad)} of {len(findings)} checks failed"
        raise ShoalError(f"{count}: {', '.join(bad)}; see there what to do.")
    notes = sum(each.state is State.NOTE for each in findings)
    output.event("complete", checks=len(findings), notes=notes)


def _plain(finding: "Finding") -> str:
    line = f"{finding.state.value:<7} {finding.name:<11} {finding.found}"
    return f"{line}\n{'':<20}{finding.advice}" if finding.advice else line
