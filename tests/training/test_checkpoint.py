from __future__ import annotations

import os
import pathlib
import pickle
import resource

import pytest
import torch

from longtail.errors import InputError
from longtail.files import write_atomically
from longtail.training import checkpoint


def test_tensors_and_facts_come_back(tmp_path: pathlib.Path) -> None:
    tensors = {"a": torch.arange(6.0).view(2, 3).t(), "b": torch.tensor(3), "c": torch.zeros(0, 2)}
    facts = {"epoch": 3, "history": [{"loss": 0.1 + 0.2}]}
    checkpoint.save(tmp_path / "deep" / "x.safetensors", tensors, facts)
    read, said = checkpoint.load(tmp_path / "deep" / "x.safetensors")
    assert said == facts
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


def test_an_optimiser_state_survives_flattening(tmp_path: pathlib.Path) -> None:
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    tensors: dict[str, torch.Tensor] = {}
    skeleton = checkpoint.flatten(optimizer.state_dict(), "optimizer", tensors)
    checkpoint.save(tmp_path / "o.safetensors", tensors, {"skeleton": skeleton})
    read, facts = checkpoint.load(tmp_path / "o.safetensors")
    other = torch.optim.AdamW(layer.parameters(), lr=9.0)
    other.load_state_dict(checkpoint.unflatten(facts["skeleton"], read))
    assert other.param_groups[0]["lr"] == 0.1
    for mine, theirs in zip(optimizer.state.values(), other.state.values(), strict=True):
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_a_failed_write_leaves_the_old_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.safetensors"
    checkpoint.save(path, {"a": torch.ones(1)}, {})

    def fail(file: pathlib.Path) -> None:
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail)
    assert torch.equal(checkpoint.load(path)[0]["a"], torch.ones(1))
    assert os.listdir(tmp_path) == ["x.safetensors"]


def test_a_write_that_the_system_refuses_is_one_line_and_leaves_the_old_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.safetensors"
    checkpoint.save(path, {"a": torch.ones(1)}, {})
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, most[1]))  # as a full disk does, this fails in the midst of a file
    try:
        with pytest.raises(InputError, match=r"cannot write to .*; choose another folder") as refusal:
            checkpoint.save(path, {"a": torch.ones(10_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
    assert "\n" not in str(refusal.value)
    assert torch.equal(checkpoint.load(path)[0]["a"], torch.ones(1))
    assert os.listdir(tmp_path) == ["x.safetensors"]


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, pickle.dumps({"a": 1})])
def test_a_damaged_or_foreign_file_is_refused(tmp_path: pathlib.Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.safetensors is damaged"):
        checkpoint.load(tmp_path / "x.safetensors")


def test_a_truncated_checkpoint_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.safetensors"
    checkpoint.save(path, {"a": torch.ones(1000)}, {})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="damaged"):
        checkpoint.load(path)


def test_a_missing_checkpoint_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="no checkpoint at"):
        checkpoint.load(tmp_path / "none.safetensors")


def test_a_folder_that_cannot_be_made(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot write to"):
        checkpoint.save(tmp_path / "file" / "x.safetensors", {}, {})
