from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pathomix.core.errors import PathomixError
from pathomix.losses.cox import cox_loss
from pathomix.training.modulation import Coefficients, Modulation, ModulationSettings, coefficient, modulated_step

MODES = ("paper", "paper_softmax", "stable")
RATIOS = ("paper", "paper_softmax")


def settings(mode: str, **more: object) -> ModulationSettings:
    """Without warm-up and floor, so that nothing hides the ratio."""
    return ModulationSettings(mode=mode, **{"k_min": 0.0, "warmup_epochs": 0, **more})  # type: ignore[arg-type]


def batch(seed: int = 0, patients: int = 24, shift: float = 0.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """u^G, u^P, time with ties, event."""
    generator = np.random.default_rng(seed)
    scores = generator.normal(size=(2, patients)) + shift
    time = generator.integers(1, 9, patients).astype(float)
    event = generator.random(patients) < 0.6
    return *(torch.from_numpy(row) for row in scores), torch.from_numpy(time), torch.from_numpy(event.astype(int))


def once(how: ModulationSettings, *given: Tensor, epoch: int = 0) -> Coefficients:
    return Modulation(how).coefficients(*given, epoch=epoch)


def brute_force(mode: str, aggregate: str, genomic: Tensor, image: Tensor, time: Tensor, event: Tensor) -> float:
    """rho^G from its definition, patient by patient."""
    rows = []
    for i in range(len(time)):
        at_risk = time >= time[i]
        if event[i] and at_risk.sum() >= 2:
            sums = [score[at_risk].exp().sum() for score in (genomic, image)]
            tops = [genomic[i], image[i]]
            if mode != "paper":
                tops = [value.exp() for value in tops]
            rows.append([float(top / total) for top, total in zip(tops, sums, strict=True)])
    shares = np.array(rows)
    if mode == "stable":
        difference = np.log(shares).mean(axis=0)
        return math.exp(np.clip(difference[0] - difference[1], -math.log(5), math.log(5)))
    if aggregate == "mean_then_ratio":
        return shares[:, 0].mean() / shares[:, 1].mean()
    return (shares[:, 0] / shares[:, 1]).mean()


@pytest.mark.parametrize("aggregate", ["mean_then_ratio", "per_sample_ratio_mean"])
@pytest.mark.parametrize("mode", MODES)
def test_ratio_by_its_definition(mode: str, aggregate: str) -> None:
    for seed in range(5):
        given = batch(seed)
        found = once(settings(mode, aggregate=aggregate), *given)
        assert found.ratio == pytest.approx(brute_force(mode, aggregate, *given), rel=1e-9)
        assert found.genomic == pytest.approx(min(1 - math.tanh(found.ratio - 1), 1))
        assert found.status == ""


@pytest.mark.parametrize(("ratio", "k"), [(1.0, 1), (1.1, 0.9003), (1.25, 0.7551), (1.5, 0.5379), (2, 0.2384),
                                          (3, 0.0360), (5, 0.00067), (0.3, 1), (-2, 1)])  # fmt: skip
def test_coefficient_by_ratio(ratio: float, k: float) -> None:
    assert coefficient(torch.tensor(ratio)).item() == pytest.approx(k, abs=5e-4)
    assert coefficient(torch.tensor(ratio), k_min=0.05).item() == pytest.approx(max(k, 0.05), abs=5e-4)


@pytest.mark.parametrize("mode", MODES)
def test_equal_modalities_are_left_alone(mode: str) -> None:
    genomic, _, time, event = batch()
    found = once(settings(mode), genomic, genomic, time, event)
    assert (found.genomic, found.image) == pytest.approx((1, 1))
    assert found.ratio == pytest.approx(1)
    if mode == "stable":
        assert found.difference == 0.0
    else:
        assert math.isnan(found.difference)


@pytest.mark.parametrize("aggregate", ["mean_then_ratio", "per_sample_ratio_mean"])
@pytest.mark.parametrize("mode", MODES)
def test_swapping_modalities_swaps_coefficients(mode: str, aggregate: str) -> None:
    for seed in range(6):
        genomic, image, time, event = batch(seed)
        how = settings(mode, aggregate=aggregate)
        found, swapped = once(how, genomic, image, time, event), once(how, image, genomic, time, event)
        assert (swapped.genomic, swapped.image) == pytest.approx((found.image, found.genomic))


def test_at_most_one_modality_is_slowed() -> None:
    for mode in MODES:
        for seed in range(20):
            found = once(settings(mode), *batch(seed))
            assert max(found.genomic, found.image) == 1.0


@pytest.mark.parametrize("mode", ["paper_softmax", "stable"])
def test_a_constant_on_a_score_changes_nothing(mode: str) -> None:
    genomic, image, time, event = batch()
    found = once(settings(mode), genomic, image, time, event)
    shifted = once(settings(mode), genomic + 300, image - 70, time, event)
    assert shifted.ratio == pytest.approx(found.ratio, rel=1e-9)


def test_the_printed_ratio_depends_on_a_constant() -> None:
    genomic, image, time, event = batch()
    found, shifted = (once(settings("paper"), genomic + c, image, time, event).ratio for c in (0, 1))
    assert found != pytest.approx(shifted, rel=0.01)


@pytest.mark.parametrize("aggregate", ["mean_then_ratio", "per_sample_ratio_mean"])
@pytest.mark.parametrize("mode", MODES)
def test_scores_a_thousand_times_larger_stay_finite(mode: str, aggregate: str) -> None:
    for seed in range(10):
        genomic, image, time, event = batch(seed)
        found = once(settings(mode, aggregate=aggregate), 1000 * genomic, 1000 * image, time, event)
        assert 0 <= found.genomic <= 1
        assert 0 <= found.image <= 1
        assert math.isfinite(found.ratio) or found.status


def test_a_negative_printed_ratio_slows_nothing() -> None:
    time, event = torch.arange(1.0, 7.0), torch.ones(6)
    found = once(settings("paper"), torch.full((6,), 0.5), torch.full((6,), -0.5), time, event)
    assert found.ratio < 0
    assert (found.genomic, found.image, found.status) == (1.0, 1.0, "")


def test_an_undefined_printed_ratio_is_named() -> None:
    time, event = torch.arange(1.0, 7.0), torch.ones(6)
    for scores in ((torch.ones(6), torch.zeros(6)), (torch.zeros(6), torch.ones(6))):
        found = once(settings("paper"), *scores, time, event)
        assert (found.genomic, found.image, found.status) == (1.0, 1.0, "the printed ratio is undefined")
        assert math.isnan(found.ratio)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["no event", "one patient", "last event"])
