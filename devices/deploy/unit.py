"""The systemd unit of a deployed service, as locked up as a camera allows."""

from __future__ import annotations

import re
from dataclasses import dataclass

from devices.deploy.errors import DeployError
from devices.deploy.text import printable

# A whole number, as all versions of systemd read it.
_MEMORY = re.compile(r"[1-9]\d{0,14}[KMGT]?|(100|[1-9]\d?)%")


@dataclass(frozen=True)
class UnitOptions:
    """What differs between services.

    Attributes:
        memory: most memory it may take, as systemd writes it, such as "512M" or "60%".
        watchdog_s: it is restarted after so many seconds without a sign of life.
    """

    memory: str = "75%"
    watchdog_s: int = 30

    def __post_init__(self) -> None:
        """Raises DeployError for a limit that systemd would pass over: there would be none."""
        if not _MEMORY.fullmatch(self.memory):
            raise DeployError(
                f"--memory {printable(self.memory, 40)}: write bytes with K, M or G, such as 512M, "
                "or a share of the device's memory, such as 60%."
            )


# What the camera needs not, it may not: of any service of ours.
_LIMITS = (
    "UMask=0027",
    "NoNewPrivileges=true",
    "ProtectSystem=strict",
    "ProtectHome=read-only",
    "ReadWritePaths={state}",
    "PrivateTmp=true",
    "ProtectKernelTunables=true",
    "ProtectControlGroups=true",
    "RestrictSUIDSGID=true",
    "RestrictRealtime=true",
    "LockPersonality=true",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "SystemCallArchitectures=native",
)
# A user's own systemd may not drop capabilities: these are in the system's unit only.
_SYSTEMS = (
    "User={user}",
    "# The cameras'.",
    "SupplementaryGroups=video",
    "CapabilityBoundingSet=",
    "ProtectKernelModules=true",
    "ProtectKernelLogs=true",
    "ProtectClock=true",
    "ProtectHostname=true",
)
_USERS = (
    "# Found out on this device: whether the limits above can be kept to.",
    "PrivateUsers={walls}",
)


def unit_text(options: UnitOptions, *, system: bool) -> str:
    """The unit. `{user}`, `{start}`, `{state}` and `{walls}` are filled in on the device."""
    lines = [
        "# Written by edgeproof deploy; the next deploy writes it again.",
        "[Unit]",
        "Description=edgeproof camera",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "# Ready when the model is loaded and the camera is open.",
        "Type=notify",
        "NotifyAccess=main",
        "ExecStart={start}",
        "# The loop gives signs of life itself: when the engine hangs, they stop.",
        f"WatchdogSec={options.watchdog_s}",
        "Restart=on-failure",
        "RestartSec=5",
        "TimeoutStartSec=120",
        "TimeoutStopSec=10",
        "# A stop is no failure.",
        "SuccessExitStatus=130",
        f"MemoryMax={options.memory}",
        *_LIMITS,
        *(_SYSTEMS if system else _USERS),
    ]
    target = "multi-user.target" if system else "default.target"
    return "\n".join([*lines, "", "[Install]", f"WantedBy={target}", ""])


def check_unit_text() -> str:
    """The system's unit that checks a release with the service's credentials.

    `{check}`, `{credentials}`, `{user}` and `{state}` are filled in on the device.
    """
    lines = [
        "# Written by edgeproof deploy; the next deploy writes it again.",
        "[Unit]",
        "Description=edgeproof check of a release",
        "",
        "[Service]",
        "Type=oneshot",
        "ExecStart={check}",
        "TimeoutStartSec=900",
        *_LIMITS,
        *_SYSTEMS,
        "{credentials}",
    ]
    return "\n".join([*lines, ""])
