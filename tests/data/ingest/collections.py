"""Miniatures of the downloaded collections: DeepPatent2 records and USPTO grants, with drawings of a few pixels."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

# ---- DeepPatent2


def drawing(name: str, size: int = 24) -> Image.Image:
    """A 1-bit image that depends on the name."""
    rng = np.random.default_rng(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
    return Image.fromarray(rng.random((size, size)) > 0.3)


def record(patent="USD0836880", date="2019-01-01", figure=1, **changes) -> dict:
    """A record with all fields (Ajayi et al., table 4); ``changes`` of ``None`` leave one out."""
    stem = f"{patent}-{date.replace('-', '')}"
    full = {
        "id": figure,
        "patentID": stem,
        "patentdate": date,
        "figid": figure,
        "caption": f"FIG. {figure} is a front, top, and left side perspective view of a pet treat;",
        "object": "Pet treat",
        "aspect": "front, top, and left side perspective view",
        "figure_file": f"{stem}-D{figure:05d}.png",
        "subfigure_file": f"{stem}-D{figure:05d}_{figure}.png",
        "object_title": "Pet treat",
        "x_figure": 614,
        "y_figure": 91,
        "w_figure": 969,
        "h_figure": 2740,
        "W_label": 0.0439,
        "H_label": 0.0503,
        "L_label": 0.1192,
        "T_label": 0.25,
        "classification_locarno": "3099",
        "classification_national": "D30160",
    }
    return {name: value for name, value in {**full, **changes}.items() if value is not None}


def write_images(folder: Path, records: list[dict]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for entry in records:
        drawing(entry["subfigure_file"]).save(folder / entry["subfigure_file"])


def write_records(path: Path, records: list, form: str = "list") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [entry if isinstance(entry, str) else json.dumps(entry) for entry in records]
    path.write_text("[" + ",\n ".join(rows) + "]" if form == "list" else "\n".join(rows) + "\n", encoding="utf-8")


def year_of_records(year: int, patents: int, figures: int = 4) -> list[dict]:
    """Patents of three Locarno subclasses, granted on days of January."""
    codes = ("0601", "14-04", "LOC (11) Cl. 06-03")
    return [
        record(
            f"USD0{year % 100:02d}{number:04d}", f"{year}-01-{1 + number:02d}", figure,
            classification_locarno=codes[number % 3], aspect=("perspective view", "front elevational view")[figure % 2],
        )
        for number in range(patents)
        for figure in range(1, figures + 1)
    ]  # fmt: skip


def write_deeppatent2(root: Path, patents: dict[int, int], form: str = "list") -> Path:
    """Per-year folders with so many patents of four figures."""
    for year, count in patents.items():
        records = year_of_records(year, count)
        write_records(root / str(year) / f"design{year}.json", records, form)
        write_images(root / str(year) / "Segmentednew", records)
    return root


# ---- USPTO

HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE us-patent-grant SYSTEM "us-patent-grant-v45-2014-04-03.dtd" [ ]>
"""


