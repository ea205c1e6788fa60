"""An S3 server on this computer: moto's, which keeps its objects in memory and speaks the real protocol."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import boto3
import requests
from botocore.config import Config
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer


KEY_ID, SECRET = "AKIDTESTTESTTESTTEST", "a-secret-that-must-not-be-seen"


class S3Server:
    """A running server; every bucket is new, so that tests do not meet."""

    def __init__(self, server: ThreadedMotoServer) -> None:
        self._names = (f"bucket-{number}" for number in itertools.count())
        self.host, self.port = server.get_host_and_port()
        self._clients: dict[str, Any] = {}

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def environment(self, url: str | None = None) -> dict[str, str]:
        """The variables by which every client of S3 finds the server, or what stands before it."""
        return {
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": url or self.url,
            # Neither the user's own files nor the address that computers in the cloud ask for credentials.
            "AWS_CONFIG_FILE": "/nonexistent/config",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent/credentials",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str = "s3") -> Any:
        """A client of boto3, for looking at the server from another side; made once, as that takes long."""
        if service not in self._clients:
            keys = {"aws_access_key_id": KEY_ID, "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
            config = Config(connect_timeout=5, read_timeout=15, retries={"total_max_attempts": 1})
            self._clients[service] = boto3.client(service, endpoint_url=self.url, config=config, **keys)
        return self._clients[service]

    def new_bucket(self) -> str:
        name = next(self._names)
        self.client().create_bucket(Bucket=name)
        return name

    def objects(self, bucket: str) -> dict[str, bytes]:
        """All that is in a bucket."""
        client = self.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        names = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        return {name: client.get_object(Bucket=bucket, Key=name)["Body"].read() for name in names}

    def put(self, bucket: str, name: str, content: bytes, **options: str) -> None:
        self.client().put_object(Bucket=bucket, Key=name, Body=content, **options)

    def fill(self, bucket: str, contents: Mapping[str, bytes]) -> None:
        """Put very many objects into a bucket, behind the back of the protocol."""
        store = s3_backends["123456789012"]["aws"]
        for name, content in contents.items():
            store.put_object(bucket, name, content)

    def add_user(self, name: str) -> tuple[str, str]:
        """Make a user who may do everything with buckets, and give their key and secret."""
        client = self.client("iam")
        client.create_user(UserName=name)
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
        client.put_user_policy(UserName=name, PolicyName="buckets", PolicyDocument=json.dumps(policy))
        made = client.create_access_key(UserName=name)["AccessKey"]
        return made["AccessKeyId"], made["SecretAccessKey"]

    @contextmanager
    def credentials_checked(self) -> Iterator[None]:
        """From here on the server looks at who asks, and at the signature; else it lets everybody in."""
        self._unchecked_requests("0")
        try:
            yield
        finally:
            self._unchecked_requests("inf")

    def _unchecked_requests(self, count: str) -> None:
        requests.post(f"{self.url}/moto-api/reset-auth", data=count.encode(), timeout=15).raise_for_status()


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server on a free port of this computer, while it is needed."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # it tells of every request
    running = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()  # returns when the port is bound
    try:
        yield S3Server(running)
    finally:
        running.stop()
