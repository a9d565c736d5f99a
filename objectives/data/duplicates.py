"""Images that a dataset holds more than once: exact copies by their digests, near copies by how they look.

Near copies are files that show the same picture: encoded again, resized, brightened, mirrored, slightly cropped. An
image's nearest neighbors are candidates, both by the cosine of features and by the correlation of small versions. A
cosine alone does not tell copies from other pictures: a JPEG of low quality is as far from its original as two photos
of one rose. So a candidate must also show the same picture, pixel by pixel: correlate by at least :data:`SAME`, whole,
mirrored, or within a window. On plain images, such as handwritten digits, different ones correlate as much; there a
copy must be much nearer than other neighbors are (:data:`CLEARER`), as in Lowe's ratio test (2004, "Distinctive Image
Features from Scale-Invariant Keypoints"). ``benchmarks/data_faults.py`` measures precision and recall.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .overlap import WHOLE_SIDE, Floats, mirrored, small_versions, standardized, window_correlations

# Least correlation of two images that show the same picture.
SAME = 0.97
# Largest distance (1 - correlation) of copies, as a share of the distance to the image's 30th neighbor.
CLEARER = 0.05
_OTHERS = 30
# Candidates of each image, and the least cosine of features of a candidate.
_NEAREST = 3
_LEAST_COSINE = 0.65
# Rows of a product of all images with all images that are in memory at once.
_ROWS = 512


def exact_groups(digests: Sequence[str]) -> list[list[int]]:
    """Groups of images with the same bytes.

    Args:
        digests: SHA-256 of each image (N,).

    Returns:
        Positions of the images of each group of two or more, ascending.

    Example:
        >>> from frostline.objectives.data.duplicates import exact_groups
        >>> exact_groups(["a", "b", "a", "c", "b", "a"])
        [[0, 2, 5], [1, 4]]
    """
    found: dict[str, list[int]] = {}
    for position, digest in enumerate(digests):
        found.setdefault(digest, []).append(position)
    return [group for group in found.values() if len(group) > 1]


def near_pairs(canvases: NDArray[np.uint8], features: Floats | None = None) -> NDArray[np.int64]:
    """Pairs of images that show the same picture.

    It takes N x N products, in parts; the memory grows with N: 7 KB an image, and that of the features.

    Args:
        canvases: Images, uint8 (N, R, R, C), perhaps a memory map.
        features: Pooled features of a pretrained network (N, D); without them, cropped and mirrored copies that differ
            much pixel by pixel are not found.

    Returns:
        Positions int64 (P, 2), the smaller first, each pair once, sorted.
    """
    count = len(canvases)
    if count < 3:
        return np.empty((0, 2), dtype=np.int64)
    small = small_versions(canvases, WHOLE_SIDE)
    wholes = standardized(small.reshape(count, -1))
    alike, others = _neighbors(wholes, SAME)
    candidates = [alike]
    if features is not None:
        candidates.append(_neighbors(_unit(features), _LEAST_COSINE)[0])
    pairs = np.unique(np.concatenate(candidates), axis=0)
    correlations = _whole_correlations(wholes, small, pairs)
    unlike = np.flatnonzero(correlations < SAME)
    correlations[unlike] = window_correlations(canvases, pairs[unlike])
    # The nearer the other neighbors of either image are, the nearer a copy must be.
    limit = np.minimum(1 - SAME, CLEARER * (1 - others[pairs].max(axis=1)))
    return pairs[1 - correlations <= limit]


def joined(count: int, pairs: NDArray[np.int64], groups: Sequence[Sequence[int]] = ()) -> list[list[int]]:
    """Groups of images that pairs and groups connect, each of two or more, ascending.

    Args:
        count: Number of images N.
        pairs: Positions of connected images, int64 (P, 2).
        groups: Positions of images that belong together.

    Example:
        >>> import numpy as np
        >>> from frostline.objectives.data.duplicates import joined
        >>> joined(6, np.array([[0, 4]]), [[1, 3], [3, 4]])
        [[0, 1, 3, 4]]
    """
    links = [pairs, *(np.column_stack([np.full(len(group), group[0]), group]) for group in groups)]
    first, second = np.concatenate(links).astype(np.int64).T
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(count, count))
    names = connected_components(graph, directed=False)[1]
    order = np.argsort(names, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(names[order])) + 1)
    return sorted(part.tolist() for part in parts if len(part) > 1)


def _unit(features: Floats) -> Floats:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return (features / np.maximum(lengths, 1e-12)).astype(np.float32)


def _neighbors(rows: Floats, least: float) -> tuple[NDArray[np.int64], Floats]:
    """The nearest neighbors of each row by product, and how near the 30th one is.

    Args:
        rows: Rows of length 1 (N, D).
        least: Least product of a neighbor.

    Returns:
        Pairs int64 (P, 2), the smaller position first, and the product with the 30th neighbor (N,), or with the one in
        the middle of fewer.
    """
    count = len(rows)
    nearest, place = min(_NEAREST, count - 1), min(_OTHERS, count // 2)
    depth = max(nearest, place)
    pairs, others = [], np.empty(count, dtype=np.float32)
    for start in range(0, count, _ROWS):
        products = rows[start : start + _ROWS] @ rows.T
        own = np.arange(start, start + len(products))
        products[np.arange(len(products)), own] = -np.inf
        best = np.argpartition(-products, depth - 1, axis=1)[:, :depth]
        values = np.take_along_axis(products, best, axis=1)
        order = np.argsort(-values, axis=1)
        best, values = np.take_along_axis(best, order, axis=1), np.take_along_axis(values, order, axis=1)
        others[own] = values[:, place - 1]
        near = values[:, :nearest] >= least
        pairs.append(np.column_stack([np.repeat(own, nearest)[near.ravel()], best[:, :nearest][near]]))
    return np.sort(np.concatenate(pairs), axis=1), others


def _whole_correlations(wholes: Floats, small: Floats, pairs: NDArray[np.int64]) -> Floats:
    """Correlations of whole images with their partners, or with these mirrored, whichever is higher."""
    found = np.empty(len(pairs), dtype=np.float32)
    for start in range(0, len(pairs), _ROWS):
        first, second = pairs[start : start + _ROWS].T
        turned = standardized(mirrored(small[second]).reshape(len(second), -1))
        plain = np.einsum("pd,pd->p", wholes[first], wholes[second])
        found[start : start + _ROWS] = np.maximum(plain, np.einsum("pd,pd->p", wholes[first], turned))
    return found
