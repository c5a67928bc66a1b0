import pytest
import torch
from torch import nn

from pathomix.core.errors import PathomixError
from pathomix.training.checkpoint import Checkpoint

IDENTITY = {"configuration": {"learning_rate": 1e-4, "tasks": ["a", "b"]}, "code": "abc"}


def test_state_comes_back_and_is_discarded(tmp_path):
    checkpoint = Checkpoint(tmp_path / "run" / "checkpoint.pt", IDENTITY)
    assert checkpoint.load() is None
    weights = {"w": torch.randn(3, 4), "step": torch.tensor(3)}
    checkpoint.save({"weights": weights, "history": [{"epoch": 0, "loss": 0.5}], "best": None})
    state = Checkpoint(tmp_path / "run" / "checkpoint.pt", IDENTITY).load()
    assert torch.equal(state["weights"]["w"], weights["w"])
    assert state["history"] == [{"epoch": 0, "loss": 0.5}]
    assert state["best"] is None
    checkpoint.discard()
    assert checkpoint.load() is None
    checkpoint.discard()


def test_optimiser_state_comes_back(tmp_path):
    def trained(steps, resume_after=None):
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
        checkpoint = Checkpoint(tmp_path / "c.pt", {})
        for step in range(steps):
            if step == resume_after:
                checkpoint.save({"model": model.state_dict(), "optimiser": optimiser.state_dict()})
                model = nn.Linear(3, 2)
                optimiser = torch.optim.AdamW(model.parameters(), lr=0.7)
                state = checkpoint.load()
                model.load_state_dict(state["model"])
                optimiser.load_state_dict(state["optimiser"])
            optimiser.zero_grad()
            model(torch.full((1, 3), step + 1.0)).square().sum().backward()
            optimiser.step()
        return model.weight

    assert torch.equal(trained(6), trained(6, resume_after=3))


@pytest.mark.parametrize(
    ("identity", "named"),
    [
        ({**IDENTITY, "code": "xyz"}, 'code ("abc" there, "xyz" now)'),
        ({**IDENTITY, "inputs": "1"}, 'inputs (absent there, "1" now)'),
        (
            {**IDENTITY, "configuration": {"learning_rate": 0.5, "tasks": ["a", "b"]}},
            "configuration.learning_rate (0.0001 there, 0.5 now)",
        ),
        (
            {**IDENTITY, "configuration": {"learning_rate": 1e-4, "tasks": ["b", "a"]}},
            'configuration.tasks (["a", "b"] there, ["b", "a"] now)',
        ),
    ],
)
def test_another_identity_is_refused_with_its_differences(tmp_path, identity, named):
    path = tmp_path / "c.pt"
    Checkpoint(path, IDENTITY).save({"a": 1})
    with pytest.raises(PathomixError, match="another run") as caught:
        Checkpoint(path, identity).load()
    assert caught.value.offending == [named]
    assert str(path) in str(caught.value)
    assert Checkpoint(path, IDENTITY).load() == {"a": 1}


def test_damage_anywhere_is_named(tmp_path):
    path = tmp_path / "c.pt"
    Checkpoint(path, IDENTITY).save({"w": torch.arange(1000.0)})
    whole = path.read_bytes()
    damaged = [b"", whole[:10], whole[:-100], whole[: len(whole) // 2]]
    for place in range(0, len(whole), len(whole) // 40):
        damaged.append(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(PathomixError, match=r"c\.pt: damaged checkpoint .*; delete the file"):
            Checkpoint(path, IDENTITY).load()


def test_an_interrupted_save_leaves_the_last_state(tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path / "c.pt", IDENTITY)
    checkpoint.save({"epoch": 1})
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save({"epoch": 2})
    monkeypatch.undo()
    assert checkpoint.load() == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]


def test_code_in_the_file_is_not_run(tmp_path):
    path = tmp_path / "c.pt"

    class Evil:
        def __reduce__(self):
            return (print, ("executed",))

    Checkpoint(path, IDENTITY).save({"evil": Evil()})
    with pytest.raises(PathomixError, match="damaged checkpoint"):
        Checkpoint(path, IDENTITY).load()
