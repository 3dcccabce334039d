"""Texts for drawings from what is known of them: captioners say what is seen, rewriters turn it into many texts."""

from fastreid.enrich.components import (
    CAPTIONER_REGISTRY,
    REWRITER_REGISTRY,
    BudgetSpent,
    Captioner,
    Rejected,
    Rewriter,
)
from fastreid.enrich.endpoint import EndpointError
from fastreid.enrich.makers import Makers
from fastreid.enrich.metadata_captioner import MetadataCaptioner
from fastreid.enrich.openai_rewriter import OpenAIRewriter
from fastreid.enrich.pipeline import Pipeline
from fastreid.enrich.progress import Outcome, Progress
from fastreid.enrich.source import Source, sources
from fastreid.enrich.templates import TemplateRewriter
from fastreid.enrich.transformers_captioner import TransformersCaptioner