def grant_xml(
    number="0936123", date="20211123", locarno="1404", uspc="D14486", title="Shoe", kind="design", sheets=3,
    descriptions=None, figures=None, prefix="D",
) -> str:  # fmt: skip
    """The parts of a grant that are read, with citations and a field of search around them that are not."""
    name = f"USD{number}-{date}"
    views = (
        "perspective view of a shoe, showing my new design",
        "front elevational view thereof",
        "top plan view thereof",
    )
    if descriptions is None:
        descriptions = [
            f'<figref idref="DRAWINGS">FIG. {k + 1}</figref> is a {views[k % 3]}{";" if k < sheets - 1 else "."}'
            for k in range(sheets)
        ]
        descriptions.append('The broken lines of <figref idref="DRAWINGS">FIG. 1</figref> form no part of the design.')
    cited = "<main-classification>D99999</main-classification>"
    image = '<figure id="Fig-EMI-D{0:05d}" num="{0:05d}"><img file="{1}-D{0:05d}.TIF"{2} img-format="tif"/></figure>'
    drawn = "".join(image.format(k, name, ' orientation="landscape"' if k == 2 else "") for k in range(sheets + 1))
    classes = "".join(
        f"<{what}>{inside}</{what}>\n"
        for what, code, inside in (
            (
                "classification-locarno",
                locarno,
                f"<edition>13</edition><main-classification>{locarno}</main-classification>",
            ),
            (
                "classification-national",
                uspc,
                f"<country>US</country><main-classification>{uspc}</main-classification>",
            ),
        )
        if code
    )
    return f"""{HEAD}<us-patent-grant lang="EN" file="{name}.XML" country="US" date-publ="{date}">
<us-bibliographic-data-grant>
<publication-reference><document-id><country>US</country><doc-number>{prefix}{number}</doc-number><kind>S1</kind>
<date>{date}</date></document-id></publication-reference>
<application-reference appl-type="{kind}"><document-id><doc-number>29694880</doc-number><date>20190613</date>
</document-id></application-reference>
{classes}<invention-title id="d2e53">{title}</invention-title>
<us-references-cited><us-citation><patcit num="00001"><document-id><doc-number>D340298</doc-number><date>19931000</date>
</document-id></patcit><classification-national>{cited}</classification-national></us-citation></us-references-cited>
<us-field-of-classification-search><classification-national>{cited}</classification-national>
</us-field-of-classification-search>
<figures><number-of-drawing-sheets>{sheets}</number-of-drawing-sheets>
<number-of-figures>{sheets if figures is None else figures}</number-of-figures></figures>
</us-bibliographic-data-grant>
<drawings id="DRAWINGS">{drawn}</drawings>
<description id="description"><?brief-description-of-drawings description="Brief" end="lead"?>
<description-of-drawings>{"".join(f'<p id="p-1">{text}</p>' for text in descriptions)}</description-of-drawings>
</description>
<claims id="claims"><claim id="CLM-00001" num="00001">
<claim-text>The ornamental design for a {title.lower()}, as shown and described.</claim-text></claim></claims>
</us-patent-grant>
"""


def grant_files(number="0936123", date="20211123", sheets=3, size=24, **options) -> dict[str, bytes]:
    """XML and TIFF files of a grant, the front page's figure among them."""
    name = f"USD{number}-{date}"
    files = {f"{name}.XML": grant_xml(number, date, sheets=sheets, **options).encode()}
    for k in range(sheets + 1):
        stream = io.BytesIO()
        drawing(f"{name}-{k}", size).save(stream, "TIFF", compression="group4")
        files[f"{name}-D{k:05d}.TIF"] = stream.getvalue()
    return files


def write_folder(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def zipped(name: str, files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, data in files.items():
            archive.writestr(f"{name}/{file}", data)
    return stream.getvalue()


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zipped(path.stem, files))


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


# ---- runs, and what came out


def kill_in_the_midst(script: str, arguments: list, pipe: Path, text: str = "") -> None:
    """Run a script of ``tools/`` until it opens ``pipe``, one of its input files; give it ``text``, and kill it."""
    os.mkfifo(pipe)
    command = [sys.executable, f"tools/{script}", *map(str, arguments)]
    run = subprocess.Popen(command, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline, handle = time.monotonic() + 120, None
    while handle is None and run.poll() is None and time.monotonic() < deadline:
        try:
            handle = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads it yet
            time.sleep(0.01)
    if handle is not None:
        os.write(handle, text.encode())
    run.kill()
    said = run.communicate(timeout=60)[0]
    assert handle is not None, said.decode()
    os.close(handle)
    pipe.unlink()
    assert run.returncode == -9


def snapshot(folder: Path) -> dict[str, str | bytes]:
    """All files below a folder, texts without its own path, so that the results of two runs can be compared."""
    found: dict[str, str | bytes] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix in (".json", ".jsonl", ".txt", ".yml"):
            found[name] = path.read_text().replace(str(folder), "HERE")
        elif path.is_file() and name != ".lock":
            found[name] = path.read_bytes()
    report = json.loads(found["report.json"])
    report.pop("made_from")
    return {**found, "report.json": json.dumps(report)}


def metadata(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def listed(folder: Path, name: str) -> list[list[str]]:
    return [line.rsplit(" ", 1) for line in (folder / f"{name}.txt").read_text().splitlines()]
