"""MSMT17 with the training set of the published codes."""

from fastreid.data.datasets import DATASET_REGISTRY, msmt17


@DATASET_REGISTRY.register()
class MSMT17TrainVal(msmt17.MSMT17):
    """MSMT17 whose training set is list_train.txt and list_val.txt: 32,621 images of 1,041 people.

    fastreid's MSMT17 trains on list_train.txt alone, 30,248 images of the same people. Test sets are equal.
    """

    def __init__(self, root: str = "datasets", **kwargs: object) -> None:
        super().__init__(root, **kwargs)
        if not kwargs.get("combineall"):  # fastreid adds them itself then, and all test images
            listed = self.process_dir(self.train_dir, self.list_val_path)
            self._train = self.data = sorted([*self.train, *listed], key=lambda item: item[0])
