// Starting a program under each launcher of MPI that is there.

import { spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** A way to start ranks. */
export interface Launcher {
  readonly name: string;
  readonly command: string;
  readonly flags: readonly string[];
}

/** How a program ended. */
export interface Ended {
  readonly status: number | null;
  readonly output: string;
  readonly seconds: number;
}

const OPEN_MPI = ["--allow-run-as-root", "--oversubscribe"];
const KINDS = [
  { name: "Open MPI", commands: ["mpirun.openmpi", "mpirun"], says: /Open MPI/, flags: OPEN_MPI },
  { name: "MPICH", commands: ["mpiexec.hydra", "mpirun"], says: /HYDRA/, flags: [] },
];

/** Every launcher that this machine has; Debian can have both, under names of their own. */
export const launchers: readonly Launcher[] = KINDS.flatMap(({ name, commands, says, flags }) => {
  const command = commands.find((command) => {
    const { stdout } = spawnSync(command, ["--version"], { encoding: "utf8" });
    return says.test(stdout ?? "");
  });
  return command === undefined ? [] : [{ name, command, flags }];
});

/** Why the tests with several processes are skipped, or false. */
export const withoutMpi: string | false = launchers.length === 0 &&
  "no MPI: neither Open MPI's nor MPICH's mpirun is installed (apt-get install mpich)";

/** Runs a program of this folder with so many ranks, on the runtime that runs this. */
export function runRanks(
  { command, flags }: Launcher,
  ranks: number,
  program: string,
  ...options: string[]
): Ended {
  const runtime = "Deno" in globalThis ? ["run", "-A", "--no-check"] : [];
  const path = fileURLToPath(new URL(program, import.meta.url));
  const begun = performance.now();
  const { status, stdout, stderr } = spawnSync(
    command,
    [...flags, "-n", String(ranks), process.execPath, ...runtime, path, ...options],
    { encoding: "utf8", timeout: 240_000, killSignal: "SIGKILL" },
  );
  return { status, output: stdout + stderr, seconds: (performance.now() - begun) / 1000 };
}
