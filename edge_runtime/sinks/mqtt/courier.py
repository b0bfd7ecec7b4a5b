"""Carrying messages to the broker, in a thread of its own, through all its absences.

paho's network loop is driven from here and not by paho's own thread: so the reason of a failed
connection is known (paho's thread swallows it), and no lock of paho's is ever waited for by the
thread that answers frames.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from edge_runtime.sinks.mqtt.broker import Broker
from edge_runtime.sinks.mqtt.store import Message, Store
from edge_runtime.text import one_line

# Sent and not yet acknowledged: as many as paho sends at once.
_IN_FLIGHT = 20
_KEEPALIVE_S = 30
_CONNECT_S = 5.0
# What takes a connection and says nothing for so long is no broker, or a hung one.
_LET_IN_S = 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
_LAST_PAUSE_S = 0.1  # between tries at the end of the run
_POLL_S = 0.5
# A connection that lasted so long was a good one.
_LONG_ENOUGH_S = 5.0


class Courier:
    """Takes messages at any time without waiting, and delivers them at least once (QoS 1)."""

    def __init__(
        self,
        broker: Broker,
        *,
        client_id: str,
        will: Message,
        store: Store,
        on_note: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Begin to connect; a broker that is not there is tried again for ever.

        Args:
            will: what the broker says when this client is gone without a word.
            on_note: told when the broker is gone and when it is back; from another thread.

        Raises:
            OptionError: when a certificate cannot be read.
        """
        self._broker, self._store, self._on_note = broker, store, on_note
        self._pause_s = _FIRST_PAUSE_S
        self._in_flight = 0
        self._said = ""
        self._was_let_in = False
        self._refusal = ""
        self._connected_s = 0.0
        self._give_up_s = float("inf")
        self._closing = threading.Event()
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        self._client = Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, reconnect_on_failure=False
        )
        self._client.connect_timeout = _CONNECT_S
        self._client.max_inflight_messages_set(_IN_FLIGHT)
        self._client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
        if broker.user:
            self._client.username_pw_set(broker.user, broker.password)
        if (context := broker.tls_context()) is not None:
            self._client.tls_set_context(context)
        self._client.on_connect = self._connected
        self._client.on_publish = self._acknowledged
        self._thread = threading.Thread(target=self._run, name="edgeproof-mqtt", daemon=True)
        self._thread.start()

    def post(self, message: Message) -> None:
        """Take a message; never waits."""
        self._store.put(message)
        self._wake_up()

    @property
    def waiting(self) -> int:
        """How many messages the broker has not acknowledged."""
        return len(self._store) + self._in_flight

    def close(self, farewell: Message, within_s: float) -> bool:
        """Deliver what waits, for so long at most, and then the farewell; whether all of it was.

        A broker that was not reached so far is tried until then as well: a run of a few pictures
        is over sooner than a connection stands.
        """
        self._store.put_last(farewell)
        self._give_up_s = min(self._give_up_s, time.monotonic() + within_s)
        self._closing.set()
        self._wake_up()
        # In the middle of connecting it cannot be told; it ends by itself then.
        self._thread.join(within_s + 0.1)
        return self.waiting == 0

    def _wake_up(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):  # it is awake, or over
            self._waker.send(b"\0")

    def _run(self) -> None:
        try:
            while not self._is_over():
                try:
                    if self._connect():
                        self._talk()  # what was not acknowledged, paho sends again by itself
                except Exception as exc:  # whatever a broken broker makes paho stumble over
                    self._hang_up()
                    self._away(f"{type(exc).__name__}: {exc}")
                if self._closing.is_set():
                    time.sleep(_LAST_PAUSE_S)
                elif not self._closing.wait(self._pause_s):
                    self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        finally:
            self._wake.close()
            self._waker.close()

    def _connect(self) -> bool:
        try:
            self._client.connect(self._broker.host, self._broker.port, _KEEPALIVE_S)
        except (OSError, ValueError) as exc:  # UnicodeError, of a host name, is a ValueError
            self._away(getattr(exc, "strerror", None) or str(exc))
            return False
        return True

    def _talk(self) -> None:
        """Until the connection ends, or everything was delivered at the end of the run."""
        self._refusal, self._was_let_in = "", False
        why = "it closed the connection"
        let_in_by_s = time.monotonic() + _LET_IN_S
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake, selectors.EVENT_READ)
            while (sock := self._client.socket()) is not None:
                if self._is_over():
                    self._part()
                    return
                if not self._was_let_in and time.monotonic() > let_in_by_s:
                    self._hang_up()
                    why = "it takes the connection and says nothing; is it an MQTT broker?"
                    break
                code = self._step(selector, sock)
                if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
                    why = "it does not answer" if code == MQTTErrorCode.MQTT_ERR_KEEPALIVE else why
                    break
        if self._was_let_in and time.monotonic() - self._connected_s > _LONG_ENOUGH_S:
            self._pause_s = _FIRST_PAUSE_S
        elif self._was_let_in:
            why += " soon after it let us in; is another edgeproof using the same --mqtt-topic?"
        if not self._closing.is_set():
            self._away(self._refusal or why)

    def _is_over(self) -> bool:
        """Whether nothing is to be done any more at the end of the run."""
        if not self._closing.is_set():
            return False
        return self.waiting == 0 or time.monotonic() >= self._give_up_s

    def _hang_up(self) -> None:
        if (sock := self._client.socket()) is not None:
            sock.close()

    def _part(self) -> None:
        if self.waiting == 0:
            self._client.disconnect()
        else:
            self._hang_up()  # without a farewell: the broker publishes the will

    def _step(self, selector: selectors.BaseSelector, sock: Any) -> MQTTErrorCode:
        """Read, write and send what can be without waiting longer than for the next of these."""
        wanted = selectors.EVENT_READ
        if self._client.want_write():
            wanted |= selectors.EVENT_WRITE
        pending = getattr(sock, "pending", lambda: 0)()  # what TLS has read already
        selector.register(sock, wanted)
        try:
            events = selector.select(0 if pending else _POLL_S)
        finally:
            selector.unregister(sock)
        ready = {key.fileobj: mask for key, mask in events}
        if self._wake in ready:
            with contextlib.suppress(BlockingIOError):
                self._wake.recv(4096)
        if pending or ready.get(sock, 0) & selectors.EVENT_READ:
            code = self._client.loop_read()
            if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return code
        if ready.get(sock, 0) & selectors.EVENT_WRITE:
            code = self._client.loop_write()
            if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return code
        self._send()
        return self._client.loop_misc()

    def _send(self) -> None:
        while self._was_let_in and self._in_flight < _IN_FLIGHT:
            message = self._store.take()
            if message is None:
                return
            self._in_flight += 1
            self._client.publish(message.topic, message.payload, qos=1, retain=message.retain)

    def _connected(self, client: Any, data: Any, flags: Any, code: Any, properties: Any) -> None:
        if code.is_failure:
            self._refusal = f"it refuses: {code}"
            return
        self._was_let_in = True
        self._connected_s = time.monotonic()
        if self._said:
            self._say(f"MQTT broker {self._broker.name}: connected")
            self._said = ""
        self._store.start_anew()

    def _acknowledged(self, client: Any, data: Any, mid: int, code: Any, properties: Any) -> None:
        self._in_flight = max(0, self._in_flight - 1)

    def _away(self, why: str) -> None:
        if why == self._said:
            return
        self._said = why
        self._say(
            f"MQTT broker {self._broker.name}: {one_line(why)}; messages are kept until it is back"
        )

    def _say(self, text: str) -> None:
        self._on_note(text)
