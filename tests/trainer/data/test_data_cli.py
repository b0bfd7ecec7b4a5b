"""`edgeproof data` on the command line."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

import edgeproof
from edge_runtime.preprocess import Preprocess
from trainer.data.places import DataOptions
from trainer.dataset import load_dataset


def invoke(*arguments: str | Path):
    return CliRunner().invoke(edgeproof.app, ["data", *map(str, arguments)])


def test_the_cache_is_listed_and_cleared(two_colours, tmp_path):
    cache = tmp_path / "cache"
    tiny = Preprocess(width=8, height=8)
    options = DataOptions(cache=str(cache))
    load_dataset(two_colours, tiny, seed=0, scratch=tmp_path, options=options)
    (cache / "sets" / "pets-1").mkdir(parents=True)
    listed = invoke("cache", "--cache", cache).stdout
    assert f"{cache / 'pixels'}: 1 sets of decoded pictures" in listed
    assert "pets-1" in listed
    assert "removed" in invoke("cache", "--cache", cache, "--clear-pixels").stdout
    assert [p.name for p in cache.rglob("*") if p.parent.parent == cache] == ["pets-1"]
    invoke("cache", "--cache", cache, "--clear")
    assert not list((cache / "sets").iterdir())
    assert "0 unpacked sets" in invoke("cache", "--cache", cache).stdout
