"""How a registry wants to know who asks, and what this user has to show."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_runtime.errors import RegistryError
from edge_runtime.registry.reference import Reference

CREDENTIALS = "EDGEPROOF_REGISTRY_USER", "EDGEPROOF_REGISTRY_PASSWORD"
# Docker Hub's name for itself, and under which name `docker login` writes its login down.
_DOCKER_HUB = {"docker.io", "index.docker.io", "registry-1.docker.io"}
_DOCKER_HUB_API, _DOCKER_HUB_LOGIN = "registry-1.docker.io", "https://index.docker.io/v1/"


def api_host(host: str) -> str:
    """Where a registry's API is: for Docker Hub not where its name says."""
    return _DOCKER_HUB_API if host in _DOCKER_HUB else host


class Login:
    """Gives requests of one registry what that registry asks for.

    Args:
        registry: oras': it reads docker's configuration, asks its helpers, and fetches tokens.
    """

    def __init__(self, registry: Any, reference: Reference) -> None:
        # What it has to say we say ourselves, in one line.
        logging.getLogger("oras.logger").setLevel(logging.CRITICAL + 1)
        self._auth, self._host = registry.auth, reference.host
        user, password = (os.environ.get(name) for name in CREDENTIALS)
        if user and password:
            self._auth.set_basic_auth(user, password)
        else:
            self._load_docker_login(reference)

    def headers(self, challenge: str) -> dict[str, str]:
        """What goes along with every request.

        Args:
            challenge: the registry's `WWW-Authenticate`; empty if it asks for nothing.

        Returns:
            Name and password, where it wants just these; else nothing: tokens come as they are
            asked for. oras would take a plain login's realm for the address of a token server.
        """
        if not is_plain(challenge):
            return {}
        secret = getattr(self._auth, "_basic_auth", None)
        return {"Authorization": f"Basic {secret}"} if secret else {}

    def token(self) -> dict[str, str]:
        """The token that was fetched last, as a header."""
        return {"Authorization": f"Bearer {self._auth.token}"} if self._auth.token else {}

    def fresh_token(self, refused: Any) -> dict[str, str]:
        """One for what a response says is wanted, as a header; empty if there is none to be had.

        The one that there is does not do: a token to read does not let write.

        Raises:
            RegistryError: when it wants the login to go over the network in the clear.
        """
        self._auth.token = None
        asked = challenge_of(refused.headers)
        if refused.url.startswith("https:") and re.search('realm="http:', asked, re.IGNORECASE):
            raise RegistryError(
                f"{self._host}: names a token server without TLS; no login is sent there."
            )
        # A challenge or an answer that is none: oras takes both on trust.
        with contextlib.suppress(AttributeError, TypeError, KeyError):
            self._auth.authenticate_request(refused, {})
        return self.token()

    def _load_docker_login(self, reference: Reference) -> None:
        """What `docker login` left, also in a credential helper."""
        import oras.container

        folder = os.environ.get("DOCKER_CONFIG")
        files = [str(Path(folder) / "config.json")] if folder else []
        named = oras.container.Container(str(reference))
        if reference.host in _DOCKER_HUB:
            named.registry = _DOCKER_HUB_LOGIN
        try:
            self._auth.load_configs(named, files)
        except (ValueError, TypeError, AttributeError, KeyError, OSError) as exc:
            raise RegistryError(
                "docker's config.json cannot be read; mend it (docker login writes it), or give "
                f"{CREDENTIALS[0]} and {CREDENTIALS[1]}."
            ) from exc


def is_plain(challenge: str) -> bool:
    """Whether a name and a password are asked for, and no token."""
    return challenge.partition(" ")[0].lower() == "basic"


def challenge_of(headers: Mapping[str, str]) -> str:
    return headers.get("WWW-Authenticate", "")
