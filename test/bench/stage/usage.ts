import { readdirSync, readFileSync } from "node:fs";

/** Linux counts a process's time in hundredths of a second, whatever the kernel's own tick is (proc(5), USER_HZ). */
const TICKS_PER_SECOND = 100;

/** The one child of this process that runs a program of this name. Needs Linux's /proc. */
export function childNamed(program: string): number {
  const found = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      const stat = statOf(pid);
      return stat !== null && stat.program === program && Number(stat.fields[1]) === process.pid;
    });
  if (found.length !== 1) throw new Error(`${found.length} child processes run ${program}, where there should be one.`);
  return Number(found[0]);
}

/** Seconds of processor time that a process has used, in user and kernel mode. */
export function cpuSeconds(pid: number): number {
  const fields = statOf(pid)?.fields ?? [];
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** MiB of a process that are in memory. */
export function residentMiB(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;
}

/** The program's name, and the fields of /proc/<pid>/stat from the third on: state, parent, ... (proc_pid_stat(5)). */
function statOf(pid: number | string): { program: string; fields: string[] } | null {
  try {
    const [, program = "", rest = ""] = /^\d+ \((.*)\) (.*)$/s.exec(readFileSync(`/proc/${pid}/stat`, "utf8")) ?? [];
    return { program, fields: rest.trim().split(" ") };
  } catch {
    return null; // It has ended meanwhile.
  }
}
