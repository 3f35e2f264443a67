"""No relay or stranger passes as a holder; certificates cannot be tracked."""

import asyncio
import os
from hashlib import sha256
from pathlib import Path

import pytest

from shoal.core.crypto.proof import make_knock
from shoal.errors import NotAHolderError, PeerError
from shoal.transport.tls.certificate import (
    Certificates,
    client_context,
    make_certificate,
    peer_certificate,
)
from tests.helpers.relay import PlainRelay, TlsRelay
from tests.helpers.sealed import KEYS, OTHER_KEYS, answer_to, open_sealed
from tests.helpers.wrong_server import LyingServer, mismatched_context


async def test_a_captured_knock_is_refused_the_second_time() -> None:
    async with open_sealed() as sealed, PlainRelay(sealed.address) as relay:
        plain = await sealed.dial(address=relay.address)
        plain.transport.abort()
        captured = bytes(relay.to_server)
        # The knock and TLS's first record, which a server would answer.
        end = 53 + int.from_bytes(captured[51:53])
        assert await answer_to(sealed.address, captured[:end], end=True) == b""
        assert await answer_to(sealed.address, captured, end=True) == b""
        async with open_sealed() as another:  # each server accepts a knock once
            assert len(await answer_to(another.address, captured[:end], end=True)) > 99
        assert len(sealed.served) == 1


async def test_a_relay_with_its_own_certificate_is_refused_by_the_server() -> None:
    async with open_sealed() as sealed, TlsRelay(sealed.address) as relay:
        with pytest.raises(PeerError):
            await sealed.dial(address=relay.address)
        assert len(relay.to_client) == 34  # the greeting, without a proof
        assert len(relay.to_server) == 81
        assert not sealed.served


async def test_a_relay_with_its_own_certificate_is_refused_by_the_client() -> None:
    # The proof is a holder's, made for the holder's own certificate.
    async with LyingServer(make_certificate(), claimed=bytes(32)) as server:
        async with open_sealed() as sealed:
            with pytest.raises(NotAHolderError):
                await sealed.dial(address=server.address)
    # The same server passes when it is not relayed.
    certificate = make_certificate()
    async with LyingServer(certificate, claimed=certificate.digest) as server:
        async with open_sealed() as sealed:
            plain = await sealed.dial(address=server.address)
            plain.transport.abort()


async def test_the_right_certificate_without_its_key_is_refused() -> None:
    context, der = mismatched_context()
    async with LyingServer(context, claimed=sha256(der).digest()) as server:
        async with open_sealed() as sealed:
            with pytest.raises(PeerError, match="(?i)signature"):
                await sealed.dial(address=server.address)


async def test_a_server_that_knows_only_the_knock_is_refused() -> None:
    certificate = make_certificate()
    async with LyingServer(
        certificate, claimed=certificate.digest, keys=OTHER_KEYS
    ) as server:
        async with open_sealed() as sealed:
            with pytest.raises(NotAHolderError):
                await sealed.dial(address=server.address)


async def test_certificates_differ_between_nodes_hours_and_addresses() -> None:
    now, here = 0.0, ["10.0.0.1"]
    certificates = Certificates(lambda: now, lambda: here)
    first = certificates.current()
    now = 3599.0
    assert certificates.current() is first
    now = 3600.0
    second = certificates.current()
    here = ["10.0.0.2"]
    third = certificates.current()
    assert certificates.current() is third
    other = Certificates(lambda: now).current()
    assert len({each.digest for each in (first, second, third, other)}) == 4
    assert all(each.digest in certificates for each in (first, second, third))
    assert other.digest not in certificates


async def test_two_servers_of_a_share_have_different_certificates() -> None:
    shown = []
    for _ in range(2):
        async with open_sealed() as sealed:
            _, writer = await asyncio.open_connection(*sealed.address)
            writer.write(make_knock(KEYS.knock, os.urandom(16)))
            await writer.start_tls(client_context(), server_hostname="")
            tls = writer.get_extra_info("ssl_object")
            shown.append(tls.getpeercert(binary_form=True))
            assert peer_certificate(tls) == sealed.certificates.current().digest
            assert tls.version() == "TLSv1.3"
            writer.transport.abort()
    assert shown[0] != shown[1]


def test_without_memory_files_a_certificate_is_loaded_from_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    certificate = make_certificate()
    assert certificate.context.cert_store_stats()["x509"] == 0
    assert not list(tmp_path.iterdir())
    assert len(certificate.digest) == 32
