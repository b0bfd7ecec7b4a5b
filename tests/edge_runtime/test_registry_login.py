"""Registries that ask who is there: by name and password, and by tokens of another server."""

import base64
import datetime
import http.server
import json
import os
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from container_registry import running
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from edge_runtime.errors import RegistryError
from edge_runtime.registry.client import Client
from edge_runtime.registry.reference import Reference

USER, PASSWORD = "pi", "s3cret-of-pi"
# bcrypt of it: the only kind that docker-registry takes.
_HASHED = "$2b$05$abcdefghijklmnopqrstuuoXK4YH24fVR8hx.UYeh.zX9UfmDgBn6"
_ENCODED = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def by_password(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("registry")
    (folder / "htpasswd").write_text(f"{USER}:{_HASHED}\n")
    auth = f"auth: {{htpasswd: {{realm: Somewhere, path: {folder}/htpasswd}}}}\n"
    with running(folder, auth) as host:
        yield host


@pytest.fixture
def edgeproof(tmp_path: Path) -> Command:
    """Runs a command of edgeproof, with a home of its own; further variables by name."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "edgeproof", *arguments, "--plain-http"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(Path(__file__).parents[2]),
                "HOME": str(tmp_path),
                **variables,
            },
        )

    return run


GIVEN = {"EDGEPROOF_REGISTRY_USER": USER, "EDGEPROOF_REGISTRY_PASSWORD": PASSWORD}


def docker_login(folder: Path, host: str, encoded: str = _ENCODED) -> Path:
    """What `docker login` leaves."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": encoded}}}))
    return folder


def test_with_a_name_and_a_password(
    by_password: str, edgeproof: Command, colour_bundle: Path, tmp_path: Path
):
    place = f"{by_password}/shop/pets:v1"
    pushed = edgeproof("push", str(colour_bundle), place, **GIVEN)
    assert pushed.stdout.startswith(f"{by_password}/shop/pets@sha256:"), pushed.stderr
    # What docker login left in the home, and where DOCKER_CONFIG says.
    docker_login(tmp_path / ".docker", by_password)
    assert edgeproof("pull", place, "--out", "one").returncode == 0
    (tmp_path / ".docker/config.json").unlink()
    elsewhere = docker_login(tmp_path / "elsewhere", by_password)
    done = edgeproof("pull", place, "--out", "two", DOCKER_CONFIG=str(elsewhere))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["push", "pull"])
@pytest.mark.parametrize(
    "variables",
    [{}, {**GIVEN, "EDGEPROOF_REGISTRY_PASSWORD": "wr0ng"}, {"EDGEPROOF_REGISTRY_USER": USER}],
)
def test_who_may_not_is_told_so_in_one_line(
    variables: dict[str, str],
    command: str,
    by_password: str,
    edgeproof: Command,
    colour_bundle: Path,
):
    place = f"{by_password}/shop/none:v1"
    done = edgeproof(*([command, str(colour_bundle)] if command == "push" else [command]), place,
                     **variables)  # fmt: skip
    assert done.stderr == (
        f"edgeproof: {place}: it asks for a login: docker login, or EDGEPROOF_REGISTRY_USER and "
        "EDGEPROOF_REGISTRY_PASSWORD.\n"
    )
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": 3}', '{"auths": {"HOST": {"auth": 7}}}'])
def test_a_login_of_dockers_that_is_none(
    text: str, by_password: str, edgeproof: Command, tmp_path: Path
):
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(text.replace("HOST", by_password))
    done = edgeproof("pull", f"{by_password}/shop/pets:v1")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "config.json cannot be read" in done.stderr or "asks for a login" in done.stderr


def test_a_login_goes_to_no_token_server_without_tls(monkeypatch: pytest.MonkeyPatch):
    for name, value in GIVEN.items():
        monkeypatch.setenv(name, value)
    client = Client(Reference.parse("registry.invalid/a:v1"))
    refused = requests.Response()
    refused.url = "https://registry.invalid/v2/a/manifests/v1"
    refused.headers["WWW-Authenticate"] = 'Bearer REALM="http://127.0.0.1:1/token",service="x"'
    with pytest.raises(RegistryError, match="names a token server without TLS; no login is sent"):
        client._login.fresh_token(refused)


class TokenServer:
    """Gives tokens to whom it knows, for what they ask, as registries' token servers do."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tokens")])
        day = datetime.timedelta(days=1)
        now = datetime.datetime.now(datetime.timezone.utc)
        certificate = (
            x509.CertificateBuilder(name, name, self._key.public_key(), 1, now - day, now + day)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        encoding = serialization.Encoding
        (folder / "tokens.pem").write_bytes(certificate.public_bytes(encoding.PEM))
        self._chain = [base64.b64encode(certificate.public_bytes(encoding.DER)).decode()]
        tokens = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                known = self.headers.get("Authorization") == f"Basic {_ENCODED}"
                asked = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
                scopes = asked.get("scope", [])
                tokens.asked += scopes
                self.send_response(200 if known else 401)
                self.end_headers()
                if known:
                    self.wfile.write(json.dumps({"token": tokens.token(scopes)}).encode())

            def log_message(self, *_: object) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def token(self, scopes: list[str]) -> str:
        """For these scopes and no more: one to read does not let write."""
        access = []
        for kind, name, actions in (scope.rsplit(":", 2) for scope in scopes):
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        claims = {"iss": "tokens", "aud": "registry", "sub": USER, "exp": now + 60, "nbf": now - 9,
                  "iat": now, "jti": "1", "access": access}  # fmt: skip
        header = {"typ": "JWT", "alg": "ES256", "x5c": self._chain}
        text = ".".join(_url(json.dumps(part).encode()) for part in (header, claims))
        signature = self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256()))
        numbers = utils.decode_dss_signature(signature)
        return f"{text}.{_url(b''.join(number.to_bytes(32, 'big') for number in numbers))}"


def _url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_with_tokens_of_another_server(edgeproof: Command, colour_bundle: Path, tmp_path: Path):
    tokens = TokenServer(tmp_path)
    auth = (
        f"auth: {{token: {{realm: 'http://127.0.0.1:{tokens.server.server_port}/token', "
        f"service: registry, issuer: tokens, rootcertbundle: {tmp_path}/tokens.pem}}}}\n"
    )
    try:
        with running(tmp_path, auth) as host:
            place = f"{host}/shop/pets:v1"
            pushed = edgeproof("push", str(colour_bundle), place, **GIVEN)
            assert pushed.stdout.startswith(f"{host}/shop/pets@sha256:"), pushed.stderr
            # It looked first, with a token that lets look; then asked for one that lets write.
            assert tokens.asked[0] == "repository:shop/pets:pull"
            assert any(scope.endswith("push") or "push," in scope for scope in tokens.asked)
            assert edgeproof("pull", place, **GIVEN).returncode == 0
            refused = edgeproof("pull", place, "--out", "other")
            assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
            assert "it asks for a login: docker login, or" in refused.stderr
    finally:
        tokens.server.shutdown()
        tokens.server.server_close()
