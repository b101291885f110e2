/** Asks an S3 server what a migration will ask, and prints what it answers. A probe, not a test: it judges nothing. */
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { AwsClient } from "aws4fetch";
import { putMultipart, putObject, unescapeXml } from "./put-multipart.ts";
import type { SourceServer } from "./servers.ts";

const MiB = 1024 * 1024;
const PART_BYTES = 5 * MiB;
/** The customary check value of a CRC. */
const CHECK_INPUT = "123456789";
const CHECK_CRC64NVME = "rosUhgp5mIg=";

/** Keys that a careless client loses; each is put under `keys/`. */
const NASTY_KEYS = [
  "a b+c=d:e#f?g%h&i'j\"k<l>(m)*n!o~p,q;r@s$t|u\\v`w[x]{y}^z",
  "double//slash",
  "dot/./here",
  "dot/../there",
  "marker/",
  "marker",
  "a-key",
  "a-key/and-a-folder",
  "order-😀",
  "order-\uffee",
  "folder/x",
  "folder-x",
  "folder.x",
  "folder0",
  "nfc-é",
  "nfd-e\u0301",
  "control-\u0001\u001f",
  "tab-\t",
  "cr-lf-\r\n-tab-\t",
  "percent-%2F-%00",
  "n".repeat(255),
  "n".repeat(256),
  `${"s/".repeat(500)}long`,
];

export async function probe(start: () => Promise<SourceServer>): Promise<void> {
  const begun = performance.now();
  const server = await start();
  print(`\n# ${server.name}`, `installed, started and healthy in ${Math.round(performance.now() - begun)} ms`);
  try {
    await probeObjects(server);
    await probeMultipart(server);
    await probeKeys(server);
    await probeRefusals(server);
  } finally {
    await server.stop();
  }
}

async function probeObjects(server: SourceServer): Promise<void> {
  const { client, url, bucketUrl } = connect(server);
  const body = bytes(1000);
  const headers = {
    "content-type": "text/plain; charset=utf-8",
    "cache-control": "max-age=60",
    "content-disposition": 'attachment; filename="x.txt"',
    "content-language": "de",
    expires: "Wed, 01 Dec 2027 16:00:00 GMT",
    "x-amz-meta-Mixed-Case": "value",
    "x-amz-storage-class": "STANDARD_IA",
  };
  print("PUT", `ETag ${await putObject(client, url("plain"), body, headers)}, md5 ${md5(body)}`);
  await putObject(client, url("empty"), bytes(0));
  await putObject(client, url("gzip"), gzipSync(body), { "content-encoding": "gzip" });

  await show("HEAD", client, url("plain"), { method: "HEAD" });
  await show("HEAD, checksum mode", client, url("plain"), {
    method: "HEAD",
    headers: { "x-amz-checksum-mode": "ENABLED" },
  });
  await show("HEAD ?partNumber=1 of a plain object", client, url("plain?partNumber=1"), { method: "HEAD" });
  await show("GET empty", client, url("empty"));
  await show("HEAD gzip, accept-encoding: identity", client, url("gzip"), {
    method: "HEAD",
    headers: { "accept-encoding": "identity" },
  });
  for (const range of ["bytes=10-19", "bytes=990-", "bytes=-10", "bytes=990-2000", "bytes=1000-", "bytes=0-1,5-6"])
    await show(`GET ${range}`, client, url("plain"), { headers: { range } });
  await show("GET bytes=0- of the empty object", client, url("empty"), { headers: { range: "bytes=0-" } });
  await show("GET with If-Match of another ETag", client, url("plain"), {
    headers: { "if-match": `"${md5(bytes(1))}"` },
  });
  await show("GET with the right If-Match and a range", client, url("plain"), {
    headers: { "if-match": `"${md5(body)}"`, range: "bytes=0-9" },
  });
  await show("GET with the right If-None-Match", client, url("plain"), {
    headers: { "if-none-match": `"${md5(body)}"` },
  });
  const signed = await client.sign(`${url("plain")}?X-Amz-Expires=60`, { aws: { signQuery: true } });
  await show("GET presigned", undefined, signed.url);
  await show("GET unsigned", undefined, url("plain"));
  await show("PUT with checksum crc64nvme", client, url("checksummed"), {
    method: "PUT",
    headers: { "x-amz-sdk-checksum-algorithm": "CRC64NVME", "x-amz-checksum-crc64nvme": CHECK_CRC64NVME },
    body: CHECK_INPUT,
  });
  await show("PUT with another checksum", client, url("wrong-checksum"), {
    method: "PUT",
    headers: { "x-amz-sdk-checksum-algorithm": "CRC64NVME", "x-amz-checksum-crc64nvme": CHECK_CRC64NVME },
    body: "987654321",
  });
  await show("HEAD of it, checksum mode", client, url("checksummed"), {
    method: "HEAD",
    headers: { "x-amz-checksum-mode": "ENABLED" },
  });
  await show("GET listing", client, `${bucketUrl}?list-type=2&encoding-type=url`);
  await show("GET listing, max-keys=1", client, `${bucketUrl}?list-type=2&encoding-type=url&max-keys=1`);
  await show("GET listing, start-after", client, `${bucketUrl}?list-type=2&encoding-type=url&start-after=gzip`);
  await show("GET listing of nothing", client, `${bucketUrl}?list-type=2&encoding-type=url&prefix=nothing/`);
}

