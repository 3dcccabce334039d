// How things are named on the page.

const NUMBER = new Intl.NumberFormat("en");
const SHORT = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
const LONG = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long", year: "numeric", timeZone: "UTC" });
const MOMENT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
const classNames = new Map();

export const number = (value) => NUMBER.format(value);

/** "1 figure", "4,221 figures" */
export const count = (value, thing) => `${number(value)} ${thing}${value === 1 ? "" : "s"}`;

/** Remember what the classes are called, from the facets of the index. */
export function learnClasses(facets) {
  for (const { value, name } of facets?.class ?? []) if (name) classNames.set(value, name);
}

const classOf = (code) => code.split(/[-/]/)[0];

export const className = (code) => classNames.get(classOf(code)) ?? "";

function dayOf(value) {
  return new Date(Date.UTC(Math.floor(value / 10000), (Math.floor(value / 100) % 100) - 1, value % 100));
}

/** 20181016: "16 Oct 2018"; 0 is an unknown date. */
export const day = (value) => (value ? SHORT.format(dayOf(value)) : "no date");

export const longDay = (value) => (value ? LONG.format(dayOf(value)) : "no date");

/** The moment of an ISO text, in local time. */
export const moment = (iso) => (iso ? MOMENT.format(new Date(iso)) : "");

/** 20181016 as an input of type date has it, "2018-10-16", and back. */
export const toInput = (value) =>
  value ? `${String(value).slice(0, 4)}-${String(value).slice(4, 6)}-${String(value).slice(6)}` : "";

/** Designs are not older: an earlier year is one that is half typed. */
export const FIRST_YEAR = 1700;

/** A day that is written "2018-10-16" or "20181016"; 0 for anything else, such as 31 February. */
export function fromInput(text) {
  const [, year, month, day] = (/^(\d{4})(-?)(\d\d)\2(\d\d)$/.exec(text) ?? []).filter((_, place) => place !== 2).map(Number);
  const value = year * 10000 + month * 100 + day;
  const date = value ? dayOf(value) : null;
  return date && year >= FIRST_YEAR && date.getUTCMonth() + 1 === month && date.getUTCDate() === day ? value : 0;
}

/** "USD0510000": "US D0510000"; other forms stay as they are. */
export const patentName = (patent) => patent.replace(/^([A-Z]{2})([A-Z]{0,2}\d+.*)$/, "$1 $2");

/** "Figure 2, front view" */
export function figureName(figure) {
  const parts = [figure.figure && `Figure ${figure.figure}`, figure.view && `${figure.view} view`].filter(Boolean);
  return parts.length ? parts.join(", ") : figure.figure_id;
}

/** What a figure shows, for those who do not see it: "Figure 2, front view, US D0510000, Chair". */
export const altText = (figure) => [figureName(figure), patentName(figure.patent), figure.title].filter(Boolean).join(", ");

/** A cosine with three digits, or minus a squared distance with four significant ones. */
export const score = (value, metric = "cosine") =>
  (metric === "cosine" ? value.toFixed(3) : value.toPrecision(4)).replace("-", "−");

/** Query figures are lettered, A to H. */
export const letter = (place) => String.fromCharCode(65 + place);

/** "published" or "filed", after the column of dates that a search reads. */
export const dated = (field) => (field === "filed" ? "filed" : "published");

export const bytes = (value) =>
  value >= 1 << 20 ? `${Math.round(value / (1 << 20))} MB` : `${Math.max(1, Math.round(value / 1024))} kB`;

/** What was searched, in one sentence without its full stop. */
export function searched(response, filter) {
  const { figures, designs } = response.searched;
  let text = `Searched ${count(figures, "figure")} of ${count(designs, "design")}`;
  if (filter.before && filter.since) {
    text += ` ${dated(filter.date_field)} from ${longDay(filter.since)}, before ${longDay(filter.before)}`;
  } else if (filter.before) text += ` ${dated(filter.date_field)} before ${longDay(filter.before)}`;
  else if (filter.since) text += ` ${dated(filter.date_field)} from ${longDay(filter.since)}`;
  return text;
}

/** A message of the service as a sentence, with its query figures, which it counts from 1, named as on the page. */
export function sentence(text) {
  const named = text.replace(/\bquery figure (\d)\b/gi, (all, place) => all.slice(0, -1) + letter(Number(place) - 1));
  return named.charAt(0).toUpperCase() + named.slice(1) + (/[.!?]$/.test(named) ? "" : ".");
}
