"""The objective as data: terms of one's own, and whose features a triplet's gradient reaches."""

import pytest
import torch
from batches import TARGETS, batch

from mmt_plugin.config import ConfigError, check_config
from mmt_plugin.modeling.losses import hardest_triplets, soft_softmax_triplet_loss, softmax_triplet_loss
from mmt_plugin.modeling.objective import LOSS_REGISTRY


@pytest.fixture
def spread():
    """A loss that is registered for the test; also under a name that is taken."""

    @LOSS_REGISTRY.register()
    def spread(outputs):
        return sum(student["features"].std() + peer["features"].std() for student, peer in outputs.pairs)

    LOSS_REGISTRY._do_register("moco", spread)
    yield spread
    for name in ("spread", "moco"):
        del LOSS_REGISTRY._obj_map[name]


def test_a_registered_loss_is_a_weighted_term(make_model, spread):
    plain, model = (make_model(MMT__EXTRA_LOSSES=extra)(batch()) for extra in ((), (("spread", 0.5),)))
    assert list(model) == [*plain, "loss_spread"]
    double = make_model(MMT__EXTRA_LOSSES=(("spread", 1.0),))(batch())
    torch.testing.assert_close(double["loss_spread"], 2 * model["loss_spread"])
    torch.testing.assert_close(double["loss_ce"], plain["loss_ce"])


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ((("sprad", 0.5),), "a loss of MMT.EXTRA_LOSSES is 'sprad', but nothing is .* did you mean spread"),
        ((("spread", -1.0),), "each entry is a name and a positive weight"),
        (("spread",), "each entry is a name and a positive weight"),
        ((("spread", float("inf")), 5), "each entry is a name and a positive weight"),
        ((("spread", 0.5), ("spread", 0.1)), "names a loss twice"),
        ((("moco", 0.5),), "register it by a name other than ce, soft_ce"),
    ],
)
def test_losses_that_cannot_be_are_refused(tiny_config, spread, losses, message):
    with pytest.raises(ConfigError, match=message):
        check_config(tiny_config(MMT__EXTRA_LOSSES=losses))


def gradient_by_loop(features, targets, weight_of, gradient):
    """Gradient of the mean over anchors of a loss whose derivative by d_positive - d_negative is given."""
    total, n = torch.zeros_like(features), len(features)
    for i in range(n):
        distances = [float((features[i] - features[j]).norm()) for j in range(n)]
        far = max((j for j in range(n) if targets[j] == targets[i]), key=distances.__getitem__)
        near = min((j for j in range(n) if targets[j] != targets[i]), key=distances.__getitem__)
        weight = weight_of(i, far, near, distances[far] - distances[near]) / n
        for j, sign in ((far, 1), (near, -1)):
            if j != i:  # an image that is alone in its class is its own positive
                direction = sign * weight * (features[i] - features[j]) / distances[j]
                total[i] += direction
                if gradient == "both":
                    total[j] -= direction
    return total


@pytest.mark.parametrize("gradient", ["both", "anchor"])
@pytest.mark.parametrize("seed", range(2))
def test_triplet_gradients_reach_whom_they_are_to_reach(gradient, seed):
    torch.manual_seed(seed)
    targets = torch.tensor([0, 0, 1, 1, 2, 2, 2, 3])
    student = torch.randn(8, 5, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(8, 5, dtype=torch.float64)

    def t_of_teacher(i, far, near):
        return torch.sigmoid((teacher[i] - teacher[near]).norm() - (teacher[i] - teacher[far]).norm())

    weights = {
        softmax_triplet_loss: lambda i, far, near, x: torch.sigmoid(torch.tensor(x)),
        soft_softmax_triplet_loss: lambda i, far, near, x: (
            torch.sigmoid(torch.tensor(x)) - (1 - t_of_teacher(i, far, near))
        ),
    }
    for loss, weight_of in weights.items():
        given = (student, teacher) if loss is soft_softmax_triplet_loss else (student,)
        mined = hardest_triplets(student, targets, gradient)
        value = loss(*given, targets, mined)
        assert value == loss(*given, targets)
        (found,) = torch.autograd.grad(value, student)
        expected = gradient_by_loop(student.detach(), targets, weight_of, gradient)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_the_key_changes_gradients_and_no_loss(make_model):
    """Of the hard and of the soft triplet loss, each alone: features of all images but one are constants."""
    for soft in (0.0, 1.0):
        found = []
        for gradient in ("both", "anchor"):
            model = make_model(
                MMT__TRIPLET_GRADIENT=gradient, MMT__SOFT_TRI_WEIGHT=soft, MMT__SOFT_CE_WEIGHT=1.0
            )
            losses = model(batch())
            losses["loss_soft_triplet" if soft else "loss_triplet"].backward()
            found.append((losses, next(model.students[0].parameters()).grad))
        for name, value in found[0][0].items():
            assert torch.equal(value, found[1][0][name])
        assert not torch.allclose(found[0][1], found[1][1])


def test_there_is_no_other_gradient(tiny_config):
    with pytest.raises(ConfigError, match=r"MMT\.TRIPLET_GRADIENT is 'positive'; choose one of both, anchor"):
        check_config(tiny_config(MMT__TRIPLET_GRADIENT="positive"))
    with pytest.raises(ValueError, match="choose one of both, anchor"):
        hardest_triplets(torch.randn(6, 3), TARGETS, "positive")
