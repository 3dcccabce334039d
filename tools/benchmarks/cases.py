"""What is measured, against whom, and what is aimed at."""

from dataclasses import dataclass, replace

from benchmarks.data import Problem
from benchmarks.measure import Contestant

QUICK = 0.02  # share of queries and gallery items with --quick
FP32, AUTO = "fastreid fp32", "fastreid low precision"
OWN_MODES = {FP32: "fp32", AUTO: "auto"}


@dataclass(frozen=True)
class Target:
    """A figure that a case aims at: the ``measure`` of one contestant, over that of another if given.

    Attributes:
        measure: "cpu" (seconds) or "extra" (MiB).
        why_short: the reason that is printed where the target is missed.
    """

    of: str
    limit: float
    over: str = ""
    measure: str = "cpu"
    at_least: bool = False
    why_short: str = ""


@dataclass(frozen=True)
class Case:
    """Contestants on one problem; the first is the one whose results the others' are compared with.

    Attributes:
        every: of features and distances only every n-th row is compared.
        rounds: processes per contestant, one of each per round; medians are reported.
    """

    name: str
    title: str
    problem: Problem
    contestants: tuple[Contestant, ...]
    targets: tuple[Target, ...] = ()
    every: int = 1
    rounds: int = 3

    def scaled(self, share: float) -> "Case":
        """The case on a small part of its data, once, without targets."""
        title = f"{share:.0%} of: {self.title}"
        return replace(self, title=title, problem=self.problem.scaled(share), targets=(), rounds=1)


def own(function: str, **changes) -> tuple[Contestant, ...]:
    """Our function in both precisions, which must give the same."""
    return tuple(
        Contestant(name, f"benchmarks.ours:{function}", environment={"FASTREID_SCAN": mode}, exact=True, **changes)
        for name, mode in OWN_MODES.items()
    )


def plain(name: str, function: str, **changes) -> Contestant:
    return Contestant(name, f"benchmarks.plain:{function}", **changes)


def peer(name: str, package: str, function: str, **changes) -> Contestant:
    return Contestant(name, f"benchmarks.peers:{function}", package, **changes)


GEMM = plain("torch.mm fp32 alone", "gemm", compared=False)
GEMM_BF16 = plain("torch.mm bf16 alone", "gemm", options={"dtype": "bfloat16"}, compared=False)
FULL_SORT = "NumPy full sort"
MEMORY = 64  # MiB, whatever Q and G


def evaluation(name: str, problem: Problem, rule: str = "all", peers: tuple = (), targets: tuple = (), rounds: int = 3):
    size = f"{problem.num_queries:,} x {problem.num_gallery:,} x {problem.dim}"
    options = {"rule": rule}
    contestants = (
        *own("evaluate", options=options),
        GEMM,
        GEMM_BF16,
        plain(FULL_SORT, "full_sort", options=options, gpu=False),
        *peers,
        plain("float64 referee", "referee_ap", options=options, exact=True, referee=True),
    )
    memory = tuple(Target(mode, MEMORY, measure="extra") for mode in OWN_MODES)
    return Case(name, f"Evaluation, {size}", problem, contestants, (*targets, *memory), rounds=rounds)


FP32_PRODUCT = "in float32 the library's matrix product alone takes most of the time"
SMALL_PRODUCT = "so small a product is half the work; lengths, conversion and selection are the rest"
FAST_SORT = "NumPy sorts with AVX2 and AVX-512, in a quarter of the time of a scalar sort"
RATIOS = (
    Target(FP32, 1.3, over=GEMM.name),
    Target(AUTO, 0.6, over=GEMM.name),
    *(Target(FULL_SORT, 10, over=mode, at_least=True, why_short=FAST_SORT) for mode in OWN_MODES),
)
EVALUATION_PEERS = (
    peer("torchmetrics RetrievalMAP", "torchmetrics", "torchmetrics_map"),
    peer("PML AccuracyCalculator k=None", "pytorch-metric-learning", "accuracy_calculator"),
    peer(
        "PML AccuracyCalculator k=max_bin_count",
        "pytorch-metric-learning",
        "accuracy_calculator",
        options={"k": "max_bin_count"},
    ),
    peer("OML ranking and mAP", "open-metric-learning", "oml_map"),
)
FULL_SIMILARITIES = tuple(
    Target("NumPy full similarities", 8, over=mode, at_least=True, why_short=FP32_PRODUCT if mode == FP32 else "")
    for mode in OWN_MODES
)
FAISS = "faiss IndexFlatIP filled and searched"
DEEPPATENT = Problem("deeppatent", 13133, 38834, 512, spread=1.3)
MARKET = Problem("market", 3368, 19732, 512, spread=1.36)

CASES = (
    evaluation("eval-1k", Problem("patents", 1000, 10000, 512, spread=1.35), peers=EVALUATION_PEERS, rounds=5),
    evaluation("eval-5k", Problem("patents", 5000, 45000, 512, spread=1.28), targets=RATIOS),
    evaluation("eval-patents-512", DEEPPATENT),
    evaluation("eval-patents-2048", replace(DEEPPATENT, dim=2048)),
    evaluation("eval-market-2048", replace(MARKET, dim=2048), rule="camera"),
    Case(
        "topk",
        "Top-100 of 100,000 x 512, 256 queries",
        Problem("patents", 256, 100000, 512, spread=1.3),
        (
            *own("topk"),
            peer(FAISS, "faiss-cpu", "faiss_flat", gpu=False),
            peer("faiss IndexFlatIP search alone", "faiss-cpu", "faiss_search", prepared=True, gpu=False),
            plain("torch blocks of mm and topk", "torch_topk"),
            plain("float64 referee", "referee_topk", exact=True, referee=True),
        ),
        (
            Target(FAISS, 2, over=FP32, at_least=True, why_short=FP32_PRODUCT),
            Target(FAISS, 2, over=AUTO, at_least=True, why_short=SMALL_PRODUCT),
        ),
        rounds=5,
    ),
    Case(
        "rerank",
        "k-reciprocal re-ranking, (3,368 + 19,732) x 512, all distances",
        MARKET,
        (*own("k_reciprocal"), plain("NumPy dense", "k_reciprocal", gpu=False)),
        tuple(
            Target("NumPy dense", 8, over=mode, at_least=True, why_short=FP32_PRODUCT if mode == FP32 else "")
            for mode in OWN_MODES
        ),
        every=16,
    ),
    Case(
        "rerank-patents",
        "k-reciprocal re-ranking into the metrics, (13,133 + 38,834) x 512",
        DEEPPATENT,
        own("k_reciprocal_ap"),
        tuple(Target(mode, 400, measure="extra") for mode in OWN_MODES),
        rounds=1,
    ),
    Case(
        "aqe",
        "Joint AQE, k = 10, 23,100 x 512",
        MARKET,
        (*own("joint_aqe"), plain("NumPy full similarities", "joint_aqe", gpu=False)),
        FULL_SIMILARITIES,
        every=16,
    ),
    Case(
        "dba",
        "DBA, k = 10, 23,100 x 512",
        replace(MARKET, num_queries=8, num_gallery=23100),
        (*own("dba"), plain("NumPy full similarities", "dba", gpu=False)),
        FULL_SIMILARITIES,
        every=16,
    ),
    Case(
        "submission",
        "Submission from a feature file, 13,133 x 38,834 x 2,048: joint AQE, ranking, result.npy (the whole process)",
        replace(DEEPPATENT, dim=2048),
        own("submission", command=True, gpu=False),
        rounds=1,
    ),
)