async function probeMultipart(server: SourceServer): Promise<void> {
  const { client, url } = connect(server);
  const body = bytes(2 * PART_BYTES + 1);
  const begun = performance.now();
  const etag = await putMultipart(client, url("multipart"), body, PART_BYTES, { "content-type": "image/tiff" });
  const expected = multipartEtag(body, PART_BYTES);
  print("multipart", `ETag ${etag}, expected ${expected}, in ${Math.round(performance.now() - begun)} ms`);
  await show("HEAD multipart", client, url("multipart"), { method: "HEAD" });
  for (const part of [1, 2, 3, 4]) {
    await show(`HEAD ?partNumber=${part}`, client, url(`multipart?partNumber=${part}`), { method: "HEAD" });
    await show(`GET ?partNumber=${part}`, client, url(`multipart?partNumber=${part}`));
  }
  await show("HEAD ?partNumber=1, checksum mode", client, url("multipart?partNumber=1"), {
    method: "HEAD",
    headers: { "x-amz-checksum-mode": "ENABLED" },
  });
  await show("HEAD multipart, checksum mode", client, url("multipart"), {
    method: "HEAD",
    headers: { "x-amz-checksum-mode": "ENABLED" },
  });
  for (const [name, ifMatch] of [
    ["the object's", etag],
    ["the part's", md5(body.subarray(0, PART_BYTES))],
  ] as const) {
    await show(`HEAD ?partNumber=1 with If-Match of ${name} ETag`, client, url("multipart?partNumber=1"), {
      method: "HEAD",
      headers: { "if-match": `"${ifMatch}"` },
    });
  }
  await putMultipart(client, url("multipart-crc"), body, PART_BYTES, {
    "x-amz-checksum-algorithm": "CRC64NVME",
    "x-amz-checksum-type": "FULL_OBJECT",
  }).catch((error: unknown) => print("multipart with CRC64NVME", String(error)));
  await show("HEAD multipart with CRC64NVME, checksum mode", client, url("multipart-crc"), {
    method: "HEAD",
    headers: { "x-amz-checksum-mode": "ENABLED" },
  });
  const whole = await client.fetch(url("multipart"));
  print("GET multipart", `md5 equal: ${md5(new Uint8Array(await whole.arrayBuffer())) === md5(body)}`);
}

async function probeKeys(server: SourceServer): Promise<void> {
  const { client, url, bucketUrl } = connect(server);
  const seen: string[] = [];
  for (const key of NASTY_KEYS) {
    // A folder object with bytes in it is no object at all to some servers.
    const body = new TextEncoder().encode(key.endsWith("/") ? "" : key);
    const name = JSON.stringify(key.length > 60 ? `${key.slice(0, 20)}… (${key.length})` : key);
    try {
      await putObject(client, url(encodeKey(`keys/${key}`)), body);
      const got = await client.fetch(url(encodeKey(`keys/${key}`)));
      const isSame = Buffer.from(await got.arrayBuffer()).equals(body);
      print(`key ${name}`, `read back ${got.status}, ${isSame ? "the same" : "OTHER"} bytes`);
      seen.push(`keys/${key}`);
    } catch (error) {
      print(
        `key ${name}`,
        String(error)
          .replace(/keys\/\S*/, "…")
          .slice(0, 300),
      );
    }
  }
  const listing = await client.fetch(`${bucketUrl}?list-type=2&encoding-type=url&prefix=keys/`);
  const xml = await listing.text();
  const listed = [...xml.matchAll(/<Key>(.*?)<\/Key>/gs)].map(([, key]) => key ?? "");
  const isUrlEncoded = xml.includes("<EncodingType>url</EncodingType>");
  print("keys are listed", isUrlEncoded ? "url-encoded, as asked" : "as they are, though encoding-type=url was asked");
  print("keys as listed", `\n    ${listed.map((key) => key.slice(0, 120)).join("\n    ")}`);
  const decoded = listed.map(unescapeXml).map((key) => (isUrlEncoded ? decodeURIComponent(key) : key));
  const isSorted = decoded.every(
    (key, index) => index === 0 || Buffer.compare(Buffer.from(decoded[index - 1] ?? ""), Buffer.from(key)) < 0,
  );
  print("keys are listed in the order of their UTF-8 bytes", String(isSorted));
  print(
    "keys put but not listed",
    JSON.stringify(seen.filter((key) => !decoded.includes(key)).map((key) => key.slice(0, 60))),
  );

  const paged: string[] = [];
  for (let page = 0; page <= NASTY_KEYS.length; page++) {
    const after = encodeURIComponent(paged.at(-1) ?? "");
    const answer = await client.fetch(
      `${bucketUrl}?list-type=2&encoding-type=url&prefix=keys/&max-keys=2&start-after=${after}`,
    );
    const keys = [...(await answer.text()).matchAll(/<Key>(.*?)<\/Key>/gs)].map(([, key]) => unescapeXml(key ?? ""));
    if (keys.length === 0) break;
    paged.push(...keys.map((key) => (isUrlEncoded ? decodeURIComponent(key) : key)));
  }
  print("pages of 2 by start-after give the same listing", `${paged.join() === decoded.join()}, ${paged.length} keys`);

  const plain = await client.fetch(`${bucketUrl}?list-type=2&prefix=keys/c`);
  print("listing of control characters without encoding-type", `${plain.status} ${JSON.stringify(await plain.text())}`);
}

