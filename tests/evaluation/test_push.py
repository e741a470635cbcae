"""``car push`` against a stand-in for the Hub's API."""

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from evaluation import evaluate
from evaluation.cli.app import app
from evaluation.run.push import upload_of


@dataclass
class Hub:
    """What the stand-in was asked for and holds. refuse: the status of every answer; None to serve."""

    url: str = ""
    private: bool = True
    refuse: int | None = None
    token: str = ""
    created: list[dict[str, Any]] = field(default_factory=list)
    commits: list[list[dict[str, Any]]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        path = path.partition("?")[0]
        if self.refuse:
            return self.refuse, {"error": "no"}
        if path == "/api/repos/create":
            self.created.append(json.loads(body))
            return (409 if len(self.created) > 1 else 200), {"url": f"{self.url}/datasets/me/runs"}
        if path == "/api/datasets/me/runs":
            siblings = [{"rfilename": name} for name in self.files]
            return 200, {"id": "me/runs", "private": self.private, "siblings": siblings, "sha": "a" * 40, "tags": []}
        if path == "/api/datasets/me/runs/preupload/main":
            files = [
                {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False}
                for each in json.loads(body)["files"]
            ]
            return 200, {"files": files}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        assert path == "/api/datasets/me/runs/commit/main", (method, path)
        self.commits.append([json.loads(line) for line in body.splitlines()])
        for line in self.commits[-1]:
            if line["key"] == "file":
                self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        return 200, {"commitOid": "b" * 40, "commitUrl": f"{self.url}/datasets/me/runs/commit/b", "success": True}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    served = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            served.token = self.headers.get("authorization", "")
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, found = served.answer(self.command, self.path, body)
            content = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", served.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield served
    server.shutdown()
    server.server_close()


def is_public(created: dict[str, Any]) -> bool:
    """Newer versions of the Hub's client say it in a word."""
    return created["visibility"] == "public" if "visibility" in created else not created["private"]


def push(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["push", *map(str, arguments)])


@pytest.fixture
def run(tiny_run: Any) -> Path:
    from evaluation.tasks.saving import Saving

    evaluate(tiny_run.options(limit=2, saving=Saving("png")))
    return Path(tiny_run.out)


def test_a_run_is_uploaded_to_a_folder_of_its_own(run: Path, hub: Hub, tmp_path: Path) -> None:
    identity = json.loads((run / "run.json").read_text())["identity"]
    folder = f"voc21-released-{identity[:12]}"
    dry = push(run, "me/runs", "--dry-run", "--with-predictions")
    assert (dry.exit_code, hub.created, hub.commits) == (0, [], [])
    assert f"{folder} to me/runs, private: 6 files, " in dry.stderr
    assert "(run.json, samples.jsonl, table.md, table.csv, predictions/)" in dry.stderr
    assert "notice: partial run: 2 of 7 images" in dry.stderr
    assert "such as " + str(tmp_path) in dry.stderr  # of the models that the test sets

    done = push(run, "me/runs")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"{hub.url}/datasets/me/runs/tree/main/{folder}\n"
    assert [(each["name"], each["type"]) for each in hub.created] == [("runs", "dataset")]
    assert not is_public(hub.created[0])
    names = ("run.json", "samples.jsonl", "table.md", "table.csv")
    assert hub.files.keys() == {"README.md", *(f"{folder}/{name}" for name in names)}
    for name in names:
        assert hub.files[f"{folder}/{name}"] == (run / name).read_bytes()
    assert hub.files["README.md"].startswith(b"---\ntags: [car-eval]\n")
    assert hub.token == "Bearer hf_secret"
    assert "hf_secret" not in done.output

    # Again, with predictions: the card that is there stays.
    hub.files["README.md"] = b"mine"
    assert push(run, "me/runs", "--with-predictions").exit_code == 0
    assert hub.files["README.md"] == b"mine"
    assert f"{folder}/predictions/2007_000000.png" in hub.files


def test_places_are_looked_for_in_every_text(run: Path) -> None:
    own = len(upload_of(run).places)
    for name in ("table.md", "table.csv", "report.html", "predictions/a.json"):
        (run / name).write_text(f"<p>of /somewhere/{name}, not </p/b> or base64,A+/some/thing==</p>")
    (run / "predictions/b.png").write_bytes(b"of /somewhere/b.png")
    added = upload_of(run, predictions=True).places[own:]
    assert added == [f"/somewhere/{name}" for name in ("table.md", "table.csv", "report.html", "predictions/a.json")]
    assert len(upload_of(run).places) == own + 3


def test_a_public_repository_is_asked_for(run: Path, hub: Hub) -> None:
    hub.private = False
    refused = push(run, "me/runs")
    assert (refused.exit_code, hub.commits) == (2, [])
    assert "error: me/runs: expected a private repository, found a public one (see --public)" in refused.stderr
    assert push(run, "me/runs", "--public").exit_code == 0
    assert is_public(hub.created[-1])


def test_push_failure_is_one_line_with_a_remedy(run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(repository: str = "me/runs") -> tuple[int, str]:
        result = push(run, repository)
        assert result.stderr.count("error: ") == 1, result.stderr
        return result.exit_code, result.stderr.splitlines()[-1]

    expected = "token that may write there (HF_TOKEN, or hf auth login)"
    for status, phrase in ((401, "Unauthorized"), (403, "Forbidden")):
        hub.refuse = status
        answer = f"status {status} ({phrase}) of {hub.url}"
        assert refused() == (2, f"error: me/runs: expected a {expected}, found {answer}")
    hub.refuse = 404
    assert "expected a user or organization that exists, found status 404" in refused()[1]
    hub.refuse = 500
    assert refused() == (1, f"error: me/runs: {hub.url} returned 500 (Internal Server Error)")
    hub.refuse = None
    code, line = refused("a/b/c")
    assert (code, line.startswith("error: a/b/c: expected NAME or USER/NAME, found ")) == (2, True)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    code, line = refused()
    assert (code, line.startswith("error: me/runs: no upload to http://127.0.0.1:9: ConnectError: ")) == (1, True)
    monkeypatch.setattr("evaluation.run.push.get_token", lambda: None)
    assert refused() == (2, f"error: push: expected a {expected}, found none")
    (run / "table.md").unlink()
    (run / "table.md").symlink_to("/etc/passwd")
    assert refused() == (2, f"error: {run / 'table.md'}: expected a file, found a link")
    (run / "run.json").unlink()
    assert "not a run directory (no run.json)" in refused()[1]
    assert hub.commits == []
