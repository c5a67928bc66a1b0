import torch

from pathomix.nn.segments import segment_mean, segment_softmax, segment_sum


def test_segment_softmax_equals_softmax_per_segment() -> None:
    scores = torch.tensor([1000.0, 1001.0, -5.0, 3.0, 3.0])
    result = segment_softmax(scores, torch.tensor([0, 0, 1, 2, 2]), 3)
    expected = [scores[:2].softmax(0), scores[2:3].softmax(0), scores[3:].softmax(0)]
    assert torch.allclose(result, torch.cat(expected))


def test_sum_and_mean_equal_those_per_segment_and_an_empty_one_is_zero() -> None:
    values = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    segment = torch.tensor([2, 0, 2, 2, 0, 3])
    rows = [values[segment == number] for number in range(4)]
    assert torch.allclose(segment_sum(values, segment, 4), torch.stack([each.sum(dim=0) for each in rows]))
    means = [each.mean(dim=0) if len(each) else torch.zeros(3) for each in rows]
    assert torch.allclose(segment_mean(values, segment, 4), torch.stack(means))
