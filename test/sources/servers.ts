/**
 * Two S3 servers by other people, as sources for the tests and the demo. Neither is AWS: what they answer differently
 * is printed by `node test/sources/servers.ts` (Node 24), which asks both the same questions.
 *
 * - versitygw: the strict one. Checks signatures, region and bucket, knows partNumber, has CRC64NVME of everything.
 *   Its objects are files: a key cannot also be another key's folder, a name between slashes has at most 255 bytes,
 *   `//` and dot segments are folded into another key in silence, storage classes become STANDARD. Its listings ignore
 *   encoding-type=url, and lose control characters.
 * - moto: the wide one. Takes nearly every key, keeps storage classes, encodes its listings. Checks neither signature
 *   nor region nor the checksums it is sent. `HEAD ?partNumber=` answers 200 with the part's own ETag; `GET
 *   ?partNumber=` is the whole object.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { randomBytes } from "node:crypto";
import { AwsClient } from "aws4fetch";
import { ServerEnded, startChildServer, type ChildServer } from "./child-server.ts";
import { installOnce, PENSTOCK_FOLDER, run } from "./install.ts";

const VERSITYGW_VERSION = "v1.8.0";
const MOTO_REQUIREMENT = "moto[server]==5.2.5";
/** Without these two moto computes CRC32 and calls it CRC64NVME or CRC32C. */
const MOTO_CHECKSUMS = ["awscrt==0.38.0", "crc32c==2.9.post0"];

/** Not us-east-1, so that a region that is assumed rather than configured is found out. */
const VERSITYGW_REGION = "eu-west-3";
/** moto makes buckets elsewhere only with a LocationConstraint; one default is enough, and one server has the other. */
const MOTO_REGION = "us-east-1";
const BUCKET = "penstock-source";
/** versitygw's health check hides a bucket of the same name. */
const HEALTH_PATH = "/penstock-health";

export interface SourceServer {
  name: string;
  endpoint: string;
  region: string;
  bucket: string;
  accessKeyId: string;
  secretAccessKey: string;
  stop(): Promise<void>;
}

export async function startVersityGw(): Promise<SourceServer> {
  const program = await installVersityGw();
  const accessKeyId = randomName();
  const secretAccessKey = randomName();
  const start = (metadata: (folder: string) => readonly string[]) =>
    startChildServer({
      name: "versitygw",
      program,
      args: (port, folder) => [
        `--port=127.0.0.1:${port}`,
        `--region=${VERSITYGW_REGION}`,
        `--health=${HEALTH_PATH}`,
        "--quiet",
        "--keep-alive",
        "posix",
        ...metadata(folder),
        newFolder(folder, "objects"),
      ],
      // By the environment, where other users cannot read them; and nothing else of ours, for it has 100 variables.
      env: { PATH: process.env.PATH, ROOT_ACCESS_KEY_ID: accessKeyId, ROOT_SECRET_ACCESS_KEY: secretAccessKey },
      healthPath: HEALTH_PATH,
    });

  const server = await start(() => []).catch((error: unknown) => {
    // It keeps ETags and metadata in extended attributes, and in files beside the objects where there are none.
    if (!(error instanceof ServerEnded && error.log.includes("xattrs are not supported"))) throw error;
    return start((folder) => ["--sidecar", newFolder(folder, "metadata")]);
  });
  return withBucket(server, { name: "versitygw", region: VERSITYGW_REGION, accessKeyId, secretAccessKey });
}

/** moto's server has no authentication unless it is given IAM users: it answers a wrong secret like the right one. */
export async function startMoto(): Promise<SourceServer> {
  const program = await installMoto();
  const server = await startChildServer({
    name: "moto",
    program,
    args: (port) => ["-H", "127.0.0.1", "-p", String(port)],
    // Empty: it keeps what it compiles, wherever the machine says otherwise, and starts faster the next time.
    env: { ...process.env, PYTHONDONTWRITEBYTECODE: "" },
    healthPath: "/moto-api/",
  });
  return withBucket(server, {
    name: "moto",
    region: MOTO_REGION,
    accessKeyId: randomName(),
    secretAccessKey: randomName(),
  });
}

function installVersityGw(): Promise<string> {
  const folder = join(PENSTOCK_FOLDER, "servers");
  const program = join(folder, "versitygw");
  return installOnce({
    what: `versitygw ${VERSITYGW_VERSION}`,
    program,
    install: async () => {
      // Modules and compiled packages stay in Go's own caches, so that the next work tree has it in seconds. Without
      // cgo no C compiler is needed; without symbols it links faster.
      await run(
        "go",
        ["install", "-ldflags=-s -w", `github.com/versity/versitygw/cmd/versitygw@${VERSITYGW_VERSION}`],
        `versitygw ${VERSITYGW_VERSION} is built with Go, and there is no "go" on the PATH. Install Go 1.25 or newer.`,
        { ...process.env, GOBIN: folder, CGO_ENABLED: "0" },
      );
    },
  });
}

function installMoto(): Promise<string> {
  const folder = join(PENSTOCK_FOLDER, "venv-moto");
  const python = join(folder, "bin", "python");
  return installOnce({
    what: [MOTO_REQUIREMENT, ...MOTO_CHECKSUMS].join(" "),
    program: join(folder, "bin", "moto_server"),
    install: async () => {
      await run(
        "python3",
        ["-m", "venv", "--clear", folder],
        `${MOTO_REQUIREMENT} needs Python, and there is no "python3" on the PATH. Install Python 3.10 or newer with venv.`,
      );
      // --no-compile: it would compile every file, of which a run imports few, and Python compiles those by itself.
      const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"];
      await run(
        python,
        [...pip, MOTO_REQUIREMENT, ...MOTO_CHECKSUMS],
        `There is no ${python}, though the venv was made`,
      );
    },
  });
}

/** Adds the bucket. A server that refuses it is stopped. */
async function withBucket(
  server: ChildServer,
  identity: Pick<SourceServer, "name" | "region" | "accessKeyId" | "secretAccessKey">,
): Promise<SourceServer> {
  try {
    const client = new AwsClient({ ...identity, service: "s3", retries: 0 });
    const response = await client.fetch(`${server.endpoint}/${BUCKET}`, {
      method: "PUT",
      headers: { "x-amz-content-sha256": "UNSIGNED-PAYLOAD" },
      ...(identity.region === "us-east-1" ? {} : { body: locationConstraint(identity.region) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${identity.name} did not make the bucket: ${response.status} ${text}`);
  } catch (error) {
    await server.stop();
    throw error;
  }
  return { ...identity, endpoint: server.endpoint, bucket: BUCKET, stop: server.stop };
}

function locationConstraint(region: string): string {
  const namespace = "http://s3.amazonaws.com/doc/2006-03-01/";
  return `<CreateBucketConfiguration xmlns="${namespace}"><LocationConstraint>${region}</LocationConstraint></CreateBucketConfiguration>`;
}

function newFolder(parent: string, name: string): string {
  const folder = join(parent, name);
  mkdirSync(folder);
  return folder;
}

function randomName(): string {
  return randomBytes(16).toString("hex");
}
