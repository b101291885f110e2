/** A Python with PyTorch of the machine's: PyPI's wheel brings gigabytes of CUDA libraries. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";

const CANDIDATES = ["python3", "/usr/bin/python3"];
const HAS_TORCH = "import sys, numpy, torch; sys.exit(0 if sys.version_info >= (3, 11) else 1)";

/** The first interpreter that has it. */
export async function torchPython(): Promise<string> {
  for (const python of CANDIDATES.filter((path) => !path.startsWith("/") || existsSync(path))) {
    const child = spawn(python, ["-c", HAS_TORCH], { stdio: "ignore" });
    const code = await new Promise((settle) => {
      child.once("error", () => settle(null));
      child.once("close", settle);
    });
    if (code === 0) return python;
  }
  throw new Error(
    "The examples for PyTorch need Python 3.11 or newer with torch and numpy. On Debian: " +
      `apt-get install --no-install-recommends python3-torch. Tried: ${CANDIDATES.join(", ")}`,
  );
}
