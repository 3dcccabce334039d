from fastreid.config.reference import config_reference


def test_the_committed_reference_shows_the_current_defaults(repo):
    """A changed default must show in review: run ``python -m fastreid.config.reference``."""
    assert (repo / "docs" / "config.md").read_text(encoding="utf-8") == config_reference()
