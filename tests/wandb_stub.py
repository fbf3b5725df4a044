"""A W&B server on loopback for the real wandb 0.31: it keeps what it received, and may be slow, dead or in trouble.

    with WandbStub() as server:
        os.environ.update(server.environment)       # WANDB_BASE_URL and a key
        ...                                         # wandb.init() and so on
        server.runs["my-id"].history                # what a user would see

    python tests/wandb_stub.py PORT FOLDER --delay 30   # in a process of its own; then WandbStub.load(FOLDER)

What came in is a list of requests, and what the server knows follows from it alone; with a folder each request is
appended to ``requests.jsonl`` there before it is answered, so a server killed and started again goes on where it was.
Operations and their fields are those of the GraphQL documents in wandb-core 0.31 and ``wandb/sdk/artifacts``.
"""

import argparse
import base64
import contextlib
import gzip
import json
import os
import re
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

KEY = "0123456789" * 4
ENTITY = "team"
REQUESTS = "requests.jsonl"


@dataclass
class StubRun:
    """A run, as the server has it."""

    id: str
    project: str = ""
    entity: str = ENTITY
    lines: dict[int, list[str]] = field(default_factory=dict)  # of the history, by offset: all that was sent, in turn
    streams: dict[str, dict[int, str]] = field(default_factory=dict)  # output.log, wandb-events.jsonl ...
    files: dict[str, bytes] = field(default_factory=dict)
    alerts: list[dict] = field(default_factory=list)
    raw_config: dict = field(default_factory=dict)
    summary: dict = field(default_factory=dict)
    upserts: list[dict] = field(default_factory=list)
    exit_code: int | None = None
    complete: bool = False

    @property
    def history(self):
        """The history, as it stands: a dict a line, in order."""
        return [json.loads(self.lines[offset][-1]) for offset in sorted(self.lines)]

    @property
    def again(self):
        """How many lines came more than once (and overwrote)."""
        return sum(len(sent) - 1 for sent in self.lines.values())

    @property
    def gaps(self):
        """Offsets for which nothing came, though something came after them."""
        return sorted(set(range(max(self.lines, default=-1) + 1)) - self.lines.keys())

    @property
    def config(self):
        """The config, without wandb's own part."""
        return {name: entry["value"] for name, entry in self.raw_config.items() if name != "_wandb"}

    @property
    def log(self):
        """Text of the Logs tab."""
        lines = self.streams.get("output.log", {})
        return "".join(lines[offset] for offset in sorted(lines))

    def said(self, name):
        """Give the last value of a variable of UpsertBucket that was not null: ``displayName``, ``tags`` ..."""
        return next((one[name] for one in reversed(self.upserts) if one.get(name) is not None), None)


@dataclass
class StubArtifact:
    """An artifact, as the server has it."""

    id: str
    name: str
    type: str
    run: str
    digest: str
    version: int
    aliases: list[str] = field(default_factory=list)
    metadata: dict = field(default_factory=dict)
    state: str = "PENDING"
    files: dict[str, bytes] = field(default_factory=dict)
    manifest: dict | None = None


