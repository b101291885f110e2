/** Documents that somebody stored, opened in a browser: none of their scripts may run on the data plane's origin. */
import type { Checks } from "../../harness/checks.ts";
import { fillSource } from "../../harness/local-source.ts";
import type { Stage } from "../stage.ts";
import { frame, loadsAsPicture, standing } from "./in-page.ts";
import type { Chromium } from "./chromium.ts";
import type { Page } from "./page.ts";
import type { Document, PageServer } from "./page-server.ts";

/** For a document that is none, which is never loaded: long enough here, if it were one. */
const FRAME_WAIT_MS = 1_500;
/** For a document that is one. */
const LOADS_WITHIN_MS = 60_000;
const SCRIPT = 'document.title = "ran"; parent.postMessage("ran", "*")';
const HTML = `<!doctype html><title>still</title><script>${SCRIPT}</script>`;
const SVG =
  '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><title>still</title>' +
  `<script>${SCRIPT}</script><rect width="9" height="9"/></svg>`;

/** By path: what the page's own server serves with nothing but the type, and what is stored as a dataset's object. */
export const FOREIGN: ReadonlyMap<string, Document> = new Map(
  [
    { name: "page.html", contentType: "text/html", text: HTML },
    { name: "drawing.svg", contentType: "image/svg+xml", text: SVG },
    { name: "note.txt", contentType: "text/plain", text: HTML },
  ].map(({ name, contentType, text }) => [`/foreign/${name}`, { contentType, bytes: new TextEncoder().encode(text) }]),
);

export interface Browsing {
  chromium: Chromium;
  site: PageServer;
  page: Page;
  isolated: Page;
}

export async function checkForeignDocuments(checks: Checks, on: Stage, browsing: Browsing): Promise<void> {
  const { chromium, site, page, isolated } = browsing;
  const bucket = { ...on.r2, region: "auto", bucket: "penstock-datasets" };
  const prefix = on.prefixOf("records");
  await fillSource(
    bucket,
    [...FOREIGN].map(([path, document]) => ({ key: prefix + path.slice(1), ...document })),
  );
  const root = await on.rootUrl("records");
  const stored = (name: string) => `${root}foreign/${name}`;
  const open = async (url: string) => {
    const opened = await chromium.open("about:blank");
    return { outcome: await opened.navigate(url), ...(await opened.run(standing)) };
  };

  for (const name of ["page.html", "drawing.svg"]) {
    // The same bytes without our headers, or nothing would be shown by their silence.
    const bare = await page.run(frame, `${site.origin}/foreign/${name}`, LOADS_WITHIN_MS);
    checks.equal(`${name}: its script runs in a frame when the page's own site serves it`, bare.said, ["ran"]);
    const framed = await page.run(frame, stored(name), FRAME_WAIT_MS);
    checks.equal(`${name} as an object: a frame with it runs nothing`, framed.said, []);
    const download = await page.find(() => page.downloads.find((url) => url === stored(name)));
    checks.that("since it is a download", download !== null, { framed, downloads: page.downloads });
    const bareWindow = await open(`${site.origin}/foreign/${name}`);
    checks.equal("in a window its script runs when the site serves it", bareWindow.title, "ran");
    const { outcome, title } = await open(stored(name));
    checks.equal("the object is a download there, too", [outcome, title], ["download", ""]);
  }

  const framed = await page.run(frame, stored("note.txt"), LOADS_WITHIN_MS);
  checks.equal("markup that is stored as text runs nothing in a frame", framed, { isLoaded: true, said: [] });
  const { outcome, origin, type, text } = await open(stored("note.txt"));
  checks.equal("and in a window is shown as text", [outcome, type, text], ["document", "text/plain", HTML]);
  checks.equal("where it stands on an origin of its own, with no claim to ours", origin, "null");
  const own = await open(`${site.origin}/foreign/note.txt`);
  checks.equal("while the site's own text stands on the site's", [own.text, own.origin], [HTML, site.origin]);

  const picture = await isolated.run(loadsAsPicture, stored("drawing.svg"));
  checks.that("a page that is isolated from other origins may show the drawing as a picture", picture);
}
