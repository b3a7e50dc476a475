"""Predict the class of one wine with the latest model that `train.py` has chosen.

    python examples/wine/predict.py
    python examples/wine/predict.py 13.2 1.78 2.14 11.2 100 2.65 2.76 0.26 1.28 4.38 1.05 3.4 1050

The model is found through the query API: nothing is trained and no file name is agreed upon.
"""

from __future__ import annotations

import sys

import numpy as np
from sklearn.datasets import load_wine

import tasklineage as tl

EXAMPLE = (13.2, 1.78, 2.14, 11.2, 100, 2.65, 2.76, 0.26, 1.28, 4.38, 1.05, 3.4, 1050)


def main(vector: list[float]) -> None:
    """Print the class of the wine with these measurements, and which run the model is from."""
    run = tl.latest("wine", status="done")
    if run is None:
        raise SystemExit("no finished run named wine: run train.py first")
    best = run.result
    predicted = best["model"].predict(np.array([vector]))[0]
    print(f"{load_wine().target_names[predicted]}")
    print(f"by {best['name']} (accuracy {best['accuracy']:.3f}) of run {run.id}")


if __name__ == "__main__":
    main([float(word) for word in sys.argv[1:]] or list(EXAMPLE))
