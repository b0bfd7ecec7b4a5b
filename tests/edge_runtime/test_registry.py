"""Bundles in a real registry on loopback, and what a hostile one may send."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from container_registry import running

from edge_runtime import Bundle
from edge_runtime.errors import BundleError, RegistryError, StorageError
from edge_runtime.manifest import MAX_MODEL_BYTES
from edge_runtime.registry.artifact import pull, push
from edge_runtime.registry.client import ARTIFACT_TYPE, Client
from edge_runtime.registry.reference import Reference


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of Debian's docker-registry."""
    with running(tmp_path_factory.mktemp("registry")) as host:
        yield host


def client(text: str) -> Client:
    return Client(Reference.parse(text), plain_http=True)


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def test_there_and_back_by_tag_and_by_digest(registry: str, colour_bundle: Path, tmp_path: Path):
    (colour_bundle / "notes.txt").write_text("of my own, and no part of the bundle")
    digest = push(Bundle.open(colour_bundle), client(f"{registry}/shop/pets:v1"))
    for place in ("shop/pets:v1", f"shop/pets@{digest}"):
        out = tmp_path / "back"
        assert pull(client(f"{registry}/{place}"), out, overwrite=True) == digest
        wanted = contents(colour_bundle)
        del wanted["notes.txt"]
        assert contents(out) == wanted
    # The same bundle is the same artifact, whatever it is called.
    assert push(Bundle.open(colour_bundle), client(f"{registry}/shop/pets:v2")) == digest


def test_its_annotations_say_what_is_in_it(registry: str, colour_bundle: Path):
    push(Bundle.open(colour_bundle), client(f"{registry}/about:v1"))
    manifest = json.loads(client(f"{registry}/about:v1").manifest())
    assert manifest["artifactType"] == ARTIFACT_TYPE
    told = manifest["annotations"]
    assert told["org.opencontainers.image.title"] == "colours"
    assert json.loads(told["io.edgeproof.labels"]) == ["red", "green", "blue"]
    assert told["io.edgeproof.variants"] == "tflite-float32"
    assert told["io.edgeproof.signed"] == "false"
    data = (colour_bundle / "bundle.json").read_bytes()
    assert told["io.edgeproof.bundle.sha256"] == hashlib.sha256(data).hexdigest()


def test_other_programs_read_it_too(registry: str, colour_bundle: Path, tmp_path: Path):
    """oras' own client, as it would any artifact."""
    import oras.client

    push(Bundle.open(colour_bundle), client(f"{registry}/shop/pets:v3"))
    theirs = oras.client.OrasClient(hostname=registry, insecure=True)
    theirs.pull(target=f"{registry}/shop/pets:v3", outdir=str(tmp_path / "theirs"))
    assert contents(tmp_path / "theirs") == contents(colour_bundle)


def test_what_is_encrypted_is_not_stored_in_the_clear(registry: str, colour_bundle: Path):
    opened = replace(Bundle.open(colour_bundle), path=Path("sealed.bundle.age"))
    with pytest.raises(RegistryError, match="is encrypted, and a registry would hold it in the"):
        push(opened, client(f"{registry}/a/sealed:v1"))
    with pytest.raises(RegistryError, match="there is no such repository or tag"):
        client(f"{registry}/a/sealed:v1").manifest()


def test_by_the_commands(registry: str, colour_bundle: Path, tmp_path: Path):
    work = tmp_path / "work"
    (work / "papers").mkdir(parents=True)
    (work / "papers" / "thesis.txt").write_text("not yours")

    def edgeproof(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "edgeproof", *arguments],
            capture_output=True,
            text=True,
            cwd=work,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )

    place = f"{registry}/a/colours:v1"
    pushed = edgeproof("push", str(colour_bundle), place, "--plain-http")
    assert pushed.stdout.startswith(f"{registry}/a/colours@sha256:"), pushed.stderr
    pulled = edgeproof("pull", pushed.stdout.strip(), "--plain-http")
    assert pulled.stdout == f"colours.bundle: {pushed.stdout}"
    for arguments, message in (
        (("pull", place, "--plain-http"), "exists already; choose another --out or --overwrite."),
        (("pull", place, "--plain-http", "--overwrite", "--out", "papers"), "papers: is not a bun"),
        (("push", "sealed.bundle.age", place, "--plain-http"), "is encrypted, and a registry"),
        (("pull", f"{registry}/a/none:v1", "--plain-http"), "there is no such repository or tag."),
        (("pull", place, "--out", "new"), "TLS fails; --plain-http, if it is a registry without"),
        (("pull", "127.0.0.1:1/a:v1", "--plain-http"), "cannot be reached: connection refused."),
        (("pull", "colours"), "'colours': is no REGISTRY/REPOSITORY:TAG, such as ghcr.io/"),
        (("push", "/absent", place), "/absent: no such bundle; `edgeproof convert` makes one."),
    ):
        done = edgeproof(*arguments)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert message in done.stderr
    assert (work / "papers" / "thesis.txt").exists()


