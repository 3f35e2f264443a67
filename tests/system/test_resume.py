"""A killed download of an open channel keeps its verified chunks."""

from pathlib import Path

from tests.helpers.badpeers import StopsHalfway
from tests.helpers.commands import run
from tests.helpers.fakeserver import Background, FakeServer
from tests.helpers.wire import Content

CONTENT = Content.make(100_000)


def test_after_a_kill_only_missing_chunks_are_fetched(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with Background(lambda: StopsHalfway(CONTENT, 50)) as server:
        args = (CONTENT.id, "-o", target, "--peer", server.address, "--json")
        with run("get", *args) as program:
            program.wait_line(rf'"done": ?{50 * 1024}\b|"done": ?{49 * 1024 + 672}\b')
            program.kill()
        answered = set(server.requests[:50])
    assert not target.exists()
    with Background(lambda: FakeServer(CONTENT)) as server:
        ended = run("get", CONTENT.id, "-o", target, "--peer", server.address).finish()
        assert set(server.requests) == set(range(98)) - answered
        assert len(server.requests) == 48
    assert ended.code == 0
    assert "Resuming: " in ended.stderr
    assert target.read_bytes() == CONTENT.data
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
