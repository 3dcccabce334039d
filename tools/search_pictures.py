"""Take the pictures of the search page that the README shows, from a running service over the demonstration's index.

make serve                                  # in another terminal
python tools/search_pictures.py logs/demo/queries/cup-USD0359000/rear-1.png
"""

import argparse
import io
import os
import shutil
from pathlib import Path

from fastreid.utils.command import entry_point
from fastreid.utils.files import atomic_write

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


@entry_point()
def main(argv: list[str] | None = None) -> None:
    """Parse the command line, search with a drawing, and write the pictures."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("drawing", type=Path, nargs="+", help="to search with; several are one query")
    parser.add_argument("--url", default="http://127.0.0.1:8000/", help="of the service (default: %(default)s)")
    parser.add_argument("--before", default="", metavar="DATE", help="cut-off date, 2019-06-01")
    parser.add_argument("--result", type=int, default=1, help="which result is compared (default: %(default)s)")
    parser.add_argument("--to", type=Path, default=Path("docs"), metavar="DIR", help="default: %(default)s")
    args = parser.parse_args(argv)
    browser_path = os.environ.get("FASTREID_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=ARGUMENTS)
        page = _searched(browser, args, width=1280, height=800)
        _shoot(page, args.to / "search-results.png")
        page.click(f".card >> nth={args.result - 1} >> .sheet")
        page.click("text=Matching parts")
        page.wait_for_selector(".pane.match img")
        _shoot(page, args.to / "search-compare.png")
        phone = _searched(browser, args, width=390, height=844, dark=True)
        phone.click(".jump")
        _shoot(phone, args.to / "search-phone.png")
        browser.close()


def _searched(browser, args: argparse.Namespace, width: int, height: int, dark: bool = False):
    """Open the page and search; nothing of it is kept on the service."""
    page = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", locale="en-GB",
        has_touch=dark, is_mobile=dark, reduced_motion="reduce",
    ).new_page()  # fmt: skip
    page.goto(args.url)
    page.set_input_files("#file", args.drawing)
    page.wait_for_selector(".card img")
    if args.before:
        page.fill("#before", args.before)
        page.wait_for_selector(".condition-chips .chip")
        page.evaluate("document.activeElement.blur()")
    page.mouse.move(width - 2, height - 2)
    return page


def _shoot(page, path: Path) -> None:
    """Write a screenshot in 128 colours, once all is loaded and messages are gone."""
    from PIL import Image

    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)
    page.evaluate("document.querySelectorAll('.toast').forEach((each) => each.remove())")
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    with atomic_write(path, "wb") as file:
        picture.save(file, "PNG", optimize=True)
    print(f"{path}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
