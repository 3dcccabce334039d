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


class Strict(BaseModel):
    """A body: a field that does not exist is refused."""

    model_config = ConfigDict(extra="forbid")


class FilterBody(Strict):
    """Conditions that hold together; see `fastreid.index.Filter`."""

    before: Date = Field(0, description="Strictly before this date; an unknown date never is")
    since: Date = Field(0, description="On or after this date")
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

    upload: str | None = Field(None, max_length=64)
    figure: FigureId | None = None
    box: list[Whole] | None = Field(None, min_length=4, max_length=4, description="left, top, right, bottom in pixels")
    rotate: Literal[0, 90, 180, 270] = 0
    mirror: bool = False


class VariantsBody(Strict):
    """Further forms in which all query figures are searched for."""

    rotations: bool = False
    mirror: bool = False


class SearchBody(Strict):
    """A search."""

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
    filter: FilterBody = FilterBody()
    version: int | None = Field(None, ge=1, le=2**53)


class ExplainBody(Strict):
    query: ItemBody
    row: Whole
    variant: str = Field("as given", max_length=100)


class LoginBody(Strict):
    token: str = Field(max_length=1000)


class SaveBody(Strict):
    search: str = Field(max_length=64, description="`search` of an answer")
    name: Name = ""
    notes: Notes = ""


class EditBody(Strict):
    name: Name | None = None
    notes: Notes | None = None


class SetBody(Strict):
    name: Name


class SetItemBody(Strict):
    figure_id: FigureId
    note: Notes = ""
    search: str = Field("", max_length=64)


class ExportBody(Strict):
    """What to export: a saved or recent search, or a set."""

    search: str = Field("", max_length=64)
    set: str = Field("", max_length=64)
    format: Literal["csv", "json", "pdf"]


# -- answers ---------------------------------------------------------------------------------------------------------


class Error(BaseModel):
    code: str
    message: str


class ErrorAnswer(BaseModel):
    error: Error


class Figure(BaseModel):
    row: int
    figure_id: str
    patent: str
    figure: str
    view: str
    title: str
    caption: str
    locarno: str
    date: int
    filed: int
    office: str
    applicant: str


class Size(BaseModel):
    width: int
    height: int


class FacetValue(BaseModel):
    value: str
    name: str | None = None
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
    recall: dict[str, float]
    changed: str
    facets: dict[str, list[FacetValue]]
    dates: dict[str, list[int]]


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
    box: list[int]
    labelled: bool


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
    search: str
    version: int
    exact: bool
    searched: Counted
    total: int
    seconds: float
    time: str
    group: str
    offset: int
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
