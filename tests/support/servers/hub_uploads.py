"""Uploads of contents and commits to the test Hub."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from support.servers.hub_handler import _NAME, HubHandler, _check_signed, route
from support.servers.hub_repositories import Blob, HubError, is_large


@route("POST", rf"/datasets/{_NAME}\.git/info/lfs/objects/batch")
def _batch(self: HubHandler, name: str) -> None:
    asked = json.loads(self.body)
    downloads = asked["operation"] == "download"
    if downloads:
        self.store.readable(name, self.account, content=True)
    else:
        self.store.writable(name, self.account)
    answers = []
    for wanted in asked["objects"]:
        digest, size = wanted["oid"], wanted["size"]
        answer: dict[str, Any] = {"oid": digest, "size": size}
        if downloads:
            answer["actions"] = {"download": {"href": self.on_cdn(f"/cdn/{digest}"), "expires_in": 3600}}
        elif digest not in self.store.contents:
            answer["actions"] = _actions(self, name, digest, size, asked.get("transfers", ["basic"]))
        answers.append(answer)
    self.send({"transfer": "basic", "objects": answers})


def _actions(self: HubHandler, name: str, digest: str, size: int, transfers: list[str]) -> dict[str, Any]:
    hub = f"http://{self.headers['Host']}"
    verify = {"href": f"{hub}/api/complete/{name}/{digest}/verify"}
    part_size = self.hub.part_size
    if size <= part_size or "multipart" not in transfers:
        return {"upload": {"href": self.on_cdn(f"/upload/{digest}")}, "verify": verify}
    header = {"chunk_size": str(part_size)}
    for number in range(1, -(-size // part_size) + 1):
        header[str(number)] = self.on_cdn(f"/upload/{digest}/{number}")
    return {"upload": {"href": f"{hub}/api/complete/{name}/{digest}/parts", "header": header}, "verify": verify}


@route("PUT", r"/upload/(?P<digest>\w+)(?:/(?P<number>\d+))?")
def _put(self: HubHandler, digest: str, number: str | None) -> None:
    _check_signed(self)
    with self.hub.lock:
        self.hub.received[digest] += len(self.body)
    if not self.body:
        raise HubError(501, "Not Implemented")  # as the store behind the Hub answers to empty contents
    if number is not None:
        self.hub.parts[digest, int(number)] = self.body
        self.send(b"", 200, {"ETag": f'"{hashlib.md5(self.body).hexdigest()}"'})
        return
    if hashlib.sha256(self.body).hexdigest() != digest:
        raise HubError(400, "The content does not have the SHA-256 that was announced")
    self.store.keep(self.body)
    self.send(b"", 200, {"ETag": f'"{hashlib.md5(self.body).hexdigest()}"'})


@route("POST", rf"/api/complete/{_NAME}/(?P<digest>\w+)/parts")
def _complete(self: HubHandler, name: str, digest: str) -> None:
    asked = json.loads(self.body)
    parts = [self.hub.parts[digest, part["partNumber"]] for part in asked["parts"]]
    told = [part["etag"].strip('"') for part in asked["parts"]]
    if told != [hashlib.md5(part).hexdigest() for part in parts]:
        raise HubError(400, "InvalidPart")
    content = b"".join(parts)
    if hashlib.sha256(content).hexdigest() != digest:
        raise HubError(400, "The content does not have the SHA-256 that was announced")
    self.store.keep(content)
    self.send({})


@route("POST", rf"/api/complete/{_NAME}/(?P<digest>\w+)/verify")
def _verify(self: HubHandler, name: str, digest: str) -> None:
    self.store.writable(name, self.account)
    content = self.store.contents.get(digest)
    if content is None or len(content) != json.loads(self.body)["size"]:
        raise HubError(404, "The content is not there")
    self.send({})


@route("POST", f"/api/datasets/{_NAME}/commit/(?P<revision>[^/]+)")
def _commit(self: HubHandler, name: str, revision: str) -> None:
    repository = self.store.writable(name, self.account)
    lines = [json.loads(line) for line in self.body.splitlines()]
    header = next(line["value"] for line in lines if line["key"] == "header")
    with self.store.lock:
        parent = header.get("parentCommit")
        if parent is not None and parent != repository.head:
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repository.files)
        for line in lines:
            _change(self, files, line["key"], line["value"])
        oid = repository.commit(files, header["summary"])
    address = f"https://huggingface.co/datasets/{name}/commit/{oid}"
    self.send({"success": True, "commitOid": oid, "commitUrl": address, "hookOutput": ""})


def _change(self: HubHandler, files: dict[str, Blob], kind: str, value: dict[str, Any]) -> None:
    if kind == "header":
        return
    path = value["path"]
    if kind == "file":
        content = base64.b64decode(value["content"], validate=True)
        if content and is_large(path, len(content)):  # empty ones never are, as the store refuses them
            raise HubError(400, f"Your push was rejected because {path} is to be LFS")
        files[path] = Blob(content)
    elif kind == "lfsFile":
        if value["oid"] not in self.store.contents:
            raise HubError(400, f"The LFS pointer of {path} points to a content that does not exist")
        files[path] = Blob(lfs=value["oid"], lfs_size=value["size"])
    elif kind == "deletedFile":
        del files[path]
    else:
        raise HubError(400, f"Unknown operation {kind!r}")
