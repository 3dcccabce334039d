"""``python -m benchmarks.submission FEATURES OUTPUT``: joint AQE, ranking and result.npy of a feature file."""

import sys

from fastreid.data.feature_file import FeatureFile
from fastreid.evaluation import Protocol
from fastreid.evaluation.submission import find_problems, write_submission
from fastreid.retrieval.postprocess import AQE


def main(features: str, output: str) -> None:
    file = FeatureFile.load(features)
    protocol = Protocol(rule="all", postprocessors=(("AQE", AQE(qe_k=5, alpha=2.0)),))  # as the DIRA entry
    path, _ = write_submission(protocol.evaluate(file).indices, output)
    problems = find_problems(path, file.num_query, len(file) - file.num_query)
    if problems:
        sys.exit("; ".join(problems))


if __name__ == "__main__":
    main(*sys.argv[1:])
