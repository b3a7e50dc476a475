"""Train two classifiers on scikit-learn's wine data and keep the better one.

    python examples/wine/train.py

Run it twice: the second run executes nothing. Edit `train_knn` and run it again: `train_knn` and
`choose` execute, for nothing else depends on it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import tasklineage as tl
from tasklineage import task

Split = dict[str, np.ndarray]
Trained = dict[str, Any]


@task
def load() -> tuple[np.ndarray, np.ndarray]:
    """The measurements `(n, 13)` of n wines, and the class `(n,)` of each."""
    features, classes = load_wine(return_X_y=True)
    return features, classes


@task
def split(features: np.ndarray, classes: np.ndarray, seed: int = 7) -> Split:
    """A quarter of the wines is kept back to judge by."""
    train_x, test_x, train_y, test_y = train_test_split(
        features, classes, test_size=0.25, random_state=seed, stratify=classes
    )
    return {"train_x": train_x, "train_y": train_y, "test_x": test_x, "test_y": test_y}


@task(track=("dist:scikit-learn",))
def train_knn(wines: Split, neighbors: int = 5) -> Trained:
    """The class of most of the nearest neighbours."""
    model = make_pipeline(StandardScaler(), KNeighborsClassifier(n_neighbors=neighbors))
    return judged("knn", model, wines)


@task(track=("dist:scikit-learn",))
def train_svm(wines: Split, c: float = 1.0) -> Trained:
    """A support vector machine with a radial kernel."""
    model = make_pipeline(StandardScaler(), SVC(C=c))
    return judged("svm", model, wines)


def judged(name: str, model: Any, wines: Split) -> Trained:
    """The model, fitted, with its share of right answers on wines that it has not seen."""
    model.fit(wines["train_x"], wines["train_y"])
    accuracy = float(model.score(wines["test_x"], wines["test_y"]))
    return {"name": name, "model": model, "accuracy": accuracy}


@task
def choose(candidates: tl.Inputs) -> Trained:
    """The candidate that is right most often; the first of several such."""
    best: Trained = max(candidates, key=lambda candidate: candidate["accuracy"])
    return best


def main() -> None:
    """Train both, keep the better, and say what had to be executed for it."""
    with tl.run("wine") as run:
        features, classes = load()
        wines = split(features, classes)
        best = tl.join(choose, {"knn": train_knn.bind(wines), "svm": train_svm.bind(wines)})
    print(f"{best['name']} wins with an accuracy of {best['accuracy']:.3f}")
    print(f"executed {run.executed}, hits {run.hits}")


if __name__ == "__main__":
    main()