def test_batches_that_say_nothing(mode: str, kind: str) -> None:
    genomic, image, time, event = batch()
    if kind == "no event":
        event = torch.zeros_like(event)
    elif kind == "one patient":
        genomic, image, time, event = genomic[:1], image[:1], time[:1], torch.ones(1)
    else:
        time = torch.arange(len(time)).double()
        event = torch.zeros_like(event)
        event[-1] = 1
    found = once(settings(mode), genomic, image, time, event)
    assert (found.genomic, found.image) == (1.0, 1.0)
    assert "no event" in found.status


def test_the_running_mean_is_corrected_for_its_start_and_outlives_an_empty_batch() -> None:
    run = Modulation(settings("stable", ema_decay=0.9, clip=50.0))
    batches = [batch(seed) for seed in range(4)]
    seen: list[float] = []
    for given in batches:
        found = run.coefficients(*given, epoch=0)
        seen.append(found.difference)
        weights = 0.9 ** np.arange(len(seen))[::-1]
        assert math.log(found.ratio) == pytest.approx(np.average(seen, weights=weights))
    genomic, image, time, event = batches[0]
    kept = run.coefficients(genomic, image, time, torch.zeros_like(event), epoch=0)
    assert kept.ratio == pytest.approx(found.ratio)
    assert math.isnan(kept.difference)
    assert kept.status == ""


