"""Requests to a registry, through oras: its authentication, our bounds."""

from __future__ import annotations

import functools
import hashlib
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_runtime.errors import RegistryError
from edge_runtime.registry.login import CREDENTIALS, Login, api_host, challenge_of, is_plain
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
            import oras.provider
            import requests.adapters
        except ModuleNotFoundError as exc:
            raise RegistryError(
                f"registries need {exc.name}, which is not installed: pip install 'edgeproof[oci]'"
            ) from exc
        self.reference = reference
        host = api_host(reference.host)
        self._registry = oras.provider.Registry(host, insecure=plain_http)
        self._base = f"{'http' if plain_http else 'https'}://{host}/v2/"
        retrying = requests.adapters.HTTPAdapter(max_retries=_retries())
        for scheme in ("http://", "https://"):
            self._registry.session.mount(scheme, retrying)
        # A registry that accepts and then says nothing must not hang us.
        send = self._registry.session.send
        self._registry.session.send = lambda request, **rest: send(  # type: ignore[method-assign]
            request, **{**rest, "timeout": _TIMEOUT_S}
        )
        self._login = Login(self._registry, reference)

    def has(self, digest: str) -> bool:
        """Whether a blob is there already."""
        with self._errors("blob"):
            response = self._request("HEAD", f"blobs/{digest}")
            if response.status_code != 404:
                self._require(response, 200)
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
            response = self._request(
                "PUT",
                f"manifests/{self.reference.tag}",
                data=data,
                headers={"Content-Type": MANIFEST_TYPE},
            )
            self._require(response, 201, 200)
        return digest

    def manifest(self) -> bytes:
        """The manifest, as the registry has it; its digest is not checked here."""
        place = self.reference.digest or self.reference.tag
        with self._errors("manifest"):
            response = self._request(
                "GET", f"manifests/{place}", headers={"Accept": MANIFEST_TYPE}, stream=True
            )
            self._require(response, 200)
            return b"".join(self._bounded(response, MAX_MANIFEST_BYTES))

    def blob(self, digest: str, size: int) -> Iterator[bytes]:
        """A blob's bytes, no more than `size`; their hash is not checked here."""
        with self._errors("blob"):
            response = self._request("GET", f"blobs/{digest}", stream=True)
            if response.status_code == 404:
                raise RegistryError(f"{self.reference}: a file of it is missing there ({digest}).")
            self._require(response, 200)
            yield from self._bounded(response, size)

    def _put_blob(self, body: Any, digest: str, size: int) -> None:
        with self._errors("blob"):
            begun = self._request("POST", "blobs/uploads/")
            self._require(begun, 202)
            place = urllib.parse.urljoin(self._base, begun.headers.get("Location", ""))
            if not place.startswith(("http://", "https://")) or place == self._base:
                raise RegistryError(f"{self.reference.host}: names no place to upload to.")
            response = self._registry.session.put(
                f"{place}{'&' if '?' in place else '?'}digest={digest}",
                data=body,
                headers={
                    **self._shown_to(place),
                    "Content-Type": FILE_TYPE,
                    "Content-Length": str(size),
                },
            )
            self._require(response, 201)

    def _request(
        self, method: str, rest: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> Any:
        """One request of the repository, logged in as the registry asks for.

        Not through oras' own `do_request`, which tries for two minutes when a login is refused.
        """
        session, url = self._registry.session, f"{self._base}{self.reference.repository}/{rest}"
        given = {**self._shown_to(url), **(headers or {})}
        response = session.request(method, url, headers=given, **more)
        if response.status_code not in (401, 403) or is_plain(self._challenge):
            return response
        token = self._login.fresh_token(response)
        if token:
            response.close()
            response = session.request(method, url, headers={**given, **token}, **more)
        return response

    @functools.cached_property
    def _challenge(self) -> str:
        """How it wants to be logged in to; empty if it does not say."""
        response = self._registry.session.get(self._base, stream=True)
        response.close()
        return challenge_of(response.headers) if response.status_code == 401 else ""

    def _shown_to(self, place: str) -> dict[str, str]:
        """The login for an upload's place: for nobody but the registry, and never in the clear."""
        if urllib.parse.urlsplit(place)[:2] != urllib.parse.urlsplit(self._base)[:2]:
            return {}
        return self._login.headers(self._challenge) or self._login.token()

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
            raise RegistryError(f"{self.reference}: {say.format(*CREDENTIALS)}.")

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
            raise RegistryError(f"{self.reference}: {_SAYS[401].format(*CREDENTIALS)}.") from exc


def _retries() -> Any:
    """A busy registry is asked again, for a few seconds; one that is not there, is not."""
    import urllib3

    return urllib3.Retry(
        total=4,
        connect=0,
        read=2,
        redirect=5,
        status_forcelist=(429, 502, 503, 504),
        backoff_factor=0.5,
        raise_on_status=False,
        respect_retry_after_header=False,  # it could say next year
    )


def _why(exc: Exception) -> str:
    text = str(exc)
    for words in ("Connection refused", "Name or service not known", "timed out", "unreachable"):
        if words in text:
            return words.lower()
    return one_line(text.rpartition(": ")[2], 120) or "no connection"
