/**
 * gofakes3, a third implementation, in memory. Keeps any key and user metadata up to 2,000 bytes, but neither
 * Cache-Control nor Content-Language nor Expires. Checks no signature. Answers an upload in parts with the ETag of parts,
 * and everything after with the MD5 of the whole; ignores partNumber. Its listings ignore encoding-type=url and name no
 * storage class, and date an object by themselves, now and then a second later than where it is read.
 */
import { join } from "node:path";
import { startChildServer } from "./child-server.ts";
import { installOnce, PENSTOCK_FOLDER, run } from "./install.ts";
import { isBeyondXml, randomName, type SourceServer, withBuckets } from "./source-server.ts";

const VERSION = "v1.2.0";

export async function startGofakes3(): Promise<SourceServer> {
  const program = await install();
  const server = await startChildServer({
    name: "gofakes3",
    program,
    args: (port) => ["-host", `127.0.0.1:${port}`, "-backend", "memory", "-quiet"],
    healthPath: "/",
  });
  return withBuckets(server, {
    name: "gofakes3",
    region: "us-east-1",
    accessKeyId: randomName(),
    secretAccessKey: randomName(),
    manners: {
      refuses: [/^headers\/(metadata-2-kb|just-within)$/],
      foldsPaths: false,
      garbles: isBeyondXml,
      tellsPartSize: false,
      checksSignatures: false,
      keepsChecksums: false,
      keepsTags: false,
      keepsStorageClasses: false,
      datesTwice: true,
    },
  });
}

function install(): Promise<string> {
  const folder = join(PENSTOCK_FOLDER, "servers");
  return installOnce({
    what: `gofakes3 ${VERSION}`,
    program: join(folder, "gofakes3"),
    install: async () => {
      await run(
        "go",
        ["install", "-ldflags=-s -w", `github.com/johannesboyne/gofakes3/cmd/gofakes3@${VERSION}`],
        `gofakes3 ${VERSION} is built with Go, and there is no "go" on the PATH. Install Go 1.25 or newer.`,
        { ...process.env, GOBIN: folder, CGO_ENABLED: "0" },
      );
    },
  });
}
