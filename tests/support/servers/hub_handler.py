"""HTTP responses of the test Hub: routes, ranges, pages, errors, uploads of contents and commits."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from support.servers.hub_repositories import Account, Blob, HubError, Repositories, Repository, is_large


if TYPE_CHECKING:
    from support.servers.hub import HubServer

SIGNATURE = "X-Amz-Signature=signed-by-the-hub"  # nobody may ever show this
_NAME = r"(?P<name>[^/]+/[^/]+)"


class HubHandler(BaseHTTPRequestHandler):
    """One connection; the requests of it come one after the other."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Any
    body: bytes
    query: dict[str, list[str]]
    routes: ClassVar[list[tuple[str, re.Pattern[str], Callable[..., None]]]] = []

    @property
    def hub(self) -> HubServer:
        return self.server  # type: ignore[no-any-return]

    @property
    def store(self) -> Repositories:
        return self.hub.repositories

    @property
    def account(self) -> Account | None:
        header = self.headers.get("authorization", "")
        return self.store.account(header.removeprefix("Bearer ") or None)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests look at the log of requests."""

    def _answer(self) -> None:
        self.hub.note(self.command, self.path)
        parts = urlsplit(self.path)
        self.query = parse_qs(parts.query)
        fault = self.hub.fault(self.path)
        if fault and (fault.cut or fault.seconds):
            time.sleep(fault.seconds)
            self.close_connection = True
            return
        self.body = self._read_body()
        if fault and fault.lost:
            self.wfile = BytesIO()  # type: ignore[assignment]  # where nobody reads
            self.close_connection = True
        elif fault:
            self.send(fault.body or {"error": "something went wrong"}, fault.status, dict(fault.headers))
            return
        try:
            self._route(unquote(parts.path))
        except HubError as error:
            headers = {"X-Error-Message": error.message} | ({"X-Error-Code": error.code} if error.code else {})
            self.send({"error": error.message}, error.status, headers)

    do_GET = do_HEAD = do_POST = do_PUT = _answer

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _route(self, path: str) -> None:
        for method, pattern, answer in self.routes:
            found = pattern.fullmatch(path)
            if found and self.command in method.split("|"):
                answer(self, **found.groupdict())
                return
        raise HubError(404, f"Sorry, we can't find the page {path}")

    def send(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def send_content(self, content: bytes, headers: dict[str, str]) -> None:
        """A file, or the part of it that was asked for."""
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        headers = {"Accept-Ranges": "bytes", **headers}
        if found is None:
            self.send(content, 200, headers)
            return
        start, stop = int(found[1]), int(found[2] or len(content) - 1) + 1
        if start >= len(content):
            self.send(b"", 416, {"Content-Range": f"bytes */{len(content)}"})
            return
        part = content[start:stop]
        headers["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
        self.send(part, 206, headers)

    def send_page(self, entries: list[Any], size: int) -> None:
        start = int(self.query.get("cursor", ["0"])[0])
        headers = {}
        if start + size < len(entries):
            query = {key: values for key, values in self.query.items() if key != "cursor"}
            target = urlencode(query | {"cursor": [str(start + size)]}, doseq=True)
            address = f"http://{self.headers['Host']}{quote(urlsplit(self.path).path, safe='/%')}"
            headers["Link"] = f'<{address}?{target}>; rel="next"'
        self.send(entries[start : start + size], 200, headers)

    def on_cdn(self, path: str) -> str:
        port = self.headers["Host"].rpartition(":")[2]
        return f"http://localhost:{port}{path}?{SIGNATURE}"


def route(method: str, pattern: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def register(answer: Callable[..., None]) -> Callable[..., None]:
        HubHandler.routes.append((method, re.compile(pattern), answer))
        return answer

    return register


@route("GET", "/api/whoami-v2")
def _whoami(self: HubHandler) -> None:
    account = self.account
    if account is None:
        raise HubError(401, "Invalid username or password.")
    organizations = [{"name": name, "type": "org"} for name in sorted(account.organizations)]
    role = "write" if account.writes else "read"
    self.send({"type": "user", "name": account.user, "orgs": organizations, "auth": {"accessToken": {"role": role}}})


@route("GET", "/api/datasets")
def _list(self: HubHandler) -> None:
    account = self.account
    author, search = self.query.get("author", [""])[0], self.query.get("search", [""])[0].lower()
    wanted = set(self.query.get("filter", []))
    found = [
        repository
        for name, repository in sorted(self.store.by_name.items())
        if (not author or repository.owner == author)
        and search in name.lower()
        and wanted <= set(repository.tags)
        and (not repository.private or (account is not None and account.belongs_to(repository.owner)))
    ]
    expand = self.query.get("expand") or (
        ["siblings", "sha", "private", "tags"] if "full" in self.query else ["private"]
    )
    if not self.hub.tells_siblings:
        expand = [field for field in expand if field != "siblings"]
    size = min(int(self.query.get("limit", [str(self.hub.page_size)])[0]), self.hub.page_size)
    self.send_page([_described(repository, expand) for repository in found], size)


def _described(repository: Repository, fields: list[str]) -> dict[str, Any]:
    everything = {
        "author": repository.owner,
        "sha": repository.head,
        "private": repository.private,
        "gated": "manual" if repository.gated else False,
        "disabled": False,
        "tags": repository.tags,
        "siblings": [{"rfilename": path} for path in sorted(repository.files)],
    }
    return {
        "_id": repository.name,
        "id": repository.name,
        **{key: everything[key] for key in fields if key in everything},
    }


@route("POST", "/api/repos/create")
def _create(self: HubHandler) -> None:
    asked = json.loads(self.body)
    account = self.account
    owner, _, short = asked["name"].rpartition("/")
    owner = asked.get("organization") or owner or (account.user if account else "")
    self.store.check_writes(owner, account)
    if asked.get("type") != "dataset" or not re.fullmatch(r"[\w.-]{1,96}", short, re.ASCII):
        raise HubError(400, f"Invalid repository {asked}")
    name = f"{owner}/{short}"
    answer = {"url": f"https://huggingface.co/datasets/{name}", "name": name, "id": name}
    with self.store.lock:
        if name in self.store.by_name:
            self.send({"error": "You already created this dataset repo", **answer}, 409)
            return
        private = asked.get("private") or asked.get("visibility") == "private"
        self.store.create(name, private=bool(private))
    self.send(answer)


@route("GET", f"/api/datasets/{_NAME}(?:/revision/(?P<revision>[^/]+))?")
def _info(self: HubHandler, name: str, revision: str | None) -> None:
    repository = self.store.readable(name, self.account)
    repository.tree(revision or "main")
    self.send(_described(repository, ["author", "sha", "private", "gated", "disabled", "tags", "siblings"]))


@route("GET", f"/api/datasets/{_NAME}/tree/(?P<revision>[^/]+)(?:/(?P<directory>.*))?")
def _tree(self: HubHandler, name: str, revision: str, directory: str | None) -> None:
    repository = self.store.readable(name, self.account, content=True)
    files = repository.tree(revision)
    directory = f"{directory.strip('/')}/" if directory else ""
    inside = sorted(path for path in files if path.startswith(directory))
    if directory and not inside:
        raise HubError(404, f"{directory} does not exist on {revision!r}", "EntryNotFound")
    recursive = self.query.get("recursive", ["false"])[0].lower() in ("true", "1")
    entries, directories = [], dict[str, None]()
    for path in inside:
        below = path.removeprefix(directory).split("/")
        parents = [directory + "/".join(below[:depth]) for depth in range(1, len(below))]
        directories.update(dict.fromkeys(parents if recursive else parents[:1]))
        if recursive or len(below) == 1:
            entries.append(_entry(path, files[path]))
    entries += [{"type": "directory", "oid": "0" * 40, "size": 0, "path": path} for path in directories]
    self.send_page(entries, self.hub.page_size)


def _entry(path: str, blob: Blob) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "oid": blob.oid, "size": blob.size, "path": path}
    if blob.lfs is not None:
        entry["lfs"] = {"oid": blob.lfs, "size": blob.lfs_size, "pointerSize": 130}
    return entry


@route("POST", f"/api/datasets/{_NAME}/paths-info/(?P<revision>[^/]+)")
def _paths_info(self: HubHandler, name: str, revision: str) -> None:
    asked = json.loads(self.body) if self.body.startswith(b"{") else parse_qs(self.body.decode())
    files = self.store.readable(name, self.account, content=True).tree(revision)
    self.send([_entry(path, files[path]) for path in asked["paths"] if path in files])


@route("GET|HEAD", f"/datasets/{_NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
def _resolve(self: HubHandler, name: str, revision: str, path: str) -> None:
    repository = self.store.readable(name, self.account, content=True)
    blob = repository.tree(revision).get(path)
    if blob is None:
        raise HubError(404, "Entry not found", "EntryNotFound")
    commit = repository.head if revision == "main" else revision
    if blob.lfs is None:
        self.send_content(blob.content, {"X-Repo-Commit": commit, "ETag": f'"{blob.oid}"'})
        return
    headers = {"X-Repo-Commit": commit, "X-Linked-Etag": f'"{blob.lfs}"', "X-Linked-Size": str(blob.lfs_size)}
    self.send(b"", 302, headers | {"Location": self.on_cdn(f"/cdn/{blob.lfs}")})


@route("GET|HEAD", r"/cdn/(?P<digest>\w+)")
def _cdn(self: HubHandler, digest: str) -> None:
    _check_signed(self)
    self.send_content(self.store.contents[digest], {"ETag": f'"{digest}"'})


def _check_signed(self: HubHandler) -> None:
    if "authorization" in self.headers:
        raise HubError(400, "Only one auth mechanism allowed")
    if SIGNATURE not in self.path or not self.headers["Host"].startswith("localhost"):
        raise HubError(403, "SignatureDoesNotMatch")


@route("POST", f"/api/datasets/{_NAME}/preupload/(?P<revision>[^/]+)")
def _preupload(self: HubHandler, name: str, revision: str) -> None:
    files = self.store.writable(name, self.account).tree(revision)
    answers = []
    body = json.loads(self.body)
    ignored = body.get("gitIgnore", files.get(".gitignore", Blob()).content.decode()).split()
    for asked in body["files"]:
        base64.b64decode(asked["sample"], validate=True)
        path, size = asked["path"], asked["size"]
        is_ignored = any(fnmatch(path, f"*{pattern}") for pattern in ignored)
        answer = {"path": path, "uploadMode": "lfs" if is_large(path, size) else "regular", "shouldIgnore": is_ignored}
        if path in files:
            answer["oid"] = files[path].lfs or files[path].oid
        answers.append(answer)
    self.send({"files": answers, "commitOid": self.store.by_name[name].head})


@route("POST", "/api/validate-yaml")
def _validate(self: HubHandler) -> None:
    content = json.loads(self.body)["content"]
    if not content.startswith("---\n"):
        self.send({"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]})
        return
    errors = [] if "\nlicense: unheard-of\n" not in content else [{"message": '"license" must be one of [mit]'}]
    self.send({"errors": errors, "warnings": []}, 400 if errors else 200)


# Contents and commits


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