@pytest.mark.parametrize(
    "text",
    [
        "pets",
        "shop/pets:v1",
        "a.b/",
        "a.b/UPPER:v1",
        "a.b/c:",
        "a.b/c@sha256:12",
        "-x.y/z",
        "a.b/../c",
        "http://a.b/c",
        "a.b/c?x=1",
        "user@a.b/c",
        "a.b/c:v1\n",
    ],
)
def test_what_is_no_reference(text: str):
    with pytest.raises(RegistryError, match=r"is no REGISTRY/REPOSITORY:TAG"):
        Reference.parse(text)


class Hostile:
    """A registry that sends whatever it is told to."""

    def __init__(self) -> None:
        self.manifest: bytes = b""
        self.blobs: dict[str, bytes] = {}
        self.challenge = self.upload_to = ""
        self.asked, self.logins = 0, 0
        hostile = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                last = self.path.rpartition("/")[2]
                data = hostile.manifest if "/manifests/" in self.path else hostile.blobs.get(last)
                self.answer(404 if data is None else 200, data or b"")

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_POST(self) -> None:
                self.answer(202, b"")

            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.answer(201, b"")

            def answer(self, code: int, data: bytes) -> None:
                hostile.asked += 1
                login = self.headers.get("Authorization")
                hostile.logins += login is not None
                self.send_response(401 if hostile.challenge and not login else code)
                self.send_header("WWW-Authenticate", hostile.challenge)
                self.send_header("Location", hostile.upload_to)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> "Hostile":
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def serve(self, folder: Path) -> None:
        """A true artifact of a bundle, to be made untrue."""
        layers = []
        for path, data in sorted(contents(folder).items()):
            digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
            self.blobs[digest] = data
            layers.append(
                {
                    "mediaType": "application/octet-stream",
                    "digest": digest,
                    "size": len(data),
                    "annotations": {"org.opencontainers.image.title": path},
                }
            )
        self.described = {"schemaVersion": 2, "artifactType": ARTIFACT_TYPE, "layers": layers}
        self.manifest = json.dumps(self.described).encode()


@pytest.fixture
def hostile(colour_bundle: Path) -> Iterator[Hostile]:
    with Hostile() as made:
        made.serve(colour_bundle)
        yield made


def test_the_hostile_one_is_believed_while_it_tells_the_truth(hostile: Hostile, tmp_path: Path):
    pull(client(f"{hostile.host}/a:v1"), tmp_path / "back")


def title(path: str) -> Callable[[dict], None]:
    def alter(described: dict) -> None:
        described["layers"][0]["annotations"]["org.opencontainers.image.title"] = path

    return alter


