"""MODEL.CHANNELS_LAST changes where numbers lie in memory, not what they are."""

import pytest
import torch
from batches import batch


def is_channels_last(weight: torch.Tensor) -> bool:
    return weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("recipe", ["plaza2metro_mmt", "plaza2metro_mmt_plus"])
def test_losses_and_gradients_are_the_same(make_model, recipe):
    inputs = batch()
    if recipe.endswith("plus"):
        inputs["domains"] = torch.tensor([0, 0, 0, 0, 1, 1])
    plain, last = (make_model(name=recipe, MODEL__CHANNELS_LAST=on) for on in (False, True))
    last.load_state_dict(plain.state_dict())
    wide = [name for name, p in last.named_parameters() if p.dim() == 4 and min(p.shape[1:3]) > 1]
    weights = dict(last.named_parameters())
    assert any(name.startswith("teachers") for name in wide)
    assert all(is_channels_last(weights[name]) for name in wide)
    seen = []
    last.students[0].backbone.register_forward_hook(lambda *args: seen.append(args[-1]))
    losses, expected = last(inputs), plain(inputs)
    assert is_channels_last(seen[0])
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, atol=1e-4, rtol=1e-4, msg=name)
    for terms in (losses, expected):
        sum(terms.values()).backward()
    ours, theirs = (
        torch.cat([p.grad.flatten() for p in m.students.parameters() if p.grad is not None])
        for m in (last, plain)
    )
    assert torch.nn.functional.cosine_similarity(ours, theirs, dim=0) > 0.9999
    last.update_teachers(0.5)
    assert all(is_channels_last(weights[name]) for name in wide)
