"""The page that every report stands on. Its tests are here: devices have no jinja2."""

from __future__ import annotations

import base64

import cv2
import jinja2
import numpy as np
import pytest

from edge_runtime.page import figure_data_uri, render_page, themed_figure, thumbnail_data_uri

PAGE = """{% extends "page.html.j2" %}
{% from "macros.html.j2" import badge, facts, figure, table, tile %}
{% block title %}{{ name }}{% endblock %}
{% block main %}
{{ tile("Accuracy", name, "note", "good") }}{{ badge(name, "fail") }}
{{ table(["a", "b"], [[name, 1]], numbers=[1]) }}{{ facts([(name, name)]) }}
{% if plot %}{{ figure(plot, name, name) }}{% endif %}
{% endblock %}"""


def decoded(uri: str, kind: str) -> bytes:
    prefix = f"data:{kind};base64,"
    assert uri.startswith(prefix)
    return base64.b64decode(uri[len(prefix) :])


def test_everything_a_report_shows_is_escaped():
    page = render_page(PAGE, name="<script>alert(1)</script>\"'", plot=None)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 6


def test_page_stands_alone_in_light_and_dark():
    plot = themed_figure(lambda figure: figure.subplots().plot([0, 1]))
    page = render_page(PAGE, name="pets", plot=plot)
    assert "http:" not in page.replace("http://www.w3.org", "")
    assert "https:" not in page
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page
    assert "default-src 'none'" in page
    assert plot.light != plot.dark


def test_missing_value_is_an_error_not_a_blank():
    with pytest.raises(jinja2.UndefinedError, match="name"):
        render_page(PAGE, plot=None)


def test_template_file_finds_its_neighbours(tmp_path):
    (tmp_path / "piece.j2").write_text("<i>{{ name }}</i>")
    (tmp_path / "whole.j2").write_text('{% include "piece.j2" %}')
    assert render_page(tmp_path / "whole.j2", name="a&b") == "<i>a&amp;b</i>"


def test_figure_is_svg_without_text_or_date():
    from matplotlib.figure import Figure

    figures = [Figure(), Figure()]
    for figure in figures:
        figure.subplots().set_title("loss")
    first, second = (decoded(figure_data_uri(f), "image/svg+xml") for f in figures)
    assert first == second
    assert b"<svg" in first
    assert b"<text" not in first


@pytest.mark.parametrize(
    "shape, expected",
    [
        pytest.param((50, 200, 3), (24, 96, 3), id="wide"),
        pytest.param((200, 50, 3), (96, 24, 3), id="tall"),
        pytest.param((20, 10, 3), (20, 10, 3), id="small-stays"),
        pytest.param((2, 1000, 3), (1, 96, 3), id="thread"),
    ],
)
def test_thumbnail_keeps_the_aspect(shape, expected):
    data = decoded(thumbnail_data_uri(np.full(shape, 90, np.uint8), 96), "image/jpeg")
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == expected
