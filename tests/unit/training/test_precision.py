import pytest
import torch
from torch import nn

from pathomix.core.errors import PathomixError
from pathomix.training.precision import Precision, choose_device

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "dtype"), [("float32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float32)]
)
def test_matrix_products_run_in_the_precision_asked_for(name, dtype):
    precision = Precision(name, CPU)
    with precision.autocast():
        assert nn.Linear(4, 4)(torch.ones(2, 4)).dtype == dtype


@pytest.mark.parametrize("name", ["float32", "bf16", "fp16"])
def test_a_step_on_the_cpu_is_the_plain_step(name):
    def stepped(with_policy):
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        precision = Precision(name, CPU)
        loss = model(torch.ones(1, 3)).square().sum()
        if with_policy:
            precision.scaled(loss).backward()
            precision.step(optimiser)
        else:
            loss.backward()
            optimiser.step()
        return model.weight

    assert torch.equal(stepped(True), stepped(False))


def test_state_round_trip_without_scaler():
    precision = Precision("fp16", CPU)
    assert precision.state() == {}
    precision.restore({})


def test_unknown_names_are_refused():
    with pytest.raises(PathomixError, match="precision is 'half'"):
        Precision("half", CPU)


def test_device():
    assert choose_device("cpu") == CPU
    if not torch.cuda.is_available():
        assert choose_device("auto") == CPU
        with pytest.raises(PathomixError, match="this machine has none"):
            choose_device("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="loss scaling needs a CUDA device")
def test_fp16_scaler_starts_as_released_and_comes_back():
    precision = Precision("fp16", torch.device("cuda"))
    assert precision.state()["scale"] == 2.0**15
    other = Precision("fp16", torch.device("cuda"))
    other.restore({**precision.state(), "scale": 8.0})
    assert other.state()["scale"] == 8.0
