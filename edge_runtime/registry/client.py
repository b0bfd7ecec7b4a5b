"""Requests to a registry, through oras: its authentication, our bounds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_runtime.errors import RegistryError
from edge_runtime.registry.reference import Reference
from edge_runtime.text import one_line

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT_TYPE = "application/vnd.edgeproof.bundle.v1"
FILE_TYPE = "application/octet-stream"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"
MAX_MANIFEST_BYTES = 4 << 20
_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = (10, 60)
_CREDENTIALS = "EDGEPROOF_REGISTRY_USER", "EDGEPROOF_REGISTRY_PASSWORD"

_SAYS = {
    401: "it asks for a login: docker login, or {0} and {1}",
    403: "it lets you not do that: docker login, or {0} and {1}",
    404: "there is no such repository or tag",
    413: "a file is larger than it takes",
    429: "too many requests; try again in a while",
}


class Client:
    """One repository of one registry.

    Args:
        plain_http: without TLS, for a registry on this very machine or a closed network.
    """

    def __init__(self, reference: Reference, *, plain_http: bool = False) -> None:
        try:
            import oras.container
            import oras.provider
        except ModuleNotFoundError as exc:
            raise RegistryError(
                f"registries need {exc.name}, which is not installed: pip install 'edgeproof[oci]'"
            ) from exc
        self.reference = reference
        self._container = oras.container.Container(str(reference))
        self._registry = oras.provider.Registry(reference.host, insecure=plain_http)
        self._scheme = "http" if plain_http else "https"
        # A registry that accepts and then says nothing must not hang us.
        send = self._registry.session.send
        self._registry.session.send = lambda request, **rest: send(  # type: ignore[method-assign]
            request, **{**rest, "timeout": _TIMEOUT_S}
        )
        self._log_in()

    def has(self, digest: str) -> bool:
        """Whether a blob is there already."""
        with self._errors("blob"):
            response = self._registry.do_request(self._url(f"blobs/{digest}"), "HEAD")
        return bool(response.status_code == 200)

    def put_file(self, file: Path, digest: str, size: int) -> None:
        """Upload a file as a blob."""
        with file.open("rb") as body:
            self._put_blob(body, digest, size)

    def put_bytes(self, data: bytes) -> None:
        """Upload a few bytes as a blob."""
        self._put_blob(data, f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))

    def put_manifest(self, data: bytes) -> str:
        """Upload a manifest under the reference's tag; its digest."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        with self._errors("manifest"):
            response = self._registry.do_request(
                self._url(f"manifests/{self.reference.tag}"),
                "PUT",
                data=data,
                headers={"Content-Type": MANIFEST_TYPE},
            )
            self._require(response, 201, 200)
        return digest

    def manifest(self) -> bytes:
        """The manifest, as the registry has it; its digest is not checked here."""
        place = self.reference.digest or self.reference.tag
        with self._errors("manifest"):
            response = self._registry.do_request(
                self._url(f"manifests/{place}"), headers={"Accept": MANIFEST_TYPE}, stream=True
            )
            self._require(response, 200)
            return b"".join(self._bounded(response, MAX_MANIFEST_BYTES))

    def blob(self, digest: str, size: int) -> Iterator[bytes]:
        """A blob's bytes, no more than `size`; their hash is not checked here."""
        with self._errors("blob"):
            response = self._registry.do_request(self._url(f"blobs/{digest}"), stream=True)
            self._require(response, 200)
            yield from self._bounded(response, size)

    def _put_blob(self, body: Any, digest: str, size: int) -> None:
        with self._errors("blob"):
            begun = self._registry.do_request(self._url("blobs/uploads/"), "POST")
            self._require(begun, 202)
            place = begun.headers.get("Location", "")
            if place.startswith("/"):
                place = f"{self._scheme}://{self.reference.host}{place}"
            if not place.startswith(("http://", "https://")):
                raise RegistryError(f"{self.reference.host}: names no place to upload to.")
            response = self._registry.session.put(
                f"{place}{'&' if '?' in place else '?'}digest={digest}",
                data=body,
                headers={**self._token(), "Content-Type": FILE_TYPE, "Content-Length": str(size)},
            )
            self._require(response, 201)

    def _token(self) -> dict[str, str]:
        auth = self._registry.auth
        return dict(auth.get_auth_header()) if getattr(auth, "token", None) else {}

    def _log_in(self) -> None:
        user, password = (os.environ.get(name) for name in _CREDENTIALS)
        if user and password:
            self._registry.auth.set_basic_auth(user, password)
        else:
            # What `docker login` left, also in a credential helper.
            self._registry.auth.load_configs(self._container)

    def _url(self, rest: str) -> str:
        reference = self.reference
        return f"{self._scheme}://{reference.host}/v2/{reference.repository}/{rest}"

    def _bounded(self, response: Any, limit: int) -> Iterator[bytes]:
        left = limit
        for chunk in response.iter_content(_CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:
                raise RegistryError(f"{self.reference}: sends more than it said; not taken.")
            yield chunk

    def _require(self, response: Any, *codes: int) -> None:
        if response.status_code not in codes:
            say = _SAYS.get(response.status_code, f"it answers {response.status_code}")
            raise RegistryError(f"{self.reference}: {say.format(*_CREDENTIALS)}.")

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        import requests

        try:
            yield
        except requests.exceptions.SSLError as exc:
            hint = "--plain-http, if it is a registry without TLS"
            raise RegistryError(f"{self.reference.host}: TLS fails; {hint}.") from exc
        except requests.exceptions.ConnectionError as exc:
            raise RegistryError(f"{self.reference.host}: cannot be reached: {_why(exc)}.") from exc
        except requests.exceptions.RequestException as exc:
            raise RegistryError(f"{self.reference.host}: {what}: {one_line(str(exc))}.") from exc
        except ValueError as exc:  # oras: no way to authenticate
            raise RegistryError(f"{self.reference}: {_SAYS[401].format(*_CREDENTIALS)}.") from exc


def _why(exc: Exception) -> str:
    text = str(exc)
    for words in ("Connection refused", "Name or service not known", "timed out", "unreachable"):
        if words in text:
            return words.lower()
    return one_line(text.rpartition(": ")[2], 120) or "no connection"
