"""moto's S3 server on 127.0.0.1, in a thread of this process."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

import boto3  # type: ignore[import-untyped]
import pytest
from moto.server import ThreadedMotoServer

__all__ = ["put_into", "s3_server"]


@contextmanager
def s3_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the server's URL, and set the variables that make programs use it as S3."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield address
    finally:
        server.stop()


def put_into(address: str, bucket: str, files: Mapping[str, bytes]) -> None:
    """Make a bucket with these files by key; .gz files are labelled as compressed."""
    # The default session keeps the first credentials that it finds.
    session = boto3.Session()
    with closing(session.client("s3", endpoint_url=address)) as client:
        client.create_bucket(Bucket=bucket)
        for key, data in files.items():
            label = {"ContentEncoding": "gzip"} if key.endswith(".gz") else {}
            client.put_object(Bucket=bucket, Key=key, Body=data, **label)
