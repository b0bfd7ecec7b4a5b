"""Short reasons of long exceptions."""

from __future__ import annotations

import socket
import urllib.error

import pytest

from trainer.reasons import reason_of


def test_the_networks_own_reason_is_found_behind_others():
    with pytest.raises(RuntimeError) as wrapped:
        try:
            try:
                raise ConnectionRefusedError(111, "Connection refused")
            except OSError as exc:
                raise ValueError("HTTPConnectionPool(host='h'): Max retries exceeded") from exc
        except ValueError:
            raise RuntimeError("API request failed with exception " + "x" * 500) from None
    assert reason_of(wrapped.value) == "Connection refused"


def test_a_reason_that_urllib_keeps_is_found():
    exc = urllib.error.URLError(socket.gaierror(-2, "Name or service not known"))
    assert reason_of(exc) == "Name or service not known"


def test_else_the_first_sentence_cut_where_one_sees_it():
    assert reason_of(ValueError("Shapes differ.  Layers: a, b, c.")) == "Shapes differ"
    assert reason_of(ValueError("y" * 300), longest=10) == "y" * 10 + "…"
    assert reason_of(ValueError("one. two"), "one. two") == "one. two"
    assert reason_of(KeyError()) == "KeyError"
