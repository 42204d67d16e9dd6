"""What computes a run is settled by the machine's abilities, never by how busy it is."""

from __future__ import annotations

import pytest

from longtail.errors import InputError
from longtail.training import compute as computing


@pytest.mark.parametrize("able", [True, False])
def test_bfloat16_where_the_processor_has_it(able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(computing, "has_bfloat16", lambda device: able)
    assert computing.choose("cpu").precision == ("bfloat16" if able else "float32")
    assert computing.choose("cpu", "float32").precision == "float32"
    assert computing.choose("cpu", "bfloat16").precision == "bfloat16"


def test_compilation_is_asked_for_and_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not computing.choose("cpu").compiled
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert computing.choose("cpu", compiled=True).compiled
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(InputError, match="--compile needs a C\\+\\+ compiler"):
        computing.choose("cpu", compiled=True)
