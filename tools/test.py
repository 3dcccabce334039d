#!/usr/bin/env python
"""Write result.npy for a challenge: tools/test.py --config-file F --eval-only [--output result.npy] [KEY VALUE ...]"""

from fastreid.engine.submit import main, submission_parser

if __name__ == "__main__":
    args = submission_parser().parse_args()
    if args.num_gpus > 1 or args.num_machines > 1:
        from fastreid.engine import launch

        launch(main, args.num_gpus, args.num_machines, args.machine_rank, args.dist_url, args=(args,))
    else:
        main(args)
