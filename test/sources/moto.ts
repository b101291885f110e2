/**
 * moto's server, the wide one. Takes nearly every key, keeps storage classes, encodes its listings. Checks neither
 * signature nor region nor the checksums it is sent. `HEAD ?partNumber=` answers 200 with the part's own ETag; `GET
 * ?partNumber=` is the whole object.
 */
import { join } from "node:path";
import { startChildServer } from "./child-server.ts";
import type { Uploaded } from "./corpus.ts";
import { installOnce, PENSTOCK_FOLDER, run } from "./install.ts";
import { randomName, type SourceServer, withBuckets } from "./source-server.ts";

const REQUIREMENT = "moto[server]==5.2.5";
/** Without these two moto computes CRC32 and calls it CRC64NVME or CRC32C. */
const CHECKSUMS = ["awscrt==0.38.0", "crc32c==2.9.post0"];
/** moto makes buckets elsewhere only with a LocationConstraint; one default is enough, and one server has the other. */
const REGION = "us-east-1";
const FOLDER = join(PENSTOCK_FOLDER, "venv-moto");
const PYTHON = join(FOLDER, "bin", "python");
/** Objects that its door takes at once. */
const BATCH = 2000;

export async function startMoto(): Promise<SourceServer> {
  await install();
  const server = await startChildServer({
    name: "moto",
    program: PYTHON,
    args: (port) => [join(import.meta.dirname, "moto-server.py"), "-H", "127.0.0.1", "-p", String(port)],
    // Empty: it keeps what it compiles, wherever the machine says otherwise, and starts faster the next time.
    env: { ...process.env, PYTHONDONTWRITEBYTECODE: "" },
    healthPath: "/moto-api/",
  });
  return withBuckets(server, {
    name: "moto",
    region: REGION,
    accessKeyId: randomName(),
    secretAccessKey: randomName(),
    manners: {
      // Its router takes no line feed.
      refuses: [/\n/],
      foldsPaths: false,
      garbles: () => false,
      tellsPartSize: true,
      checksSignatures: false,
      keepsChecksums: true,
      keepsTags: true,
      keepsStorageClasses: true,
      datesTwice: false,
    },
    putMany: (bucket, prefix, objects) => putMany(server.endpoint, bucket, prefix, objects),
  });
}

/** By the door of `moto-server.py`. */
async function putMany(
  endpoint: string,
  bucket: string,
  prefix: string,
  objects: readonly Uploaded[],
): Promise<string[]> {
  const etags: string[] = [];
  for (let start = 0; start < objects.length; start += BATCH) {
    const batch = objects.slice(start, start + BATCH);
    const index = JSON.stringify(batch.map(({ key, headers, bytes }) => [prefix + key, headers, bytes.length]));
    const body = Buffer.concat([Buffer.from(`${index}\n`), ...batch.map(({ bytes }) => bytes)]);
    const answer = await fetch(`${endpoint}/penstock-fill/${bucket}`, { method: "POST", body });
    if (!answer.ok) throw new Error(`moto was not filled: ${answer.status} ${await answer.text()}`);
    etags.push(...((await answer.json()) as string[]));
  }
  return etags;
}

function install(): Promise<string> {
  return installOnce({
    what: [REQUIREMENT, ...CHECKSUMS].join(" "),
    program: join(FOLDER, "bin", "moto_server"),
    install: async () => {
      await run(
        "python3",
        ["-m", "venv", "--clear", FOLDER],
        `${REQUIREMENT} needs Python, and there is no "python3" on the PATH. Install Python 3.10 or newer with venv.`,
      );
      // --no-compile: it would compile every file, of which a run imports few, and Python compiles those by itself.
      const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"];
      await run(PYTHON, [...pip, REQUIREMENT, ...CHECKSUMS], `There is no ${PYTHON}, though the venv was made`);
    },
  });
}
