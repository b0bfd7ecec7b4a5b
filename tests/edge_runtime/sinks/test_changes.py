"""Which answers are news."""

from collections.abc import Callable

from edge_runtime.pipeline import Result
from edge_runtime.sinks.changes import Changes, gaps_s


def told(changes: Changes, results: list[Result]) -> list[tuple[int, str | None]]:
    taken = [changes.take(r) for r in results] + list(changes.rest())
    return [(c.result.frame.index, c.before) for c in taken if c]


def test_an_answer_that_stays_is_told_once(result: Callable[..., Result]):
    assert told(Changes(), [result(i) for i in range(50)]) == [(0, None)]


def test_flutter_of_a_camera_is_told_once_a_second_and_the_last_word_at_the_end(
    result: Callable[..., Result],
):
    flutter = [result(i, label=("cat", "dog")[i % 2]) for i in range(40)]
    assert told(Changes(), flutter) == [
        (0, None),
        (11, "cat"),
        (22, "dog"),
        (33, "cat"),
    ]
    # Frame 34 to 39 went by within the second; at the end the answer was "dog" as told.
    short = [result(0), result(1, label="dog")]
    assert told(Changes(), short) == [(0, None), (1, "cat")]


def test_of_a_file_each_change_is_told(result: Callable[..., Result]):
    gaps = gaps_s({"clip": False, "porch": True})
    flutter = [result(i, label=("cat", "dog")[i % 2], source="clip") for i in range(4)]
    assert [i for i, _ in told(Changes(gaps), flutter)] == [0, 1, 2, 3]
    assert gaps_s({"clip": False, "porch": True}, asked=3.0) == {"clip": 3.0, "porch": 3.0}


def test_sources_do_not_hold_each_other_back(result: Callable[..., Result]):
    both = [result(0, source="left"), result(1, label="dog", source="right")]
    assert told(Changes(), both) == [(0, None), (1, None)]


def test_each_picture_of_a_folder_is_news(result: Callable[..., Result]):
    pictures = [result(i, name=f"{i}.png", source="folder") for i in range(3)]
    assert [i for i, _ in told(Changes({"folder": 0.0}), pictures)] == [0, 1, 2]


def test_no_news_is_a_change_and_so_is_its_end(result: Callable[..., Result]):
    frames = [result(0), result(20, condition="frozen"), result(40)]
    assert told(Changes(), frames) == [(0, None), (20, "cat"), (40, None)]


def test_a_repeated_picture_is_no_change(result: Callable[..., Result]):
    frames = [result(0), result(20, condition="repeated"), result(40), result(60, label="dog")]
    assert told(Changes(), frames) == [(0, None), (60, "cat")]
