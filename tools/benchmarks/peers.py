"""The same questions asked of packages from PyPI; runs in their environment, without fastreid."""


def faiss_flat(table, k: int = 100) -> dict:
    """faiss, IndexFlatIP over the gallery; filling the index is counted."""
    import faiss

    index = faiss.IndexFlatIP(table.gallery.shape[1])
    index.add(table.gallery)
    _, indices = index.search(table.queries, min(k, len(table.gallery)))
    return {"indices": indices}


def faiss_search(table, k: int = 100):
    """As `faiss_flat`, from an index that is filled already."""
    import faiss

    index = faiss.IndexFlatIP(table.gallery.shape[1])
    index.add(table.gallery)
    return lambda: {"indices": index.search(table.queries, min(k, len(table.gallery)))[1]}


def torchmetrics_map(table) -> dict:
    """torchmetrics, RetrievalMAP: every pair is one row of its input.

    It counts a match only where the score is above 0, hence the shift of the cosines.
    """
    import torch
    from torchmetrics.retrieval import RetrievalMAP

    queries, gallery = torch.as_tensor(table.queries), torch.as_tensor(table.gallery)
    q_pids, g_pids = (torch.as_tensor(c["pids"], device=queries.device) for c in (table.q_columns, table.g_columns))
    scores, same = (queries @ gallery.T).add_(1), q_pids[:, None] == g_pids
    metric = RetrievalMAP(empty_target_action="skip").to(queries.device)
    groups = torch.arange(len(queries), device=queries.device)[:, None].expand_as(scores)
    metric.update(scores.flatten(), same.flatten(), groups.flatten())
    return {"map": float(metric.compute())}


def accuracy_calculator(table, k=None) -> dict:
    """pytorch-metric-learning, AccuracyCalculator.

    ``k=None`` ranks the whole gallery, "max_bin_count" as many items as the most frequent id of a query has.
    """
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    queries, gallery = torch.as_tensor(table.queries), torch.as_tensor(table.gallery)
    calculator = AccuracyCalculator(include=("mean_average_precision",), k=k, device=queries.device)
    q_pids, g_pids = (torch.as_tensor(columns["pids"]) for columns in (table.q_columns, table.g_columns))
    found = calculator.get_accuracy(queries, q_pids, gallery, g_pids)
    return {"map_max_bin" if k else "map": found["mean_average_precision"]}


def oml_map(table) -> dict:
    """open-metric-learning, its ranking and mAP over the whole gallery."""
    import torch
    from oml.functional.knn import batched_knn_qg
    from oml.metrics.embeddings import calc_retrieval_metrics_rr
    from oml.retrieval.retrieval_results import RetrievalResults

    queries, gallery = torch.as_tensor(table.queries), torch.as_tensor(table.gallery)
    q_pids, g_pids = (torch.as_tensor(c["pids"], device=queries.device) for c in (table.q_columns, table.g_columns))
    found = batched_knn_qg(queries, gallery, len(gallery), q_pids, g_pids)
    depth = (len(gallery),)
    metrics = calc_retrieval_metrics_rr(
        RetrievalResults(*found), cmc_top_k=(), precision_top_k=(), map_top_k=depth, verbose=False
    )
    return {"map": float(metrics["map"][depth[0]])}
