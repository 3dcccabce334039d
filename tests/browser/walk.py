"""What a reader does on the page, and what is seen of it."""

import base64
import contextlib
import io
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image

SCREENSHOTS = Path(os.environ.get("FASTREID_SCREENSHOTS") or Path(__file__).resolve().parents[2] / "logs/screenshots")
PATIENCE = 15_000  # milliseconds for anything to happen
SETTLED = "!['waiting', 'busy'].includes(document.body.dataset.search) && !document.querySelector('.thumb.loading')"
# how Chromium names a connection that a killed server leaves: before, amid and after its headers
CUT = ("ERR_CONNECTION", "ERR_EMPTY_RESPONSE", "ERR_CONTENT_LENGTH_MISMATCH", "ERR_INCOMPLETE_CHUNKED_ENCODING")

# how files come in by a drop and from the clipboard
SEND = """([kind, name, type, content]) => {
  const carried = new DataTransfer();
  if (type) carried.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name, {type}));
  else carried.setData("text/plain", content);
  const event = kind === "paste"
    ? new ClipboardEvent("paste", {clipboardData: carried, bubbles: true, cancelable: true})
    : new DragEvent(kind, {dataTransfer: carried, bubbles: true, cancelable: true});
  document.body.dispatchEvent(event);
}"""


class Walk:
    """A page, with what it asked for and what went wrong in it.

    Attributes:
        refused: statuses of answers that the test provokes.
    """

    def __init__(self, page, server, name):
        self.page, self.server, self.name, self.refused = page, server, name, set()
        self.hosts, self.problems, self.requests, self.answers = set(), [], [], []
        page.set_default_timeout(PATIENCE)
        page.on("request", self._asked)
        page.on("response", lambda each: each.url.endswith("/api/search") and each.ok and self.answers.append(each))
        page.on("console", lambda message: message.type in ("error", "warning") and self.problems.append(message.text))
        page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))

    def _asked(self, request):
        parts = urlsplit(request.url)
        if parts.scheme not in ("blob", "data"):
            self.hosts.add(parts.netloc)
        if parts.path == "/api/search" and request.method == "POST":
            self.requests.append(request.post_data_json)

    def check(self):
        """No other host was asked, and no script, style or request failed unless the test said so."""
        assert self.hosts <= {urlsplit(self.server.url).netloc}
        expected = re.compile("|".join([f"status of {status}" for status in self.refused] or ["^$"]))
        left = [text for text in self.problems if not expected.search(text)]
        if 0 in self.refused:
            left = [text for text in left if not any(name in text for name in CUT)]
        assert not left, left

    # -- doing -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def searched(self):
        """What is done within leads to a search, and its results are shown afterwards; yields a list for its answer."""
        answer = []
        with self.page.expect_response(lambda each: each.url.endswith("/api/search") and each.ok):
            yield answer
        self.settle()
        answer.append(self.answers[-1].json())

    def settle(self):
        """Wait until nothing is searched for or on its way."""
        self.until(SETTLED)

    def until(self, condition):
        """Wait until an expression of JavaScript holds."""
        self.page.wait_for_function(f"() => {condition}")

    def upload(self, *images):
        """Choose files, each ``(name, bytes)`` or a path, and wait for the results; the answer of the service."""
        files = [
            {"name": each[0], "mimeType": "image/png", "buffer": each[1]} if isinstance(each, tuple) else str(each)
            for each in images
        ]
        with self.searched() as answer:
            self.page.set_input_files("#file", files)
        return answer[0]

    def like(self, figure_id):
        """Start from a figure of the index."""
        self.page.fill("#known", figure_id)
        with self.searched() as answer:
            self.page.press("#known", "Enter")
        return answer[0]

    def send(self, kind, name="", type="", content=b""):
        """Dispatch "dragenter", "dragover", "drop" or "paste" with a file, or with a text where ``type`` is ""."""
        text = base64.b64encode(content).decode() if type else content.decode()
        self.page.evaluate(SEND, [kind, name, type, text])

    def drag(self, start, end):
        """Press the mouse at one place, (x, y) in CSS pixels, and let it go at another."""
        self.page.mouse.move(*start)
        self.page.mouse.down()
        self.page.mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        self.page.mouse.move(*end)
        self.page.mouse.up()

    # -- seeing ------------------------------------------------------------------------------------------------------

    def place(self, selector):
        """Left, top, width and height of an element, CSS pixels."""
        box = self.page.locator(selector).first.bounding_box()
        return box["x"], box["y"], box["width"], box["height"]

    def patents(self):
        """The patents of the results that are shown, in order."""
        cells = self.page.locator(".card .cells div:first-child dd").all_text_contents()
        return [text.replace(" ", "") for text in cells]

    def text(self, selector):
        return self.page.locator(selector).first.inner_text()

    def shot(self, name):
        """Keep a screenshot, once images and movements have settled."""
        self.until("[...document.images].every((each) => each.complete || each.loading === 'lazy')")
        self.page.wait_for_timeout(250)
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")


def png(*images, gap=60, columns=None):
    """Bytes of a page that shows images beside each other, ``columns`` in a row."""
    opened = [Image.open(each).convert("L") if isinstance(each, (str, Path)) else each for each in images]
    columns = columns or len(opened)
    width, height = max(each.width for each in opened) + gap, max(each.height for each in opened) + gap
    page = Image.new("L", (columns * width, -(-len(opened) // columns) * height), 255)
    for place, each in enumerate(opened):
        page.paste(each, (place % columns * width + gap // 2, place // columns * height + gap // 2))
    content = io.BytesIO()
    page.save(content, "PNG")
    return content.getvalue()


def of_patent(rows, place):
    """The rows of the ``place``-th patent."""
    patents = list(dict.fromkeys(row["patent"] for row in rows))
    return [row for row in rows if row["patent"] == patents[place]]