def test_the_ratio_of_stable_is_clipped_and_the_coefficient_floored() -> None:
    time, event = torch.arange(1.0, 31.0), torch.ones(30)
    right = -time * 3
    found = once(ModulationSettings(warmup_epochs=0), right, torch.zeros(30), time, event)
    assert found.ratio == pytest.approx(5)
    assert (found.genomic, found.image) == (pytest.approx(0.05), 1.0)
    # The modality that orders the patients better is the one that is slowed.
    assert once(ModulationSettings(warmup_epochs=0), torch.zeros(30), right, time, event).image == pytest.approx(0.05)


def test_warm_up_and_window() -> None:
    given = batch(3)
    run = Modulation(settings("stable", warmup_epochs=1, window=(1, 2)))
    first, *later = [run.coefficients(*given, epoch=epoch) for epoch in range(4)]
    assert (first.genomic, first.image, first.status) == (1.0, 1.0, "warm-up")
    assert math.isfinite(first.difference)
    assert [found.status for found in later] == ["", "", "outside the window"]
    assert min(later[0].genomic, later[0].image) < 1
    assert (later[2].genomic, later[2].image) == (1.0, 1.0)


def test_without_modulation() -> None:
    found = once(ModulationSettings(mode="none"), *batch())
    assert found[:2] == (1.0, 1.0)


def test_scores_that_are_not_finite_are_named() -> None:
    genomic, image, time, event = batch()
    found = once(settings("stable"), genomic * math.nan, image, time, event)
    assert (found.genomic, found.image, found.status) == (1.0, 1.0, "a score is not finite")


@pytest.mark.parametrize(
    "wrong",
    [{"mode": "x"}, {"apply": "x"}, {"aggregate": "x"}, {"alpha": 0.0}, {"k_min": 2.0}, {"ema_decay": 1.0},
     {"clip": 0.0}, {"warmup_epochs": -1}, {"window": (3, 1)}, {"window": (1,)}, {"ge_noise": True},
     {"ge_noise": True, "apply": "grad", "mode": "none"}],
)  # fmt: skip
def test_settings_that_make_no_sense(wrong: dict) -> None:
    with pytest.raises(PathomixError):
        ModulationSettings(**wrong)


# Steps -------------------------------------------------------------------------------------------------------------


def two_parts() -> tuple[nn.Linear, nn.Linear]:
    torch.manual_seed(0)
    return nn.Linear(3, 2), nn.Linear(3, 2)


def groups(parts: tuple[nn.Linear, nn.Linear], **more: float) -> list[dict]:
    return [{"params": [*part.parameters()], "modality": name, **more}
            for part, name in zip(parts, ("genomic", "image"), strict=True)]  # fmt: skip


def trajectory(kind: type, apply: str, k: float, steps: int, **more: float) -> list[Tensor]:
    """Weights of the genomic part after steps with coefficients (k, 1)."""
    with torch.random.fork_rng():
        parts = two_parts()
    optimiser = kind(groups(parts), **more)
    inputs = torch.linspace(-1, 1, 12).reshape(4, 3)
    for _ in range(steps):
        optimiser.zero_grad()
        sum(part(inputs).square().sum() for part in parts).backward()
        modulated_step(optimiser, {"genomic": k, "image": 1.0}, apply)  # type: ignore[arg-type]
        assert all(group["lr"] == more["lr"] for group in optimiser.param_groups)
    return [part.weight.detach() for part in parts]


def test_gradient_and_step_size_agree_without_momentum() -> None:
    by_rate = trajectory(torch.optim.SGD, "lr", 0.3, 5, lr=0.05)
    by_gradient = trajectory(torch.optim.SGD, "grad", 0.3, 5, lr=0.05)
    plain = trajectory(torch.optim.SGD, "lr", 1.0, 5, lr=0.05)
    assert torch.allclose(by_rate[0], by_gradient[0], atol=1e-7)
    assert not torch.allclose(by_rate[0], plain[0], atol=1e-3)
    assert torch.equal(by_rate[1], plain[1])


