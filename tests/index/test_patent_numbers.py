"""Numbers of design patents in their written forms."""

import numpy as np
import pytest

from fastreid.index import Figures, create_index
from fastreid.index.patent_numbers import forms_of, in_index


@pytest.mark.parametrize(
    "written",
    [
        "USD0359000",
        "US D0359000",
        "USD359000",
        "D0359000",
        "D359,000",
        "US D359,000 S",
        "D 359.000 S1",
        "359000",
        "d359000s1",
    ],
)
def test_all_forms_of_one_number_meet(written):
    forms = set(forms_of(written))
    assert {"USD0359000", "D0359000", "USD359000", "D359000", "USD0359000S1"} <= forms
    assert forms_of(written)[0] == written


@pytest.mark.parametrize("written", ["EP012345678", "29/123,456 A", "", "USD", "D12345678", "006789012-0001", "P3"])
def test_other_numbers_have_their_own_form_only(written):
    assert forms_of(written) == (written,)


def test_the_number_as_it_is_written_comes_first(tmp_path):
    names = ["D359000", "USD0359000", "USD0470000", "EM-1"]
    with create_index(str(tmp_path / "x"), dim=2) as index:
        index.add(Figures.of({"figure_id": name, "patent": name} for name in names), np.ones((4, 2)))
        version = index.info.version
        index.delete(patents=["USD0470000"])
        found = in_index(index, ["D359000", "USD0359000", "D359,000", "EM-1", "D470000", "EM-2"])
        assert found == {
            "D359000": "D359000", "USD0359000": "USD0359000", "D359,000": "USD0359000", "EM-1": "EM-1", "D470000": "",
            "EM-2": "",
        }  # fmt: skip
        assert in_index(index, ["D470000"], version) == {"D470000": "USD0470000"}
        assert in_index(index, []) == {}
