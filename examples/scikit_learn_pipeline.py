"""Re-balancing as the last step of a scikit-learn pipeline, its regularisation chosen by cross-validation.

python examples/scikit_learn_pipeline.py
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from longtail import metrics, rebalance
from longtail.data import exponential_profile

if __name__ == "__main__":
    digits = load_digits()
    x, x_test, y, y_test = train_test_split(digits.data, digits.target, test_size=0.4, random_state=0)
    sizes = exponential_profile(10, 100, 20)
    tail = np.concatenate([np.flatnonzero(y == label)[: int(n)] for label, n in enumerate(sizes)])

    features = (StandardScaler(), PCA(30, random_state=0))
    plain = make_pipeline(*features, LogisticRegression(max_iter=1000)).fit(x[tail], y[tail])
    search = GridSearchCV(
        make_pipeline(*features, rebalance.ClassifierRetraining()),
        {"classifierretraining__weight_decay": [1e-4, 1e-3, 1e-2]},
        scoring="balanced_accuracy",
        cv=3,
    ).fit(x[tail], y[tail])

    counts = np.bincount(y[tail])
    print(f"{'':22}{'accuracy':>10}{'medium':>10}{'few':>10}")
    reports = {}
    for name, model in {"logistic regression": plain, "classes counting alike": search}.items():
        reports[name] = metrics.evaluate(y_test, model.predict(x_test), counts=counts)
        found = reports[name]
        print(f"{name:22}{found.accuracy:10.3f}{found.medium:10.3f}{found.few:10.3f}")
    print(f"chosen: {search.best_params_}")
    assert reports["classes counting alike"].few > reports["logistic regression"].few
