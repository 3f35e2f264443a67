"""`shoal doctor`: check this machine and network, and say how to fix problems."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shoal.cli.options import Command, settings_from
from shoal.errors import ShoalError

if TYPE_CHECKING:
    from shoal.doctor import Finding

__all__ = ["doctor"]


@click.command(cls=Command)
async def doctor(**options: Any) -> None:
    """Check ports, the router, multicast, the DHT, the disk and the machine.

    Each line is the result of one check, followed by advice where there is some. The
    exit code is 1 if something that shoal needs does not work.

    \b
    shoal doctor
    shoal doctor --port 4001 --peer 192.168.1.7:4001 -C /srv/models
    """
    from shoal.cli.output import Output
    from shoal.doctor import State, examine

    output = Output.from_options(options)
    findings = []
    folder = Path(options["folder"] or ".")
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
        raise ShoalError(f"{count}: {', '.join(bad)}; see above what to do.")
    notes = sum(each.state is State.NOTE for each in findings)
    output.event("complete", checks=len(findings), notes=notes)


def _plain(finding: "Finding") -> str:
    line = f"{finding.state.value:<7} {finding.name:<11} {finding.found}"
    return f"{line}\n{'':<20}{finding.advice}" if finding.advice else line
