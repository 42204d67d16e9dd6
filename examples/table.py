"""A long tail that is not made of images: scikit-learn's table of wines, as `features:FILE`.

Run it: python examples/table.py
"""

import pathlib
import tempfile

import numpy as np
from sklearn.datasets import load_wine

import longtail

wine = load_wine()
order = np.random.RandomState(0).permutation(len(wine.target))
test, train = order[:60], order[60:]
with tempfile.TemporaryDirectory() as folder:
    table = pathlib.Path(folder) / "wine.npz"
    np.savez(
        table,
        train_features=wine.data[train],
        train_target=wine.target[train],
        test_features=wine.data[test],
        test_target=wine.target[test],
        class_names=np.array([str(name) for name in wine.target_names]),
    )
    data = longtail.load(f"features:{table}", imbalance=10)
    print(f"{data.name}: {data.counts.tolist()} rows to train on, {len(data.test)} to test on\n")
    print(f"{'':20}{'balanced accuracy':>18}{'worst class':>13}")
    found = {}
    for name in ("ce", "logit-adjustment"):
        recipe = longtail.recipe(name, data, model="mlp@widths=(32,)", epochs=20, batch_size=16)
        record = longtail.train(recipe, data, seed=0, out=pathlib.Path(folder) / name)
        found[name] = record.report["balanced_accuracy"]
        print(f"{name:20}{100 * found[name]:16.1f} %{100 * min(record.report['per_class']):11.1f} %")
    assert min(found.values()) > 0.8
