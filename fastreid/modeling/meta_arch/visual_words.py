"""One vector per image from its local features, by way of a vocabulary of visual words. Arrays in, arrays out."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F


def learn_vocabulary(descriptors: torch.Tensor, words: int, seed: int) -> torch.Tensor:
    """Return ``words`` cluster centres, float32 (words, D), of ``descriptors`` (N, D) by k-means (faiss).

    At most 256 descriptors per word are used, drawn by ``seed``.

    Raises:
        ValueError: fewer descriptors than words.
    """
    import faiss

    if len(descriptors) < words:
        raise ValueError(
            f"MODEL.ORB.WORDS is {words}, but the training images gave {len(descriptors)} local features: give more "
            "images, or ask for fewer words"
        )
    points = np.ascontiguousarray(descriptors.numpy(), dtype=np.float32)
    clustering = faiss.Kmeans(
        points.shape[1], words, niter=20, seed=seed, min_points_per_centroid=1, max_points_per_centroid=256
    )
    clustering.train(points)
    return torch.from_numpy(clustering.centroids.reshape(words, -1).copy())


def nearest_words(descriptors: torch.Tensor, vocabulary: torch.Tensor) -> torch.Tensor:
    """Return the row (N,) int64 of ``vocabulary`` (K, D) that is nearest to each of ``descriptors`` (N, D)."""
    # |v|^2 - 2 d.v orders the words as the distance does
    return (vocabulary.square().sum(dim=1) - 2 * descriptors @ vocabulary.T).argmin(dim=1)


def vlad(descriptors: torch.Tensor, vocabulary: torch.Tensor) -> torch.Tensor:
    """Vector of locally aggregated descriptors, float32 (K * D,) of length 1; zeros without descriptors.

    Residuals to the nearest word are summed by word (Jégou et al., CVPR 2010); the sum of each word is brought to
    length 1 (intra-normalisation, Arandjelović and Zisserman, CVPR 2013), so that what repeats in a drawing, hatching
    for one, has no more say than the rest.
    """
    words = nearest_words(descriptors, vocabulary)
    sums = torch.zeros_like(vocabulary).index_add_(0, words, descriptors - vocabulary[words])
    return F.normalize(F.normalize(sums, dim=1).flatten(), dim=0)


def tf_idf(descriptors: torch.Tensor, vocabulary: torch.Tensor, idf: torch.Tensor) -> torch.Tensor:
    """Bag of visual words (Sivic and Zisserman, ICCV 2003): word frequencies times ``idf`` (K,), of length 1."""
    counts = nearest_words(descriptors, vocabulary).bincount(minlength=len(vocabulary))
    return F.normalize(counts * idf, dim=0)


def inverse_document_frequency(images: Sequence[torch.Tensor], vocabulary: torch.Tensor) -> torch.Tensor:
    """Return log((1 + images) / (1 + images that have the word)) + 1, float32 (K,), of descriptors (N_i, D) by image.

    This is scikit-learn's smooth form: a word of all images keeps some weight, and no image of such words is zeros.
    """
    present = torch.zeros(len(vocabulary))
    for descriptors in images:
        present[nearest_words(descriptors, vocabulary).unique()] += 1
    return torch.log((1 + len(images)) / (1 + present)) + 1
