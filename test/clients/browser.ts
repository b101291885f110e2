/** zarrita and fetch in Chromium, in a page of another origin than the Worker's. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Checks } from "../harness/checks.ts";
import { PENSTOCK_FOLDER } from "../sources/install.ts";
import { startChromium } from "./browser/chromium.ts";
import { checkCrossOrigin, checkTiming } from "./browser/cross-origin.ts";
import { checkForeignDocuments, FOREIGN } from "./browser/foreign-documents.ts";
import { showCheck } from "./browser/in-page.ts";
import type { Page } from "./browser/page.ts";
import { startPageServer } from "./browser/page-server.ts";
import { checkZarrReads } from "./browser/zarr-reads.ts";
import type { Stage } from "./stage.ts";

/** The page at the end: the array as a picture, and the checks. */
const SCREENSHOT = join(PENSTOCK_FOLDER, "clients", "browser.png");

export async function checkBrowser(checks: Checks, on: Stage): Promise<void> {
  const site = await startPageServer(FOREIGN);
  const chromium = await startChromium().catch(async (error: unknown) => {
    await site.stop();
    throw error;
  });
  try {
    checks.note(
      `${chromium.version}, on ${site.origin} and ${site.otherSite}, reads ${new URL(on.r2.endpoint).origin}`,
    );
    const page = await chromium.open(`${site.origin}/`);
    const isolated = await chromium.open(`${site.otherSite}/isolated`);
    const shown: [string, boolean][] = [];
    const showing = withRecord(checks, shown);
    const parts: Record<string, () => Promise<void>> = {
      "a page of another origin: zarrita": () => checkZarrReads(showing, on, page, isolated),
      "a page of another origin: fetch": () => checkCrossOrigin(showing, on, page),
      "stored documents": () => checkForeignDocuments(showing, on, { chromium, site, page, isolated }),
      "a page of another origin: timing": () => checkTiming(showing, on, page),
    };
    for (const [title, part] of Object.entries(parts)) await checks.section(`Chromium, ${title}`, part);
    await takePicture(page, shown);
  } finally {
    await chromium.stop();
    await site.stop();
  }
}

/** Checks whose sentences and verdicts are kept, too. */
function withRecord(checks: Checks, record: [string, boolean][]): Checks {
  return {
    ...checks,
    that(sentence, holds, found) {
      record.push([sentence, holds]);
      checks.that(sentence, holds, found);
    },
    equal(sentence, actual, expected) {
      record.push([sentence, JSON.stringify(actual) === JSON.stringify(expected)]);
      checks.equal(sentence, actual, expected);
    },
  };
}

async function takePicture(page: Page, shown: [string, boolean][]): Promise<void> {
  for (const [sentence, holds] of shown) await page.run(showCheck, sentence, holds);
  mkdirSync(join(SCREENSHOT, ".."), { recursive: true });
  writeFileSync(SCREENSHOT, await page.screenshot());
}
