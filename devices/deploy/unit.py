"""The systemd unit of a deployed service, as locked up as a camera allows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UnitOptions:
    """What differs between services.

    Attributes:
        memory: most memory it may take, as systemd writes it, such as "512M" or "60%".
        watchdog_s: it is restarted after so many seconds without a sign of life.
    """

    memory: str = "75%"
    watchdog_s: int = 30


def unit_text(options: UnitOptions, *, system: bool) -> str:
    """The unit. `{user}`, `{start}` and `{state}` are filled in on the device.

    A user's own systemd may not drop capabilities: what needs that is in the system's unit only.
    """
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
    ]
    if system:
        lines += [
            "User={user}",
            "# The cameras'.",
            "SupplementaryGroups=video",
            "CapabilityBoundingSet=",
            "ProtectKernelModules=true",
            "ProtectKernelLogs=true",
            "ProtectClock=true",
            "ProtectHostname=true",
        ]
    target = "multi-user.target" if system else "default.target"
    return "\n".join([*lines, "", "[Install]", f"WantedBy={target}", ""])
