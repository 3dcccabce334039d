"""The guide for fast-reid's users lists every retired name with the words that the code answers."""

import re

from fastreid.config.compat import REMOVED_KEYS, RENAMED_KEYS, RENAMED_VALUES
from fastreid.modeling import REID_HEADS_REGISTRY

ROW = re.compile(r"^\| `(.+?)` \| (.+?) \|$", re.MULTILINE)


def test_the_table_of_retired_names_is_that_of_the_code(repo):
    text = (repo / "docs" / "from-fastreid.md").read_text(encoding="utf-8")
    listed = dict(ROW.findall(text.partition("## Retired names")[2]))
    expected = {old: f"`{new}`" for old, new in RENAMED_KEYS.items()} | REMOVED_KEYS
    for key, names in RENAMED_VALUES.items():
        expected |= {f"{key} {old}": f"`{new}`" for old, new in names.items()}
    expected |= {f"MODEL.HEADS.NAME {old}": new for old, new in REID_HEADS_REGISTRY.retired.items()}
    assert listed == expected
