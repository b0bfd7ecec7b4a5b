"""`registry/repository:tag` or `registry/repository@sha256:...`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edge_runtime.errors import RegistryError

_LABEL = r"[A-Za-z0-9][A-Za-z0-9-]*"
_NAMED = rf"localhost|{_LABEL}(?:\.{_LABEL})+|\[[0-9a-fA-F:]+\]|{_LABEL}(?=:)"
_HOST = rf"(?P<host>(?:{_NAMED})(?::\d{{1,5}})?)"
_REPOSITORY = r"(?P<repository>[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*)"
_REFERENCE = re.compile(
    rf"{_HOST}/{_REPOSITORY}(?::(?P<tag>\w[\w.-]{{0,127}}))?(?:@(?P<digest>sha256:[0-9a-f]{{64}}))?"
)


@dataclass(frozen=True)
class Reference:
    """One place in a registry.

    Attributes:
        tag: may point elsewhere tomorrow; "latest" unless given.
        digest: of the manifest, and so of every byte; None unless given.
    """

    host: str
    repository: str
    tag: str
    digest: str | None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Raises RegistryError for what is none."""
        found = _REFERENCE.fullmatch(text)
        if not found or len(text) > 400:
            raise RegistryError(
                f"{text[:200]!r}: is no REGISTRY/REPOSITORY:TAG, such as ghcr.io/shop/pets:v3."
            )
        return cls(found["host"], found["repository"], found["tag"] or "latest", found["digest"])

    def at(self, digest: str) -> str:
        """The same repository, by digest: what never changes."""
        return f"{self.host}/{self.repository}@{digest}"

    def __str__(self) -> str:
        return self.at(self.digest) if self.digest else f"{self.host}/{self.repository}:{self.tag}"
