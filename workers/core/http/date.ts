/**
 * HTTP-date, read and written without a clock (RFC 9110, section 5.6.7). Instants are milliseconds since 1970-01-01
 * UTC; the wire has whole seconds.
 *
 * Reading is strict where the platform's is not: three forms, GMT only, exact case, a day that exists, and the day of
 * the week that it was. A date that contradicts itself is no date.
 */

const WEEKDAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"] as const;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"] as const;

const MS_PER_SECOND = 1000;
const SECONDS_PER_DAY = 86_400;
/** Days from 0000-03-01 to 1970-01-01; years that begin in March have their leap day last. */
const DAYS_TO_1970 = 719_468;
/** Days in 400 years, after which the Gregorian calendar repeats. */
const DAYS_PER_ERA = 146_097;

const FORMS = [
  // IMF-fixdate, the only one to be written: Sun, 06 Nov 1994 08:49:37 GMT
  /^(?<weekday>[A-Z][a-z]{2}), (?<day>\d\d) (?<month>\w{3}) (?<year>\d{4}) (?<time>\d\d:\d\d:\d\d) GMT$/,
  // rfc850-date, obsolete: Sunday, 06-Nov-94 08:49:37 GMT
  /^(?<weekday>[A-Z][a-z]{5,8}), (?<day>\d\d)-(?<month>\w{3})-(?<year>\d\d) (?<time>\d\d:\d\d:\d\d) GMT$/,
  // asctime-date, obsolete: Sun Nov  6 08:49:37 1994
  /^(?<weekday>[A-Z][a-z]{2}) (?<month>\w{3}) (?<day>\d\d| \d) (?<time>\d\d:\d\d:\d\d) (?<year>\d{4})$/,
];

/**
 * Reads an HTTP-date; null when it is not one. `near` (epoch milliseconds) is there for the two-digit years of the
 * rfc850 form alone: a year that would lie more than 50 years after it belongs to the century before.
 */
export function parseHttpDate(text: string, near: number): number | null {
  for (const form of FORMS) {
    const groups = form.exec(text)?.groups;
    if (groups !== undefined) return readFields(groups, near);
  }
  return null;
}

/**
 * Writes an IMF-fixdate, fractions of a second dropped; for the years 0 to 9999.
 *
 * @example formatHttpDate(784_111_777_000) // "Sun, 06 Nov 1994 08:49:37 GMT"
 */
export function formatHttpDate(epochMs: number): string {
  const epochSeconds = Math.floor(epochMs / MS_PER_SECOND);
  const days = Math.floor(epochSeconds / SECONDS_PER_DAY);
  const second = epochSeconds - days * SECONDS_PER_DAY;

  const { year, month, day } = civilFromDays(days);
  const date = `${digits(day, 2)} ${MONTHS[month - 1]} ${digits(year, 4)}`;
  const time = [Math.floor(second / 3600), Math.floor(second / 60) % 60, second % 60].map((n) => digits(n, 2));
  return `${weekdayOf(days).slice(0, 3)}, ${date} ${time.join(":")} GMT`;
}

type Fields = Readonly<Partial<Record<string, string>>>;

function readFields(
  { weekday, day: dayText, month: monthName, year: yearText, time }: Fields,
  near: number,
): number | null {
  const day = Number(dayText);
  const month = 1 + MONTHS.findIndex((name) => name === monthName);
  const year = yearText?.length === 2 ? fullYear(Number(yearText), near) : Number(yearText);
  if (month === 0) return null;

  const days = daysFromCivil(year, month, day);
  const exists = civilFromDays(days).day === day;
  const name = weekdayOf(days);
  if (!exists || (weekday !== name && weekday !== name.slice(0, 3))) return null;

  const second = secondOfDay(time ?? "");
  return second === null ? null : (days * SECONDS_PER_DAY + second) * MS_PER_SECOND;
}

/** `hh:mm:ss`; the 60th second is a leap second, which the grammar names and POSIX time counts as the next. */
function secondOfDay(time: string): number | null {
  const [hour = NaN, minute = NaN, second = NaN] = time.split(":").map(Number);
  return hour < 24 && minute < 60 && second <= 60 ? hour * 3600 + minute * 60 + second : null;
}

/** The latest year that ends in these two digits and is at most 50 years after `near`. */
function fullYear(twoDigits: number, near: number): number {
  const latest = civilFromDays(Math.floor(near / MS_PER_SECOND / SECONDS_PER_DAY)).year + 50;
  return latest - ((((latest - twoDigits) % 100) + 100) % 100);
}

function weekdayOf(days: number): string {
  const thursday = 4; // 1970-01-01 was one.
  return WEEKDAYS[(((days + thursday) % 7) + 7) % 7] ?? "";
}

/** Days since 1970-01-01 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms"). */
function daysFromCivil(year: number, month: number, day: number): number {
  const marchYear = month <= 2 ? year - 1 : year;
  const era = Math.floor(marchYear / 400);
  const yearOfEra = marchYear - era * 400;
  const dayOfYear = Math.floor((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) + day - 1;
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  return era * DAYS_PER_ERA + dayOfEra - DAYS_TO_1970;
}

/** The inverse, from the same paper. A day that does not exist, such as February 30, comes back as another. */
function civilFromDays(days: number): { year: number; month: number; day: number } {
  const shifted = days + DAYS_TO_1970;
  const era = Math.floor(shifted / DAYS_PER_ERA);
  const dayOfEra = shifted - era * DAYS_PER_ERA;
  const leapDays = Math.floor(dayOfEra / 1460) - Math.floor(dayOfEra / 36_524) + Math.floor(dayOfEra / 146_096);
  const yearOfEra = Math.floor((dayOfEra - leapDays) / 365);
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const marchMonth = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * marchMonth + 2) / 5) + 1;
  const month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9;
  return { year: era * 400 + yearOfEra + (month <= 2 ? 1 : 0), month, day };
}

function digits(value: number, width: number): string {
  return String(value).padStart(width, "0");
}
