"""What Home Assistant has to know, so that a camera classifier appears there by itself.

One retained message for the device, with a component for each thing to show ("device discovery",
Home Assistant 2024.11 and later).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from edge_runtime.loop.results import UNKNOWN

# A state in Home Assistant is at most so long.
_LONGEST_STATE = 255
_ORIGIN = "edgeproof"


@dataclass(frozen=True)
class Camera:
    """One source, as its topics name it.

    Attributes:
        name: for people.
        key: letters, digits and underscores.
        state, event, availability: its topics.
    """

    name: str
    key: str
    state: str
    event: str
    availability: str


@dataclass(frozen=True)
class Appearance:
    """The device that appears.

    Attributes:
        key: letters, digits, underscores; stays the same from run to run.
        name, model: for people.
        labels: the bundle's.
        availability: topic that says whether edgeproof itself is there.
    """

    key: str
    name: str
    model: str
    labels: tuple[str, ...]
    availability: str


def discovery_topic(prefix: str, appearance: Appearance) -> str:
    return f"{prefix}/device/{appearance.key}/config"


def discovery(appearance: Appearance, cameras: Sequence[Camera]) -> dict[str, Any]:
    """The discovery message, as Home Assistant's documentation of its MQTT integration has it."""
    components: dict[str, Any] = {}
    for camera in cameras:
        prefix = f"{camera.name}: " if len(cameras) > 1 else ""
        components |= _components(appearance, camera, prefix)
    return {
        "device": {
            "identifiers": [f"edgeproof_{appearance.key}"],
            "name": appearance.name,
            "manufacturer": "edgeproof",
            "model": appearance.model,
            "sw_version": _version(),
        },
        "origin": {"name": _ORIGIN, "sw_version": _version()},
        "components": components,
        "qos": 1,
    }


def _components(appearance: Appearance, camera: Camera, prefix: str) -> dict[str, Any]:
    shared = {
        "availability": [{"topic": appearance.availability}, {"topic": camera.availability}],
        "availability_mode": "all",
    }
    state = {**shared, "state_topic": camera.state}
    answers = [label[:_LONGEST_STATE] for label in appearance.labels]
    # "None" is how a sensor is told that its state is unknown.
    answered = "value_json.label is defined and not value_json.abstained | default(false)"
    made: dict[str, dict[str, Any]] = {
        "answer": {
            **state,
            "platform": "sensor",
            "name": f"{prefix}Answer",
            "icon": "mdi:eye-check-outline",
            "device_class": "enum",
            "options": list(dict.fromkeys(answers)),
            "value_template": (
                f"{{{{ value_json.label[:{_LONGEST_STATE}] if {answered} else 'None' }}}}"
            ),
            "json_attributes_topic": camera.state,
        },
        "score": {
            **state,
            "platform": "sensor",
            "name": f"{prefix}Score",
            "unit_of_measurement": "%",
            "state_class": "measurement",
            "suggested_display_precision": 0,
            "value_template": (
                "{{ (value_json.score * 100) | round(1) if value_json.score is number "
                "else 'None' }}"
            ),
        },
        "picture": {
            **state,
            "platform": "binary_sensor",
            "name": f"{prefix}Picture",
            "device_class": "problem",
            "entity_category": "diagnostic",
            "value_template": "{{ 'ON' if value_json.condition is defined else 'OFF' }}",
        },
        "changed": {
            **shared,
            "state_topic": camera.event,
            "platform": "event",
            "name": f"{prefix}Changed",
            "icon": "mdi:eye-refresh-outline",
            "event_types": list(dict.fromkeys([*answers, UNKNOWN])),
        },
    }
    unique = f"{appearance.key}_{camera.key}"
    return {
        f"{camera.key}_{name}": {**component, "unique_id": f"{unique}_{name}"}
        for name, component in made.items()
    }


def _version() -> str:
    try:
        return version("edgeproof")
    except PackageNotFoundError:  # run from a folder that was never installed
        return "unknown"
