import { readFileSync, writeFileSync } from "node:fs";

/** MiB of a process that were in memory at once, at the most (proc_pid_status(5), VmHWM). Needs Linux's /proc. */
export const peakMiB = (pid: number): number =>
  Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;

/** Begins the peak anew, at what is in memory now (proc_pid_clear_refs(5)). */
export const resetPeak = (pid: number): void => writeFileSync(`/proc/${pid}/clear_refs`, "5");