class WandbStub:
    """The server.

    Attributes
    ----------
    delay : float
        Seconds before each answer.
    status : int
        With which all is answered that would be taken otherwise (500, 429 ...; nothing is kept then); 0: as it should.
    requests : list of (method, path, body)
        All that was taken, bodies unpacked.
    operations : list of str
        Names of what was asked: of GraphQL operations, ``file_stream``, ``PUT``; also of what was refused.
    unknown, errors : list
        Operations for which there is no answer, and faults of the stub itself: tests look that there are none.
    """

    def __init__(self, port=0, folder=None, *, delay=0.0, status=0):
        self.port, self.folder = port, folder and Path(folder)
        self.delay, self.status = delay, status
        self.requests, self.operations, self.runs, self.artifacts = [], [], {}, []
        self.unknown = []  # operations that it has no answer for
        self.errors = []  # of its own
        self._lock, self._server = threading.RLock(), None
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._replay()

    @classmethod
    def load(cls, folder):
        """Give what the server of a folder had received, without starting one."""
        return cls(folder=folder)

    def _replay(self):
        with contextlib.suppress(FileNotFoundError):
            for line in (self.folder / REQUESTS).read_bytes().splitlines():
                with contextlib.suppress(ValueError):  # torn by a kill: it was not answered, so it came again
                    method, path, body = json.loads(line)
                    self._take(method, path, base64.b64decode(body))

    # --- to live and to die ---

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self):
        """Variables for wandb."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, "WANDB_MODE": "online"}

    def start(self):
        """Listen; after :meth:`kill` on the same port again."""
        self._server = _Server(("127.0.0.1", self.port), self)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def kill(self):
        """Be gone, as a process that was killed: connections are reset, new ones refused. What was taken stays."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            server.reset()

    def __enter__(self):
        return self.start()

    def __exit__(self, *error):
        self.kill()

    # --- what it was told ---

    @property
    def bodies(self):
        """All bytes that were received, paths included."""
        return b"\n".join(path.encode() + b"\n" + body for _, path, body in self.requests)

    @property
    def alerts(self):
        """Of all runs."""
        return [alert for run in self.runs.values() for alert in run.alerts]

    def artifact(self, name, alias="latest"):
        """Give the newest committed artifact with a name, of those that have an alias."""
        found = [one for one in self.artifacts if one.name == name and one.state == "COMMITTED"]
        return next((one for one in reversed(found) if alias in (None, *one.aliases)), None)

    def take(self, method, path, body):
        """Keep a request and give the answer."""
        with self._lock:
            if self.folder:
                line = json.dumps([method, path, base64.b64encode(body).decode()])
                with (self.folder / REQUESTS).open("ab") as file:
                    file.write(line.encode() + b"\n")
            return self._take(method, path, body)

    def _take(self, method, path, body):
        self.requests.append((method, path, body))
        if method == "PUT":
            return self._put(path, body)
        if path.endswith("/file_stream"):
            return self._file_stream(path, json.loads(body))
        if path.endswith("/graphql"):
            return self._graphql(json.loads(body))
        return {}

    def _run(self, name):
        return self.runs.setdefault(name, StubRun(name))

    def _put(self, path, body):
        _, _, kind, owner, name = path.split("/", 4)  # /put/run/ID/NAME, /put/artifact/ID/NAME, /put/manifest/ID/-
        name = unquote(name)
        if kind == "run":
            self._run(owner).files[name] = body
        elif kind == "artifact":
            self._artifact(owner).files[name] = body
        else:
            self._artifact(owner).manifest = json.loads(body)
        return {}

    def _file_stream(self, path, told):
        entity, project, name = path.split("/")[-4:-1]
        run = self._run(name)
        run.entity, run.project = entity, project
        for file_name, part in (told.get("files") or {}).items():
            if file_name == "wandb-summary.json":
                run.summary = json.loads(part["content"][-1])
                continue
            for number, line in enumerate(part["content"], part["offset"]):
                if file_name == "wandb-history.jsonl":
                    run.lines.setdefault(number, []).append(line)
                else:
                    run.streams.setdefault(file_name, {})[number] = line
        if told.get("complete"):
            run.complete, run.exit_code = True, told.get("exitcode")
        return {"limits": {}}

    def _graphql(self, told):
        found = re.search(r"(?:query|mutation)\s+(\w+)", told.get("query", ""))
        name = told.get("operationName") or (found[1] if found else "")
        method = getattr(self, f"_on_{name}", None)
        if method is None:
            self.unknown.append(name)
            return {"data": {}}
        return {"data": method(told.get("variables") or {})}

    # --- runs ---

    def _on_ServerFeaturesQuery(self, asked):
        return {"serverInfo": {"features": []}}

    def _on_Viewer(self, asked):
        return {"viewer": {"id": "u", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": {"edges": []}}}

    def _on_UpsertBucket(self, asked):
        name = asked.get("name") or str(asked.get("id")).removeprefix("storage-")
        inserted = name not in self.runs
        run = self._run(name)
        run.project, run.entity = asked.get("project") or run.project, asked.get("entity") or run.entity
        run.upserts.append(asked)
        if asked.get("config"):
            run.raw_config = json.loads(asked["config"])
        if asked.get("summaryMetrics"):
            run.summary = json.loads(asked["summaryMetrics"])
        project = {"id": "p", "name": run.project, "entity": {"id": "e", "name": run.entity}}
        bucket = {"id": f"storage-{name}", "name": name, "displayName": run.said("displayName") or name}
        bucket |= {"description": "", "config": json.dumps(run.raw_config), "sweepName": None, "project": project}
        return {"upsertBucket": {"bucket": {**bucket, "historyLineCount": len(run.lines)}, "inserted": inserted}}

    def _on_RunResumeStatus(self, asked):
        run = self.runs.get(asked["name"])
        model = {"id": "p", "name": asked.get("project"), "entity": {"id": "e", "name": asked.get("entity") or ENTITY}}
        if run is None:
            return {"model": {**model, "bucket": None}}
        events = run.streams.get("wandb-events.jsonl", {})
        bucket = {"id": f"storage-{run.id}", "name": run.id, "displayName": run.said("displayName") or run.id}
        bucket |= {"summaryMetrics": json.dumps(run.summary), "config": json.dumps(run.raw_config)}
        bucket |= {"historyLineCount": len(run.lines), "historyTail": json.dumps(_tail(run.lines, last=-1))}
        bucket |= {"eventsLineCount": len(events), "eventsTail": json.dumps(_tail(events))}
        bucket |= {"logLineCount": len(run.streams.get("output.log", {})), "tags": run.said("tags") or []}
        bucket |= {"notes": run.said("notes"), "wandbConfig": json.dumps({"t": 1})}
        return {"model": {**model, "bucket": bucket}}

    def _on_CreateRunFiles(self, asked):
        files = [{"name": name, "uploadUrl": f"{self.url}/put/run/{asked['run']}/{name}"} for name in asked["files"]]
        return {"createRunFiles": {"runID": f"storage-{asked['run']}", "uploadHeaders": [], "files": files}}

    def _on_MarkRunFilesUploaded(self, asked):
        return {"markRunFilesUploaded": {"success": True}}

    def _on_NotifyScriptableRunAlert(self, asked):
        self._run(asked["runName"]).alerts.append(asked)
        return {"notifyScriptableRunAlert": {"success": True}}

    # --- artifacts ---

    def _artifact(self, number):
        return self.artifacts[int(number)]

    def _on_ArtifactType(self, asked):
        name = asked["name"].split(":")[0].split("/")[-1]
        found = next((one for one in self.artifacts if one.name == name), None)
        return {"project": {"artifact": found and {"artifactType": {"name": found.type}}}}

    def _on_XXHashDigestsEnabled(self, asked):
        return {"entity": {"xxhashDigestsEnabled": False}}

    def _on_FetchArtifactDigestAlgorithm(self, asked):
        return {"project": {"artifactType": None}}

    def _on_CreateArtifact(self, asked):
        asked = asked["input"]
        name = (asked.get("artifactCollectionNames") or [asked.get("artifactCollectionName")])[0]
        earlier = [one for one in self.artifacts if one.name == name]
        same = next((one for one in earlier if one.digest == asked["digest"] and one.state == "COMMITTED"), None)
        made = same or StubArtifact(
            str(len(self.artifacts)),
            name,
            asked["artifactTypeName"],
            asked.get("runName"),
            asked["digest"],
            len(earlier),
        )
        if same is None:
            self.artifacts.append(made)
        for alias in (one["alias"] for one in asked.get("aliases") or ()):
            for other in earlier:
                if alias in other.aliases:
                    other.aliases.remove(alias)
            made.aliases.append(alias)
        made.metadata = json.loads(asked.get("metadata") or "{}")
        latest = {"id": earlier[-1].id} if earlier else None
        made_of = {"id": made.id, "state": made.state, "artifactSequence": {"latestArtifact": latest}}
        return {"createArtifact": {"artifact": made_of}}

    def _manifest(self, number):
        return {"id": number, "file": {"id": number, **self._upload(f"manifest/{number}/-")}}

    def _upload(self, path):
        return {"uploadUrl": f"{self.url}/put/{path}", "uploadHeaders": []}

    def _on_CreateArtifactManifest(self, asked):
        return {"createArtifactManifest": {"artifactManifest": self._manifest(asked["artifactID"])}}

    def _on_UpdateArtifactManifest(self, asked):
        return {"updateArtifactManifest": {"artifactManifest": self._manifest(asked["artifactManifestID"])}}

    def _on_CreateArtifactFiles(self, asked):
        edges = []
        for one in asked["input"]["artifactFiles"]:
            number, name = one["artifactID"], one["name"]
            node = {"storagePath": f"artifact/{number}/{name}", "artifact": {"id": number}, "uploadMultipartUrls": None}
            edges.append({"node": node | self._upload(f"artifact/{number}/{name}")})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _on_CommitArtifact(self, asked):
        made = self._artifact(asked["artifactID"])
        made.state = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": made.id, "digest": made.digest}}}

    def _on_UseArtifact(self, asked):
        return {"useArtifact": {"artifact": {"id": asked["input"]["artifactID"]}}}

    def _on_ArtifactByID(self, asked):
        made = self._artifact(asked["id"])
        project = {"id": "p", "internalId": "1", "name": self._run(made.run).project, "entity": {"name": ENTITY}}
        sequence = {"__typename": "ArtifactSequence", "id": f"s-{made.name}", "name": made.name, "project": project}
        aliases = [
            {"__typename": "ArtifactAlias", "id": f"a-{one}", "alias": one, "artifactCollection": sequence}
            for one in made.aliases
        ]
        told = {"__typename": "Artifact", "id": made.id, "artifactSequence": sequence, "versionIndex": made.version}
        told |= {"artifactType": {"name": made.type}, "description": None, "metadata": json.dumps(made.metadata)}
        told |= {"ttlDurationSeconds": -2, "ttlIsInherited": True, "tags": [], "historyStep": None}
        told |= {"state": made.state, "size": sum(map(len, made.files.values())), "digest": made.digest}
        told |= {"commitHash": "c", "fileCount": len(made.files), "createdAt": "2026-01-01T00:00:00Z"}
        return {"artifact": {**told, "updatedAt": None, "aliases": aliases}}


def _tail(lines, last=None):
    """Give the last line as W&B does: a list of lines."""
    if not lines:
        return []
    line = lines[max(lines)]
    return [line if last is None else line[last]]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address, stub):
        self.stub, self.open = stub, set()
        super().__init__(address, _Handler)

    def process_request(self, request, client_address):
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self.open.discard(request)
        super().shutdown_request(request)

    def reset(self):
        for request in list(self.open):
            with contextlib.suppress(OSError):
                request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request, client_address):
        """Say nothing: the client went away. What else it is is kept for the test."""
        error = sys.exception()
        if not isinstance(error, OSError):
            self.stub.errors.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def _body(self):
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                raw += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        return gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw

    def _answer(self):
        stub, server = self.server.stub, self.server
        body = self._body()
        kind = self.path.rsplit("/", 1)[-1] if self.command == "POST" else self.command
        if kind == "graphql":
            with contextlib.suppress(ValueError, TypeError):
                kind = re.search(r"(?:query|mutation)\s+(\w+)", json.loads(body)["query"])[1]
        stub.operations.append(kind)
        time.sleep(stub.delay)
        if server is not stub._server:  # killed meanwhile
            self.close_connection = True
            return
        status = stub.status or 200
        told = stub.take(self.command, self.path, body) if status == 200 else {"error": "in trouble"}
        data = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = _answer


def main():
    parser = argparse.ArgumentParser(description="A stub of a W&B server, until it is killed or its parent is gone.")
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--delay", type=float, default=0.0)
    options = parser.parse_args()
    parent = os.getppid()
    with WandbStub(options.port, options.folder, delay=options.delay) as stub:
        print(stub.url, flush=True)
        while os.getppid() == parent:
            time.sleep(0.2)


if __name__ == "__main__":
    main()
