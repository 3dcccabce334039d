import logging
import subprocess
import sys

import pytest

from fastreid.utils.collect_env import collect_env_info
from fastreid.utils.env import seed_all_rng
from fastreid.utils.logger import log_every_n, log_every_n_seconds, log_first_n, setup_logger

NAME = "fastreid_test_logger"


@pytest.fixture(autouse=True)
def clean():
    yield
    for handler in list(logging.getLogger(NAME).handlers):
        logging.getLogger(NAME).removeHandler(handler)
        handler.close()


def test_handlers_are_replaced_not_added(tmp_path, capsys):
    for folder in ("a", "b", "b"):
        logger = setup_logger(tmp_path / folder, name=NAME)
    logger.info("hello")
    logger.debug("detail")
    assert capsys.readouterr().out.count("hello") == 1
    text = (tmp_path / "b" / "log.txt").read_text()
    assert text.count("hello") == 1
    assert text.count("detail") == 1
    assert not (tmp_path / "a" / "log.txt").exists(), "opened at the first line only"


def test_other_ranks_write_their_own_file_and_nothing_to_the_console(tmp_path, capsys):
    setup_logger(tmp_path / "run.log", distributed_rank=2, name=NAME).warning("from two")
    assert capsys.readouterr().out == ""
    assert "WARNING: from two" in (tmp_path / "run.log.rank2").read_text()


def test_no_colour_codes_where_there_is_no_terminal(capsys):
    setup_logger(name=NAME).warning("careful")
    out = capsys.readouterr().out
    assert "WARNING careful" in out
    assert "\033" not in out


def test_rationed_messages(caplog):
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            log_first_n(logging.INFO, "first", 2)
            log_every_n(logging.INFO, "every", 2)
            log_every_n_seconds(logging.INFO, "seconds", 1000)
    assert [caplog.messages.count(m) for m in ("first", "every", "seconds")] == [2, 3, 1]
    assert caplog.records[0].name == __name__


def test_seeds_repeat():
    import random

    import numpy as np
    import torch

    def draw(seed):
        seed_all_rng(seed)
        return random.random(), float(np.random.rand()), float(torch.rand(1))

    assert draw(5) == draw(5)
    assert all(a != b for a, b in zip(draw(5), draw(6), strict=True))
    assert isinstance(seed_all_rng(), int)


def test_environment_report_names_versions():
    import torch

    assert torch.__version__.split("+")[0] in collect_env_info()


def test_help_and_parser_need_no_torch(repo):
    code = (
        "import sys, fastreid.engine as e; e.default_argument_parser(); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'torchvision', 'numpy', 'fastreid.engine.defaults')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=repo).returncode == 0
    shown = subprocess.run([sys.executable, str(repo / "tools/train_net.py"), "--help"], capture_output=True, text=True)
    for option in ("--config-file", "--resume", "--eval-only", "--num-gpus", "--num-machines", "--dist-url"):
        assert option in shown.stdout