def test_adam_takes_a_constant_scale_of_gradients_out_again() -> None:
    plain = trajectory(torch.optim.Adam, "grad", 1.0, 10, lr=0.01)
    assert torch.allclose(trajectory(torch.optim.Adam, "grad", 0.1, 10, lr=0.01)[0], plain[0], atol=1e-5)
    assert not torch.allclose(trajectory(torch.optim.Adam, "lr", 0.1, 10, lr=0.01)[0], plain[0], atol=1e-2)


@pytest.mark.parametrize("k", [0.0, 0.2, 1.0])
def test_decoupled_weight_decay_is_not_slowed(k: float) -> None:
    parts = two_parts()
    before = parts[0].weight.detach().clone()
    optimiser = torch.optim.AdamW(groups(parts), lr=0.1, weight_decay=0.5)
    for parameter in (*parts[0].parameters(), *parts[1].parameters()):
        parameter.grad = torch.zeros_like(parameter)
    modulated_step(optimiser, {"genomic": k, "image": 1.0}, "lr")
    assert torch.allclose(parts[0].weight, before * (1 - 0.1 * 0.5))
    assert [group["weight_decay"] for group in optimiser.param_groups] == [0.5, 0.5]


def test_groups_without_a_modality_keep_their_steps() -> None:
    head = nn.Linear(3, 1)
    optimiser = torch.optim.SGD([{"params": [*head.parameters()]}], lr=1.0)
    before = head.weight.detach().clone()
    for apply in ("lr", "grad"):
        head.weight.grad, head.bias.grad = torch.ones(1, 3), torch.ones(1)
        modulated_step(optimiser, {"genomic": 0.0, "image": 0.0}, apply)  # type: ignore[arg-type]
    assert torch.allclose(head.weight, before - 2)


def test_step_sizes_are_restored_after_a_failure() -> None:
    parts = two_parts()
    optimiser = torch.optim.SGD(groups(parts), lr=1.0)
    optimiser.step = lambda: 1 / 0  # type: ignore[method-assign, assignment]
    with pytest.raises(ZeroDivisionError):
        modulated_step(optimiser, {"genomic": 0.1, "image": 1.0}, "lr")
    assert [group["lr"] for group in optimiser.param_groups] == [1.0, 1.0]


def test_noise_has_the_spread_of_the_gradient_before_scaling_also_where_nothing_is_slowed() -> None:
    weights = [nn.Parameter(torch.zeros(200, 300)) for _ in range(2)]
    optimiser = torch.optim.SGD(
        [{"params": [w], "modality": m} for w, m in zip(weights, ("genomic", "image"), strict=True)], lr=1.0
    )
    gradient = torch.randn(200, 300, generator=torch.Generator().manual_seed(1)) * 3
    for weight in weights:
        weight.grad = gradient.clone()
    modulated_step(optimiser, {"genomic": 0.1, "image": 1.0}, "grad", torch.Generator().manual_seed(0))
    noise = [-weights[0].detach() - 0.1 * gradient, -weights[1].detach() - gradient]
    for part in noise:
        assert part.std().item() == pytest.approx(3, rel=0.02)
        assert abs(part.mean().item()) < 0.05
    assert not torch.equal(noise[0], noise[1])


def test_the_gradient_of_the_cox_term_is_the_full_one() -> None:
    """Spec 3.2: d_k minus the weights of k in all risk sets it is in; censored patients have one too."""
    theta, _, time, event = batch(2)
    variable = theta.clone().requires_grad_()
    cox_loss(variable, time, event, "paper").backward()
    expected = []
    for k in range(len(time)):
        shares = [theta[k].exp() / theta[time >= time[i]].exp().sum() for i in range(len(time))
                  if event[i] and time[k] >= time[i]]  # fmt: skip
        expected.append(float(event[k]) - sum(float(share) for share in shares))
    assert (-variable.grad).tolist() == pytest.approx(expected)
    assert any(abs(value) > 0.01 for value, happened in zip(expected, event, strict=True) if not happened)