async function probeRefusals(server: SourceServer): Promise<void> {
  const { client, url } = connect(server);
  const wrongSecret = connect({ ...server, secretAccessKey: "wrong" }).client;
  const wrongKey = connect({ ...server, accessKeyId: "AKIAWRONG" }).client;
  const wrongRegion = connect({ ...server, region: "ap-south-1" }).client;
  for (const [name, refused] of Object.entries({ wrongSecret, wrongKey, wrongRegion })) {
    await show(`GET, ${name}`, refused, url("plain"));
    await show(`HEAD, ${name}`, refused, url("plain"), { method: "HEAD" });
  }
  await show("GET missing key", client, url("missing"));
  await show("HEAD missing key", client, url("missing"), { method: "HEAD" });
  await show("GET missing bucket's listing", client, `${server.endpoint}/no-such-bucket?list-type=2`);
  await show("HEAD missing bucket", client, `${server.endpoint}/no-such-bucket`, { method: "HEAD" });
  await show("HEAD bucket", client, `${server.endpoint}/${server.bucket}`, { method: "HEAD" });
  await show("GET service root", client, `${server.endpoint}/`);
  await show("GET ?location", client, `${server.endpoint}/${server.bucket}?location=`);
}

function connect(server: SourceServer) {
  const bucketUrl = `${server.endpoint}/${server.bucket}`;
  const client = new AwsClient({
    accessKeyId: server.accessKeyId,
    secretAccessKey: server.secretAccessKey,
    region: server.region,
    service: "s3",
    retries: 0,
  });
  return { client, bucketUrl, url: (key: string) => `${bucketUrl}/${key}` };
}

const UNTOLD_HEADERS = /^(date|connection|server|keep-alive|access-control-.*|x-amzn?-(request-?id|id-2))$/;
const TOLD_CHARACTERS = 1_000;

async function show(
  name: string,
  client: AwsClient | undefined,
  url: string,
  init: { method?: string; headers?: Record<string, string>; body?: string } = {},
): Promise<void> {
  const init2 = { redirect: "manual" as const, ...init };
  const response = await (client === undefined ? fetch(url, init2) : client.fetch(url, init2));
  const body = new Uint8Array(await response.arrayBuffer());
  const isXml = body.length > 0 && body[0] === "<".charCodeAt(0);
  const headers = [...response.headers].filter(([header]) => !UNTOLD_HEADERS.test(header));
  const text = isXml ? `\n    ${Buffer.from(body).toString().slice(0, TOLD_CHARACTERS)}` : "";
  print(name, `${response.status}, ${body.length} bytes; ${headers.map((pair) => pair.join(": ")).join("; ")}${text}`);
}

function print(name: string, answer: string): void {
  console.log(`${name}: ${answer}`);
}

/** With dot segments the slashes stay encoded, since `new URL()` would resolve them; aws4fetch signs plain slashes. */
function encodeKey(key: string): string {
  const encoded = encodeURIComponent(key).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return key.split("/").some((segment) => segment === "." || segment === "..")
    ? encoded
    : encoded.replaceAll("%2F", "/");
}

function bytes(length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, index) => (index * 31 + (index >> 8)) & 0xff);
}

function md5(body: Uint8Array): string {
  return createHash("md5").update(body).digest("hex");
}

function multipartEtag(body: Uint8Array, partBytes: number): string {
  const whole = createHash("md5");
  const count = Math.ceil(body.length / partBytes);
  for (let part = 0; part < count; part++)
    whole.update(
      createHash("md5")
        .update(body.subarray(part * partBytes, (part + 1) * partBytes))
        .digest(),
    );
  return `${whole.digest("hex")}-${count}`;
}
