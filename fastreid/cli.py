"""The console command ``fastreid``: one sub-command per script of ``tools/``, the same functions."""

import importlib
import sys

COMMANDS = {
    "train": ("fastreid.engine.commands:train", "train a model, or evaluate one with --eval-only"),
    "test": ("fastreid.engine.submit:main", "write result.npy for the test lists"),
    "evaluate": ("fastreid.engine.evaluate:main", "judge a feature file: metrics, protocols of papers, texts"),
    "ablate": ("fastreid.engine.ablation.command:main", "train a table of settings x seeds, collect mean and spread"),
    "features": ("fastreid.engine.feature_demo:main", "features of a folder of images"),
    "visualize": ("fastreid.engine.visualize:main", "ranked lists, ROC curve and distances as pictures"),
    "draw-features": ("fastreid.engine.draw_features:main", "a map of embeddings and a grid of results as pictures"),
    "export": ("fastreid.engine.export:main", "write a model as ONNX, TorchScript or safetensors"),
    "check-submission": ("fastreid.evaluation.submission:main", "say what is wrong with a result.npy"),
    "cache-images": ("fastreid.engine.cache_images:main", "decode the images of a config ahead, once"),
    "minipatent": ("fastreid.data.synthetic.generate:main", "draw the MiniPatent data set"),
    "render-designs": ("fastreid.data.synthetic.meshes:main", "draw 3D models as patents"),
    "prepare-deeppatent2": ("fastreid.data.ingest.deeppatent2:main", "lists and metadata from DeepPatent2"),
    "prepare-uspto": ("fastreid.data.ingest.uspto:main", "images, lists and metadata from patents of the USPTO"),
    "enrich-text": ("fastreid.engine.enrich_text:main", "write texts about drawings from their metadata"),
    "build-index": ("fastreid.engine.build_index:main", "make an index of figures, add to it, delete, compact, check"),
    "search": ("fastreid.engine.search:main", "search an index by drawings, crops, known figures or text"),
    "serve": ("fastreid.app.serve:main", "open an index as a search page and REST API"),
    "encode-text": ("fastreid.engine.encode_text:main", "turn texts into a text bank, by a frozen text encoder"),
    "env": ("fastreid.utils.collect_env:main", "versions and devices, for bug reports"),
}


def main(argv: list[str] | None = None) -> int | None:
    """Run ``fastreid COMMAND ...``; returns the exit status of the command."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments and arguments[0] == "--version":
        from fastreid import __version__

        print(f"fastreid {__version__}")
        return 0
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0
    if arguments[0] not in COMMANDS:
        from fastreid.utils.errors import nearest

        print(f"fastreid: no command '{arguments[0]}'.{nearest(arguments[0], COMMANDS)}\n\n{_usage()}", file=sys.stderr)
        return 2
    module, _, function = COMMANDS[arguments[0]][0].partition(":")
    sys.argv = [f"fastreid {arguments[0]}", *arguments[1:]]
    return getattr(importlib.import_module(module), function)(arguments[1:])


def _usage() -> str:
    rows = "\n".join(f"  {name:21}{text}" for name, (_, text) in COMMANDS.items())
    return f"usage: fastreid COMMAND [options]\n\ncommands:\n{rows}\n\n`fastreid COMMAND --help` shows the options."
