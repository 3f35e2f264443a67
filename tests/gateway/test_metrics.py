"""The metrics count what was transferred and contain no secret."""

import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shoal.errors import UsageError
from shoal.gateway.server import Gateway
from tests.helpers.gateway import Answer, curl, get, serving
from tests.helpers.holder import Holder, make_holding

CHUNK = 16_384
COUNT = 5
HOLDING = make_holding(COUNT * CHUNK - 5, chunk_size=CHUNK)


async def _scrape(gateway: Gateway, *options: str) -> Answer:
    return await curl(f"http://127.0.0.1:{gateway.port}/metrics", *options)


def _samples(answer: Answer) -> dict[str, float]:
    """Return every sample by its name and labels."""
    found = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        assert family.documentation
        for sample in family.samples:
            labels = ",".join(sample.labels[key] for key in sorted(sample.labels))
            found[f"{sample.name} {labels}".strip()] = sample.value
    return found


async def test_the_metrics_count_what_was_transferred() -> None:
    async with (
        Holder(HOLDING) as holder,
        serving(holder, with_metrics=True) as gateway,
    ):
        before = _samples(await _scrape(gateway))
        assert before["shoal_bytes_total received,direct"] == 0
        manifest = gateway.shares[0].manifest
        assert manifest is not None
        url = f"files/0/{manifest.root.name}"
        answer = await get(gateway, url, "-r", f"0-{2 * CHUNK - 1}")
        assert len(answer.body) == 2 * CHUNK
        after = _samples(await _scrape(gateway))
        stored = after["shoal_chunks 0,here"]
        assert stored == len(set(holder.sent)) >= 2
        assert after["shoal_bytes_total received,direct"] == stored * CHUNK
        assert after["shoal_chunks 0,missing"] == COUNT - stored
        assert after["shoal_peers direct,0"] == 1
        assert after["shoal_verification_failures_total"] == 0
        waits = after["shoal_queue_seconds_count reader"]
        assert 1 <= waits == after["shoal_queue_seconds_bucket +Inf,reader"]
        assert after["shoal_queue_seconds_sum reader"] > 0
        assert (
            after["shoal_disk_seconds_count write"] == 0
        )  # the gateway writes no files


async def test_the_metrics_contain_no_secret_and_are_guarded_like_other_paths() -> None:
    async with (
        Holder(HOLDING) as holder,
        serving(holder, with_metrics=True) as gateway,
    ):
        answer = await _scrape(gateway)
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        text = answer.body.decode()
        manifest = gateway.shares[0].manifest
        assert manifest is not None
        for secret in (
            gateway.token,
            str(HOLDING.link)[6:],
            HOLDING.link.id.hex(),
            manifest.root.name,
            str(holder.address),
        ):
            assert secret not in text
        assert (await _scrape(gateway, "-H", "Host: evil.example")).status == 421
        stranger = await _scrape(gateway, "-H", "Sec-Fetch-Site: cross-site")
        assert stranger.status == 403
        assert (await _scrape(gateway, "-X", "POST")).status == 405


@pytest.mark.parametrize("path", ["metrics", "metrics/", "metrics/x"])
async def test_metrics_are_not_served_unless_enabled(path: str) -> None:
    async with Holder(HOLDING) as holder, serving(holder) as gateway:
        answer = await curl(f"http://127.0.0.1:{gateway.port}/{path}")
        assert answer.status == 404


async def test_a_missing_package_is_reported_with_the_command_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    async with Holder(HOLDING) as holder:
        with pytest.raises(UsageError, match=r"pip install 'shoal\[metrics\]'"):
            async with serving(holder, with_metrics=True):
                pass
