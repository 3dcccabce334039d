"""Bodies and answers of the API, as its OpenAPI description tells them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fastreid.index.filters import Filter

Name = Annotated[str, Field(max_length=200, description="A name for people")]
Notes = Annotated[str, Field(max_length=20_000)]
Text = Annotated[str, Field(max_length=500)]
Texts = Annotated[list[Text], Field(max_length=1000)]
Whole = Annotated[int, Field(ge=0, le=2**53)]
Date = Annotated[int, Field(ge=0, le=99991231, description="yyyymmdd; 0: none")]
FigureId = Annotated[str, Field(max_length=1000, description="figure_id of the index")]


def example(**values: Any) -> ConfigDict:
    """Settings of a model whose description shows an example."""
    return ConfigDict(json_schema_extra={"examples": [values]})


class Strict(BaseModel):
    """A body: a field that does not exist is refused."""

    model_config = ConfigDict(extra="forbid")


class FilterBody(Strict):
    """Conditions that hold together; see `fastreid.index.Filter`."""

    model_config = example(before=20180101, locarno=["06", "14-04"], view=["front"])
    before: Date = Field(0, description="Strictly before this day, yyyymmdd; an unknown date never is; 0: none")
    since: Date = Field(0, description="On or after this day, yyyymmdd; 0: none")
    date_field: Literal["date", "filed"] = "date"
    locarno: Texts = Field([], description="Classes (06) or codes (06-01)")
    office: Texts = []
    view: Texts = []
    applicant: Texts = []
    patents: Texts = Field([], description="These only")
    not_patents: Texts = Field([], description="Without these")
    title: Text = Field("", description="All of these words in the title")

    def as_filter(self) -> Filter:
        return Filter.from_json(self.model_dump())


class ItemBody(Strict):
    """One query figure: an uploaded image or a figure of the index, cut, rotated clockwise and mirrored."""

    model_config = example(figure="USD0800001-20171017-D00001", rotate=90)
    upload: str | None = Field(None, max_length=64)
    figure: FigureId | None = Field(None, description="figure_id of the index; /api/designs has those of a patent")
    box: list[Whole] | None = Field(None, min_length=4, max_length=4, description="left, top, right, bottom in pixels")
    rotate: Literal[0, 90, 180, 270] = 0
    mirror: bool = False


class VariantsBody(Strict):
    """Further forms in which all query figures are searched for."""

    rotations: bool = False
    mirror: bool = False


class SearchBody(Strict):
    """A search."""

    model_config = example(
        query=[{"figure": "USD0800001-20171017-D00001"}], filter={"before": 20180101, "locarno": ["06"]}, limit=24
    )
    query: list[ItemBody] = Field([], max_length=8)
    text: str = Field("", max_length=2000)
    variants: VariantsBody = VariantsBody()
    fusion: Literal["mean", "max"] = "mean"
    group: Literal["design", "figure"] = "design"
    filter: FilterBody = FilterBody()
    exclude_own: bool = Field(True, description="Leave out the patents of query figures of the index")
    offset: int = Field(0, ge=0, le=100_000)
    limit: int = Field(24, ge=1, le=100)
    version: int | None = Field(None, ge=1, le=2**53, description="Of the index; the newest when it is not given")


class CountsBody(Strict):
    """What to count."""

    model_config = example(filter={"before": 20180101})
    filter: FilterBody = FilterBody()
    version: int | None = Field(None, ge=1, le=2**53)


class ExplainBody(Strict):
    """A query figure and a figure of the index that are to be compared place by place."""

    model_config = example(query={"figure": "USD0800001-20171017-D00001"}, row=12, variant="as given")
    query: ItemBody
    row: Whole
    variant: str = Field("as given", max_length=100, description="`variant` of an answer")


class LoginBody(Strict):
    """The access token."""

    token: str = Field(max_length=1000)


class SaveBody(Strict):
    """A search that was made lately, to be saved."""

    model_config = example(search="0123456789abcdef0123456789abcdef", name="Chair", notes="Compare the legs.")
    search: str = Field(max_length=64, description="`search` of an answer")
    name: Name = ""
    notes: Notes = ""


class EditBody(Strict):
    """What changes; a field that is not given, or null, stays."""

    model_config = example(name="Chair, second search")
    name: Name | None = None
    notes: Notes | None = None


class SetBody(Strict):
    """A new set."""

    model_config = example(name="Prior art")
    name: Name


class SetItemBody(Strict):
    """A figure to be marked."""

    model_config = example(figure_id="USD0800001-20171017-D00001", note="same legs")
    figure_id: FigureId
    note: Notes = ""
    search: str = Field("", max_length=64)


class ExportBody(Strict):
    """What to export: a saved or recent search, or a set."""

    model_config = example(search="0123456789abcdef", format="pdf")
    search: str = Field("", max_length=64)
    set: str = Field("", max_length=64)
    format: Literal["csv", "json", "pdf"]


# -- answers ---------------------------------------------------------------------------------------------------------


class Error(BaseModel):
    code: str = Field(description="For programs")
    message: str = Field(description="One sentence for people")


class ErrorAnswer(BaseModel):
    """The form of all errors."""

    model_config = example(error={"code": "not_found", "message": "there is no such set"})
    error: Error


class Figure(BaseModel):
    """What the index knows about a figure; texts that are unknown are empty."""

    row: int = Field(description="Its number in the index, which is never used again")
    figure_id: str
    patent: str
    figure: str
    view: str
    title: str
    caption: str
    locarno: str = Field(description="Code of the classification, or class")
    date: int = Field(description="Of grant or publication, yyyymmdd; 0: unknown")
    filed: int = Field(description="Of priority or filing, yyyymmdd; 0: unknown")
    office: str
    applicant: str


class Size(BaseModel):
    """In pixels."""

    width: int
    height: int


class FacetValue(BaseModel):
    """A value of a facet, and how much has it."""

    value: str
    name: str | None = Field(None, description="Of a class, in words")
    figures: int
    designs: int


class Counted(BaseModel):
    figures: int
    designs: int


class Counts(Counted):
    facets: dict[str, list[FacetValue]]


class IndexStatus(BaseModel):
    uid: str
    version: int
    oldest_version: int
    figures: int
    designs: int
    backend: str
    metric: str
    exact: bool
    recall: dict[str, float] = Field(description="Measured when the index was built, where it is approximate")
    changed: str
    facets: dict[str, list[FacetValue]]
    dates: dict[str, list[int]] = Field(description="First and last year as dates, [0, 0] where none is known")


class ModelStatus(BaseModel):
    name: str
    weights: str
    text: bool
    patches: bool


class LimitsStatus(BaseModel):
    upload_bytes: int
    upload_pixels: int
    query_figures: int
    page: int


class Status(BaseModel):
    """With a token configured and none given, `login` alone."""

    version: str | None = None
    index: IndexStatus | None = None
    model: ModelStatus | None = None
    limits: LimitsStatus | None = None
    login: bool


class Region(BaseModel):
    """A figure on a page."""

    box: list[int] = Field(description="left, top, right, bottom in pixels")
    labelled: bool = Field(description="Whether words such as `FIG. 1` stand beside it")


class UploadAnswer(BaseModel):
    upload: str
    sha256: str
    name: str
    width: int
    height: int
    figures: list[Region]


class Evidence(BaseModel):
    query: int
    variant: str
    score: float
    figure: Figure


class Other(BaseModel):
    score: float
    figure: Figure


class Result(BaseModel):
    """A design (with `patent`, `evidence`, `others`, `figures`) or a figure (with `query`, `variant`)."""

    rank: int
    score: float
    figure: Figure
    patent: str | None = None
    evidence: list[Evidence] | None = None
    others: list[Other] | None = None
    figures: int | None = None
    query: int | None = None
    variant: str | None = None


class SearchAnswer(BaseModel):
    search: str = Field(description="Under which it can be saved and exported for a while")
    version: int = Field(description="Of the index that was searched")
    exact: bool = Field(description="Whether no better result can have been missed")
    searched: Counted = Field(description="What the conditions permit")
    total: int = Field(description="How many results can be paged through")
    seconds: float
    time: str
    group: str
    offset: int
    unknown_patents: list[str] = Field([], description="Patents of the filter that the index does not have")
    results: list[Result]


class Design(BaseModel):
    patent: str
    figures: list[Figure]


class Saved(BaseModel):
    id: str
    name: str
    notes: str
    time: str
    saved: str
    version: int
    query_figures: int
    text: str
    filter: dict[str, Any]
    total: int
    best: str | None


class RecordImage(BaseModel):
    upload: str
    sha256: str
    name: str
    width: int
    height: int


class Record(BaseModel):
    """A search as it was made: enough to make it again."""

    id: str
    format: int
    name: str
    notes: str
    time: str
    saved: str
    seconds: float
    request: dict[str, Any] = Field(description="As the body of a search, with the version that was searched")
    images: list[RecordImage]
    model: dict[str, Any] = Field(description="What made the vectors: `weights` (SHA-256) and `settings`")
    index: dict[str, Any] = Field(description="`uid`, `version`, `backend`, `metric`, counts, exactness")
    searched: Counted
    total: int
    exact: bool
    results: list[Result]
    fastreid: str


class ReplayAnswer(BaseModel):
    same: bool
    differences: list[str]
    notes: list[str] = Field(description="What was not as recorded, though the results may be the same")
    recorded_version: int
    version: int
    response: SearchAnswer


class SetItem(BaseModel):
    figure_id: str
    patent: str
    note: str
    added: str
    search: str | None = None
    figure: Figure | None = None


class SetAnswer(BaseModel):
    id: str
    name: str
    notes: str
    created: str
    changed: str
    items: list[SetItem]


class JobAnswer(BaseModel):
    job: str
    state: Literal["running", "done", "failed", "cancelled"]
    done: int
    total: int
    message: str
