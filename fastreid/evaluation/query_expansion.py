"""fast-reid's name for joint query expansion."""

from fastreid.retrieval.expansion import joint_aqe


def aqe(query_feat, gallery_feat, qe_times: int = 1, qe_k: int = 10, alpha: float = 3.0):
    """Return expanded queries (Q, D) and gallery (G, D) as tensors like the given ones; see `joint_aqe`."""
    import torch

    expanded = joint_aqe(query_feat, gallery_feat, qe_k, alpha, qe_times)
    return tuple(torch.as_tensor(x).to(like) for x, like in zip(expanded, (query_feat, gallery_feat), strict=True))
