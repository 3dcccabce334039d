#!/usr/bin/env python
"""Check a submission against its lists: tools/check_submission.py RESULT --queries LIST --database LIST"""

import argparse
import sys

parser = argparse.ArgumentParser(description="Check result.npy or result.zip; exit status 1 when something is wrong.")
parser.add_argument("result", help="result.npy or result.zip")
parser.add_argument("--queries", required=True, metavar="LIST", help="text file with one query image per line")
parser.add_argument("--database", required=True, metavar="LIST", help="text file with one database image per line")

if __name__ == "__main__":
    args = parser.parse_args()
    from fastreid.evaluation.submission import check_submission, count_lines

    problems = check_submission(args.result, args.queries, args.database)
    if problems:
        sys.exit("\n".join(f"wrong: {problem}" for problem in problems))
    print(f"valid: {count_lines(args.queries)} queries against {count_lines(args.database)} database images")