def set_layer(**values: object) -> Callable[[dict], None]:
    return lambda described: described["layers"][0].update(values)


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (title("../outside"), "unsafe path"),
        (title("/etc/cron.d/x"), "unsafe path"),
        (title("a\\..\\b"), "unsafe path"),
        (title(""), "unsafe path"),
        (title("golden"), "names a file twice"),
        (title("bundle.sha256"), "names a file twice"),
        (set_layer(size=MAX_MODEL_BYTES + 1), "less than or equal"),
        (set_layer(size=3), "sends more than it said; not taken"),
        (set_layer(size=10**8), "other bytes came"),
        (set_layer(digest="sha256:" + "0" * 64), "a file of it is missing there"),
        (set_layer(digest="sha256:../../x"), "String should match pattern"),
        (lambda d: d.update(layers=d["layers"] * 200), "at most 1000 items"),
        (
            lambda d: d.update(layers=[{**d["layers"][0], "size": 2**30}] * 9),
            "more than any bundle",
        ),
        (lambda d: d.update(layers=[]), "at least 1 item"),
        (lambda d: d.update(artifactType="x\x1b[2J"), "is no bundle but x\ufffd"),
        (lambda d: d.pop("artifactType"), "is no bundle but a container image"),
        (lambda d: d["layers"].pop(), "is missing; copy the bundle again"),
    ],
)
def test_what_a_hostile_registry_sends_is_not_taken(
    alter: Callable[[dict], object], message: str, hostile: Hostile, tmp_path: Path
):
    alter(hostile.described)
    hostile.manifest = json.dumps(hostile.described).encode()
    with pytest.raises((RegistryError, BundleError), match=message):
        pull(client(f"{hostile.host}/a:v1"), tmp_path / "sub" / "back")
    assert not list(tmp_path.glob("sub/*"))
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{" * 9999, b"\xff\xfe", b'"x"'])
def test_a_manifest_that_is_none(data: bytes, hostile: Hostile, tmp_path: Path):
    hostile.manifest = data
    with pytest.raises(RegistryError, match=r"its manifest is no JSON|is no bundle but"):
        pull(client(f"{hostile.host}/a:v1"), tmp_path / "back")


def test_an_endless_manifest(hostile: Hostile, tmp_path: Path):
    hostile.manifest = b" " * (5 << 20)
    with pytest.raises(RegistryError, match="sends more than it said; not taken"):
        pull(client(f"{hostile.host}/a:v1"), tmp_path / "back")


def test_another_manifest_than_the_digest_asked_for(hostile: Hostile, tmp_path: Path):
    with pytest.raises(RegistryError, match="another manifest came; not taken"):
        pull(client(f"{hostile.host}/a@sha256:{'0' * 64}"), tmp_path / "back")


def test_other_bytes_of_the_same_length(hostile: Hostile, tmp_path: Path):
    digest = next(iter(hostile.blobs))
    hostile.blobs[digest] = bytes(len(hostile.blobs[digest]))
    with pytest.raises(RegistryError, match="other bytes came"):
        pull(client(f"{hostile.host}/a:v1"), tmp_path / "back")


def test_a_tag_that_moves_in_between(hostile: Hostile, tmp_path: Path):
    """The files are fetched by what the first manifest named, not by the tag."""
    told = hostile.manifest
    asked = 0

    class Moving(Client):
        def manifest(self) -> bytes:
            nonlocal asked
            asked += 1
            return super().manifest()

        def blob(self, digest: str, size: int) -> Iterator[bytes]:
            hostile.manifest = b"[]"
            return super().blob(digest, size)

    pull(Moving(Reference.parse(f"{hostile.host}/a:v1"), plain_http=True), tmp_path / "back")
    assert (asked, hostile.manifest != told) == (1, True)


def test_a_login_is_shown_to_no_place_that_the_registry_names(
    hostile: Hostile, colour_bundle: Path, monkeypatch: pytest.MonkeyPatch
):
    """It says where to upload to; that may be anybody's."""
    monkeypatch.setenv("EDGEPROOF_REGISTRY_USER", "pi")
    monkeypatch.setenv("EDGEPROOF_REGISTRY_PASSWORD", "secret")
    with Hostile() as other:
        hostile.upload_to = f"http://{other.host}/here"
        hostile.challenge = other.challenge = 'Basic realm="x"'
        hostile.blobs.clear()
        with pytest.raises(RegistryError, match="it asks for a login"):
            push(Bundle.open(colour_bundle), client(f"{hostile.host}/a:v1"))
        assert hostile.logins
        assert other.asked and not other.logins


def test_what_is_there_stays_when_the_pull_fails(hostile: Hostile, tmp_path: Path):
    out = tmp_path / "back"
    pull(client(f"{hostile.host}/a:v1"), out)
    before = contents(out)
    with pytest.raises(StorageError, match="exists already"):
        pull(client(f"{hostile.host}/a:v1"), out)
    hostile.blobs.clear()
    with pytest.raises(RegistryError):
        pull(client(f"{hostile.host}/a:v1"), out, overwrite=True)
    assert contents(out) == before
