"""Open an index as a search page: the work of ``tools/serve.py``."""

import argparse
import errno
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from fastreid.utils.command import entry_point

TOKEN = "FASTREID_TOKEN"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
KEEP_ALIVE, GRACE = 15, 5  # seconds
EXAMPLES = """
examples:
  the page on this computer:   %(prog)s --index logs/demo/index
  for others, with a token:    %(prog)s --index logs/index --host 0.0.0.0 --token-file token.txt
  weights that have moved:     %(prog)s --index logs/index MODEL.WEIGHTS model_best.pth

There is no encryption here: beyond one computer, put it behind a web server that has it, on the same computer and
with the Host header passed on, and name that server with --name.
"""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description="Serve a search page and a REST API over an index.", epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    made.add_argument("--index", required=True, metavar="URI", help="a folder, milvus:..., postgresql://...")
    made.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this computer only)"
    )
    made.add_argument("--port", type=int, default=8000, help="default: %(default)s; 0: any free one")
    made.add_argument("--name", default=[], action="append", metavar="HOST", help="a further name that leads here")
    made.add_argument("--token-file", metavar="FILE", help=f"access token, which the variable {TOKEN} may hold instead")
    made.add_argument(
        "--state", default="logs/search", metavar="DIR", help="saved searches and sets (default: %(default)s)"
    )
    made.add_argument("--images", default="", metavar="DIR", help="where the images are (default: as the index says)")
    made.add_argument("--no-model", action="store_true", help="load no model: search by figures of the index only")
    made.add_argument("--config-file", default="", metavar="FILE", help="of the model (default: the index's own)")
    made.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="settings of the model")
    return made


@entry_point("Stopped.")
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and serve until SIGINT or SIGTERM."""
    args = parser().parse_args(argv)
    token = read_token(args.token_file)
    for option, names in (("--host", [args.host]), ("--name", args.name)):
        for name in names:
            if name not in LOOPBACK and not token:
                raise ValueError(
                    f"{option} {name} lets other computers in, which needs an access token: name a file with "
                    f"--token-file, or set the variable {TOKEN}"
                )
    listener = bind(args.host, args.port)
    try:
        run(args, token, listener)
    finally:
        listener.close()


def read_token(path: str | None) -> str:
    """Return the access token, "" for none; ``ValueError`` for an empty file or one that is too short."""
    token = Path(path).read_text(encoding="utf-8").strip() if path else os.environ.get(TOKEN, "").strip()
    if path and not token:
        raise ValueError(f"the token file {path} is empty")
    if token and len(token) < 8:
        raise ValueError("the access token must have at least 8 characters")
    return token


def bind(host: str, port: int) -> socket.socket:
    """Return a socket at an address; ``OSError`` says what to do when it cannot be had."""
    if not 0 <= port < 1 << 16:
        raise ValueError(f"--port must be 0 to 65535; got {port}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # the protocol must be named: asyncio turns Nagle's algorithm off, which holds an answer back by 40 ms, only then
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        advice = {errno.EADDRINUSE: "choose another port with --port", errno.EACCES: "choose a port above 1023"}
        how = advice.get(error.errno, "name an address of this computer with --host")
        raise OSError(f"cannot listen on {host}:{port} ({error.strerror}); {how}") from error
    return listener


def run(args: argparse.Namespace, token: str, listener: socket.socket) -> None:
    """Open everything and serve."""
    from fastreid.index import open_index

    index = open_index(args.index)  # what may be wrong with it is told before the rest is loaded
    import uvicorn

    from fastreid.app.api import create_app
    from fastreid.app.protocol import PatientProtocol
    from fastreid.app.security import Guard
    from fastreid.app.service import SearchService
    from fastreid.app.state import State
    from fastreid.utils.logger import setup_logger

    service = SearchService(index, State(args.state), load_encoder(args, index.info), args.images)
    setup_logger()
    _access_log()
    names = (*LOOPBACK, *(name.lower() for name in args.name)) if args.host in LOOPBACK else ()
    host, port = listener.getsockname()[:2]
    config = uvicorn.Config(
        create_app(service, Guard(token, names)), http=PatientProtocol, ws="none", log_level="warning",
        access_log=False, server_header=False,
        timeout_keep_alive=KEEP_ALIVE, timeout_graceful_shutdown=GRACE, h11_max_incomplete_event_size=64 << 10,
        limit_concurrency=4 * (service.limits.running + service.limits.waiting),
    )  # fmt: skip
    listener.listen()  # whoever reads the address may come at once
    print(words(service, host, port, args, bool(token)), flush=True)
    uvicorn.Server(config).run(sockets=[listener])


def load_encoder(args: argparse.Namespace, info):
    """Return the encoder of an index's model, ``None`` with --no-model."""
    if args.no_model:
        return None
    from fastreid.engine.query_encoder import QueryEncoder

    if not args.config_file:
        return QueryEncoder.of_index(info, args.opts)
    from fastreid.config import get_cfg

    cfg = get_cfg()
    cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    return QueryEncoder(cfg)


def words(service, host: str, port: int, args: argparse.Namespace, token: bool) -> str:
    """What is said at the start."""
    from fastreid.engine.search_words import count_words

    info, encoder = service.index.info, service.encoder
    how = "exact" if info.exact else f"approximate, recall {dict(info.recall)}"
    shown = "localhost" if host in LOOPBACK else f"[{host}]" if ":" in host else host
    size = count_words(info)
    root = args.images or info.image_root
    lines = [
        ("page", f"http://{shown}:{port}/" + (" (asks for the token)" if token else "")),
        ("index", f"{size}, version {info.version}, {info.backend}, {how}"),
        ("model", encoder.name if encoder else "none: search by figures of the index only"),
        ("saved", str(Path(args.state).absolute())),
    ]
    if root and not Path(root).is_dir():
        lines.append(("images", f"there is no folder {root}; say with --images where they are"))
    return "\n".join(f"{name:>7}  {text}" for name, text in lines) + "\nCtrl-C stops it."


def _access_log() -> None:
    """Send the lines about requests, JSON each, to stderr without the words of other loggers."""
    log = logging.getLogger("fastreid.app.access")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
