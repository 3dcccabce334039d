"""What a language model is asked.

The wording is ours; Lo et al. (arXiv 2404.19360, section 3.3) give their template and one instruction for the
captioner.
"""

import json

from fastreid.enrich.source import Source
from fastreid.enrich.synonyms import synonyms

SYSTEM = (
    "You write short English texts about line drawings of design patents, for a search engine. You use only the facts "
    "that you are given and invent no shape, material, colour, part or purpose. You answer with JSON and nothing else."
)
TASK = (
    "Write {variants} different texts about the drawing that these facts describe. Each text is one or two plain "
    "English sentences of {shortest} to {longest} characters, names the article {article}and stands on its own. Vary "
    "wording, length and the facts that are used; in about half of them say by which other name the article is known. "
    "One of them may follow this pattern: This is a photo of {{Object Name}}, classified as {{Class}}, This image "
    "features {{Details}}, and {{Object Name}} can also be referred to as {{Synonym}}. Answer with a JSON list of "
    "exactly {variants} strings."
)
REPAIR = "Your last answer was refused: {reason}. Answer again, with a JSON list of exactly {variants} strings."
SHORTEST, LONGEST = 20, 400  # characters of a text


def prompt(source: Source, details: str, variants: int, instruction: str = "") -> str:
    """Return what is asked about a figure.

    Args:
        instruction: further wishes, appended to ours.
    """
    facts = {
        "object": source.object,
        "other names": list(synonyms(source.object)),
        "Locarno class": " ".join(filter(None, (source.code, source.heading))),
        "view": source.view,
        "description of the figure": source.caption,
        "note on the drawings": source.note,
        "details": details,
    }
    known = json.dumps({key: value for key, value in facts.items() if value}, ensure_ascii=False, indent=1)
    article = f'("{source.object}") ' if source.object else ""
    task = TASK.format(variants=variants, shortest=SHORTEST, longest=LONGEST, article=article)
    return "\n\n".join(filter(None, (task, instruction, f"Facts:\n{known}")))
