"""The second device of the tests catches what a GPU would."""

import pytest
import torch
from second_device import MixedDevicesError, counted_waits

MISTAKES = {
    "a sum": lambda here, there: here + there,
    "a matrix product": lambda here, there: here @ there,
    "a loss": lambda here, there: torch.nn.functional.cross_entropy(there, here[0].long()),
    "concatenation": lambda here, there: torch.cat([here, there]),
    "a choice": lambda here, there: torch.where(there > 0, there, here),
    "a write in place": lambda here, there: here.add_(there),
    "indices of the device": lambda here, there: here[there[0].long()],
}
WAITS = {
    "_local_scalar_dense": lambda there: float(there.sum()),
    "tolist": lambda there: there.tolist(),
    "copy to the CPU": lambda there: there.cpu(),
    "index": lambda there: there[there > 0],
    "nonzero": lambda there: there.nonzero(),
    "_unique2": lambda there: there.unique(),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_devices_do_not_mix(sim, name):
    with pytest.raises(MixedDevicesError):
        MISTAKES[name](torch.zeros(3, 3), torch.zeros(3, 3, device=sim))


def test_numbers_and_indices_of_the_cpu_may_be_used(sim):
    there = torch.arange(4.0).to(sim)
    assert (there + torch.tensor(1.0))[torch.tensor([0, 3])].tolist() == [1, 4]
    assert there.device == torch.device(sim, 0)


def test_no_array_is_made_of_it(sim):
    with pytest.raises(TypeError, match="numpy"):
        torch.zeros(3, device=sim).numpy()


@pytest.mark.parametrize("name", WAITS)
def test_waits_are_counted(sim, name):
    there = torch.ones(3, device=sim) * 2
    with counted_waits() as counter:
        there = there.exp() + there.argsort()
        WAITS[name](there)
    assert counter == {name: 1}
