/**
 * A plain reference for HTTP-date (RFC 9110, section 5.6.7): a text is a date if it is, character for character, what
 * the platform's calendar writes for some second in one of the three forms. Ours knows no platform's calendar.
 */

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

export type DateForm = "imf-fixdate" | "rfc850" | "asctime";

/** Writes the second in which `epochMs` lies, in one of the forms. */
export function writeDate(form: DateForm, epochMs: number): string {
  const date = new Date(epochMs);
  // "Sun, 06 Nov 1994 08:49:37 GMT", since ES2018 in these very columns.
  const imf = date.toUTCString();
  const [day, month, year, time] = [imf.slice(5, 7), imf.slice(8, 11), imf.slice(12, 16), imf.slice(17, 25)];
  switch (form) {
    case "imf-fixdate":
      return imf;
    case "rfc850":
      return `${DAYS[date.getUTCDay()]}, ${day}-${month}-${year.slice(2)} ${time} GMT`;
    case "asctime":
      return `${imf.slice(0, 3)} ${month} ${day.replace(/^0/, " ")} ${time} ${year}`;
  }
}

/** The instant in milliseconds since 1970; null for what is no date. `near` decides the century of a two-digit year. */
export function referenceDate(text: string, near: number): number | null {
  // asctime pads a day below 10 with a blank; the grammar allows a zero as well.
  const padded = text[8] === "0" ? `${text.slice(0, 8)} ${text.slice(9)}` : text;
  const instants = [
    read("imf-fixdate", text, text.slice(12, 16), text.slice(8, 11), text.slice(5, 7), text.slice(17, 25)),
    read(
      "asctime",
      padded,
      text.slice(20, 24),
      text.slice(4, 7),
      text.slice(8, 10).replace(" ", "0"),
      text.slice(11, 19),
    ),
    ...DAYS.filter((name) => text.startsWith(name)).map((name) => {
      const rest = text.slice(name.length + 2);
      return read(
        "rfc850",
        text,
        century(rest.slice(7, 9), near),
        rest.slice(3, 6),
        rest.slice(0, 2),
        rest.slice(10, 18),
      );
    }),
  ];
  return instants.find((instant) => instant !== null) ?? null;
}

function read(form: DateForm, text: string, year: string, month: string, day: string, time: string): number | null {
  const [hour = "", minute = "", second = ""] = time.split(":");
  // The leap second has no name in the platform's calendar: it is the one after the 59th.
  const isLeap = second === "60";
  const date = new Date(0);
  date.setUTCFullYear(Number(year), MONTHS.indexOf(month), Number(day));
  date.setUTCHours(Number(hour), Number(minute), isLeap ? 59 : Number(second));
  const epochMs = date.getTime();
  if (Number.isNaN(epochMs)) return null;
  const written = writeDate(form, epochMs);
  return (isLeap ? written.replace(/:59(?= )/, ":60") : written) === text ? epochMs + (isLeap ? 1000 : 0) : null;
}

/** Counts down from the last year that may be meant. */
function century(twoDigits: string, near: number): string {
  let year = new Date(near).getUTCFullYear() + 50;
  for (let tries = 0; tries < 100 && String(year % 100).padStart(2, "0") !== twoDigits; tries++) year--;
  return String(year);
}
