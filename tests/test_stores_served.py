"""What other programs have fetched is found by its name and served, by either engine, from where it lies."""

import os
from pathlib import Path

import pytest
from running import RunningServer, sdk
from store_layouts import LAYOUTS
from test_stores import VARIABLES
from tiny_models import write_gguf

from nitro.config import ServeConfig
from nitro.models.stores import registry


@pytest.mark.parametrize("engine", ["llama", "mlx"])
def test_each_layout_is_served(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", registry.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    answers = set()
    for number, make in enumerate(LAYOUTS.values()):
        name = make(tmp_path, write_gguf(tmp_path / f"{number}.gguf"))
        config = ServeConfig(engine=engine, model=name, port=0, context=256, parallel=1)
        with RunningServer(config) as server:
            client = sdk(server.ready().url)
            assert [model.id for model in client.models.list()] == [name]
            done = client.completions.create(model=name, prompt="Hello", max_tokens=4, temperature=0)
            answers.add(done.choices[0].text)
    assert len(answers) == 1 and os.environ["HOME"] == str(tmp_path)
