"""Fixtures for principal components: scikit-learn's PCA(n_components=2), see README.md."""

import numpy as np
from sklearn.decomposition import PCA

import fill
import fixtures


def case(name, rows):
    pca = PCA(n_components=2, svd_solver="full").fit(rows)
    return {"name": name, "rows": rows.tolist(), "mean": pca.mean_.tolist(),
            "axes": pca.components_.tolist(), "projected": pca.transform(rows).tolist()}


def main():
    fixtures.setup()
    spread = fill.symmetric("rows", (30, 5)) * np.array([0.3, 3.0, 1.0, 2.0, 0.1]) + np.arange(5.0)
    mixed = spread @ fill.symmetric("mix", (5, 5))
    few = fill.symmetric("few", (4, 9))  # fewer rows than dimensions
    cases = [case("spread", spread), case("mixed", mixed), case("few", few)]
    fixtures.save_json("embeddings", "pca.json", cases)


if __name__ == "__main__":
    main()
