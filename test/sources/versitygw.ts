/**
 * versitygw, the strict one, on a POSIX folder. Checks signatures, region and bucket, knows partNumber, has CRC64NVME of
 * everything.
 *
 * Its objects are files: a key cannot also be another key's folder, a name between slashes has at most 255 bytes, `//`
 * and dot segments are folded into another key in silence, storage classes become STANDARD. Its listings ignore
 * encoding-type=url, and lose what XML 1.0 cannot hold.
 */
import { join } from "node:path";
import { ServerEnded, startChildServer } from "./child-server.ts";
import { installOnce, PENSTOCK_FOLDER, run } from "./install.ts";
import { isBeyondXml, newFolder, randomName, type SourceServer, withBuckets } from "./source-server.ts";

const VERSION = "v1.8.0";
/** Not us-east-1, so that a region that is assumed rather than configured is found out. */
const REGION = "eu-west-3";
/** Its health check hides a bucket of the same name. */
const HEALTH_PATH = "/penstock-health";

export async function startVersityGw(): Promise<SourceServer> {
  const program = await install();
  const accessKeyId = randomName();
  const secretAccessKey = randomName();
  const start = (metadata: (folder: string) => readonly string[]) =>
    startChildServer({
      name: "versitygw",
      program,
      args: (port, folder) => [
        `--port=127.0.0.1:${port}`,
        `--region=${REGION}`,
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
  return withBuckets(server, {
    name: "versitygw",
    region: REGION,
    accessKeyId,
    secretAccessKey,
    manners: {
      refuses: [
        /^keys\/marker$/,
        /^keys\/a-key\//,
        /n{256}/,
        // The folder itself, and what is outside of the bucket.
        /^keys\/last\/\.\.$/,
        /^keys\/climb\//,
        /^(\/|\/\/|\.|\.\.|a\/\.\.|\.\.\/.*)$/,
        // Its request may have 4,096 bytes of headers.
        /^headers\/just-within$/,
      ],
      foldsPaths: true,
      garbles: isBeyondXml,
      tellsPartSize: true,
      checksSignatures: true,
      keepsChecksums: true,
      keepsTags: true,
      keepsStorageClasses: false,
      datesTwice: false,
    },
  });
}

function install(): Promise<string> {
  const folder = join(PENSTOCK_FOLDER, "servers");
  return installOnce({
    what: `versitygw ${VERSION}`,
    program: join(folder, "versitygw"),
    install: async () => {
      // Modules and compiled packages stay in Go's own caches, so that the next work tree has it in seconds. Without
      // cgo no C compiler is needed; without symbols it links faster.
      await run(
        "go",
        ["install", "-ldflags=-s -w", `github.com/versity/versitygw/cmd/versitygw@${VERSION}`],
        `versitygw ${VERSION} is built with Go, and there is no "go" on the PATH. Install Go 1.25 or newer.`,
        { ...process.env, GOBIN: folder, CGO_ENABLED: "0" },
      );
    },
  });
}
