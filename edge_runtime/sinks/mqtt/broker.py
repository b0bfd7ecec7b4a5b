"""Which broker, and how to be let in."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from edge_runtime.errors import OptionError
from edge_runtime.secret import read_secret
from edge_runtime.sources.address import host_of

USER_VARIABLE, PASSWORD_VARIABLE = "EDGEPROOF_MQTT_USER", "EDGEPROOF_MQTT_PASSWORD"
_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True)
class Broker:
    """An MQTT broker.

    Attributes:
        tls: encrypted, with the broker's certificate checked.
        user, password: `None` where it asks for none.
        ca: certificates to trust instead of the system's.
        certificate, key: of this client, where the broker asks for one.
    """

    host: str
    port: int
    tls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @classmethod
    def parse(
        cls,
        url: str,
        *,
        password_file: Path | None = None,
        ca: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> Broker:
        """Read `mqtt://[USER@]HOST[:PORT]` or `mqtts://...`; the rest from environment and files.

        Raises:
            OptionError: when it is no such address, holds a password, or a file is missing.
        """
        found = re.match(r"(mqtts?)://", url)
        place = host_of(url) if found else None
        if found is None or place is None:
            raise OptionError("--mqtt: write mqtt://HOST, mqtt://USER@HOST:1883 or mqtts://HOST.")
        parts = urlsplit(url)
        if parts.password is not None:
            raise OptionError(
                "--mqtt: an address with a password is seen by every user of this machine; put "
                f"the password into --mqtt-password-file or {PASSWORD_VARIABLE}."
            )
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise OptionError("--mqtt: nothing comes after the port; --mqtt-topic has the topic.")
        tls = found[1] == "mqtts"
        if not tls and (ca or certificate or key):
            raise OptionError("--mqtt-ca, --mqtt-cert and --mqtt-key go with an mqtts:// address.")
        if bool(certificate) != bool(key):
            raise OptionError("--mqtt-cert and --mqtt-key go together.")
        user = unquote(parts.username) if parts.username else environment.get(USER_VARIABLE)
        password = read_secret(
            password_file, PASSWORD_VARIABLE, environment, flag="--mqtt-password-file"
        )
        if password and not user:
            raise OptionError(
                f"--mqtt: a password and no user; write mqtt://USER@HOST or set {USER_VARIABLE}."
            )
        host, port = place[0].strip("[]"), place[1] or _PORTS[found[1]]
        return cls(host, port, tls, user, password, ca, certificate, key)

    @property
    def name(self) -> str:
        """What to call it; never holds a secret."""
        return f"{self.host}:{self.port}"

    @property
    def is_open_wire(self) -> bool:
        """Whether the password would be seen on a network."""
        here = self.host in ("localhost", "::1") or self.host.startswith("127.")
        return bool(self.password) and not self.tls and not here

    def tls_context(self) -> ssl.SSLContext | None:
        """What to trust and to show; `None` without TLS.

        Raises:
            OptionError: when a certificate or key cannot be read.
        """
        if not self.tls:
            return None
        files = {"ca": self.ca, "cert": self.certificate, "key": self.key}
        for name, file in files.items():
            if file is not None and not file.is_file():
                raise OptionError(f"--mqtt-{name} {file}: no such file.")
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except (OSError, ssl.SSLError) as exc:
            raise OptionError(f"--mqtt-ca {self.ca}: holds no certificates in PEM form.") from exc
        if self.certificate is not None:
            try:
                # Without a password function, OpenSSL would ask on the terminal.
                context.load_cert_chain(self.certificate, self.key, password=_refuse_password)
            except (OSError, ssl.SSLError, OptionError) as exc:
                raise OptionError(
                    f"--mqtt-cert {self.certificate}, --mqtt-key {self.key}: are no certificate "
                    "and its unencrypted key in PEM form."
                ) from exc
        return context


def _refuse_password() -> str:
    raise OptionError("the key is encrypted")
