// Finding the other processes: what the launcher says, and what was asked for.

import * as fs from "node:fs";
import { checkChoice, checkCount, checkNumber, checkOptions, describe } from "../checks.ts";
import { type Device, placeOf } from "../device.ts";
import { tritterError } from "../errors.ts";
import { writeAtomically } from "../formats/atomic_file.ts";
import { filePath } from "../formats/mapped_file.ts";
import { check, native } from "../native/library.ts";
import { type Communicator, TIMEOUT_SECONDS } from "./communicator.ts";
import { LocalCommunicator } from "./local.ts";
import { MpiCommunicator } from "./mpi.ts";
import { makeUniqueId, NcclCommunicator, type NcclPlan } from "./nccl.ts";

/** How to find the other processes; what is not given is what the launcher says. */
export interface CommunicatorOptions {
  /**
   * What carries the data. `"auto"` (default) is `"mpi"` in a process that mpirun or mpiexec started,
   * `"nccl"` in one that has the variables `RANK` and `WORLD_SIZE` of torchrun, and `"local"`, a world
   * of one, in any other.
   */
  backend?: "auto" | "local" | "mpi" | "nccl" | undefined;
  /** How long a call may take before it throws `timeout`. Default: 300. */
  timeoutSeconds?: number | undefined;
  /**
   * Path of the library of MPI or NCCL. Default: the variable `TRITTER_MPI_LIBRARY` or
   * `TRITTER_NCCL_LIBRARY`, or else where the system finds it.
   */
  library?: string | undefined;
  /** The GPU of this process, for `"nccl"`. Default: that of the local rank. */
  device?: Device | undefined;
  /** The number of this process, for `"nccl"`. Default: the variable `RANK`. */
  rank?: number | undefined;
  /** How many processes there are, for `"nccl"`. Default: the variable `WORLD_SIZE`. */
  size?: number | undefined;
  /**
   * A file through which the ranks of `"nccl"` meet: one that all can see and that is not there yet.
   * Default: the variable `TRITTER_NCCL_ID_FILE`, or else they meet through MPI where that started
   * them, or at the address `MASTER_ADDR` and the port after `MASTER_PORT`.
   */
  idFile?: string | URL | undefined;
}

const BACKENDS = ["auto", "local", "mpi", "nccl"] as const;

type Variables = Readonly<Record<string, string | undefined>>;

/** What launchers set, read by the library: no permission to read the environment is needed. */
function launcherVariables(): Variables {
  const text = new Uint8Array(65536);
  const length = new Uint32Array(1);
  check(native.distributed_launcher(text, text.length, length, 1));
  return JSON.parse(new TextDecoder().decode(text.subarray(0, length[0])));
}

function isMpi(variables: Variables): boolean {
  return variables.OMPI_COMM_WORLD_SIZE !== undefined || variables.PMI_SIZE !== undefined;
}

function detect(variables: Variables): "local" | "mpi" | "nccl" {
  if (isMpi(variables)) return "mpi";
  const launched = variables.RANK !== undefined && variables.WORLD_SIZE !== undefined;
  return launched && variables.WORLD_SIZE !== "1" ? "nccl" : "local";
}

/**
 * Joins the processes that were started together.
 *
 * The libraries are found at run time: Open MPI 4 and later or MPICH (and what shares its ABI), NCCL
 * 2.14 and later. Throws `library_unavailable` where one is missing, `device_unavailable` where there
 * is no GPU for NCCL, `timeout` where the others do not come. A process may have several communicators,
 * which all ranks make in the same order; it leaves MPI for good with the last one.
 *
 * @example
 * ```ts
 * import { createCommunicator } from "tritter-accel";
 *
 * // Alone, or with `mpirun -n 4`.
 * using communicator = createCommunicator();
 * const sum = Float32Array.of(1);
 * communicator.allReduce(sum);
 * console.log(sum[0] === communicator.size); // true
 * ```
 */
export function createCommunicator(options?: CommunicatorOptions): Communicator {
  const given = checkOptions(options, "options");
  const wanted = checkChoice(given.backend, BACKENDS, "backend", "auto");
  const timeoutSeconds = checkNumber(
    given.timeoutSeconds ?? TIMEOUT_SECONDS,
    "timeoutSeconds",
    { min: 1e-3, max: 1e7 },
  );
  const variables = launcherVariables();
  const backend = wanted === "auto" ? detect(variables) : wanted;
  refuseForeign(given, backend);
  if (backend === "local") return new LocalCommunicator(timeoutSeconds);
  if (backend === "mpi") {
    return new MpiCommunicator(libraryPath(given, variables.TRITTER_MPI_LIBRARY), timeoutSeconds);
  }
  return openNccl(given, variables, timeoutSeconds);
}

function libraryPath({ library }: CommunicatorOptions, fallback = ""): string {
  if (library === undefined) return fallback;
  if (typeof library === "string" && library !== "") return library;
  throw tritterError("invalid_type", `library must be a path, got ${describe(library)}`);
}

/** An option that would be without effect is a mistake. */
function refuseForeign(given: CommunicatorOptions, backend: string): void {
  const { rank, size, idFile, device, library } = given;
  const foreign = backend === "nccl" ? {} : { rank, size, idFile, device };
  const more = backend === "local" ? { ...foreign, library } : foreign;
  for (const [name, value] of Object.entries(more)) {
    if (value === undefined) continue;
    throw tritterError("invalid_option", `${name} must not be given for the backend "${backend}"`);
  }
}

function openNccl(
  given: CommunicatorOptions,
  variables: Variables,
  timeoutSeconds: number,
): Communicator {
  const idFile = given.idFile ?? variables.TRITTER_NCCL_ID_FILE;
  const throughMpi = given.rank === undefined && idFile === undefined && isMpi(variables);
  const place = placeOf(given.device ?? `cuda:${Number(localRank(variables))}`);
  if (place === "cpu") {
    throw tritterError("invalid_option", `device must be a CUDA device for NCCL, got ${place}`);
  }
  const library = libraryPath(given, variables.TRITTER_NCCL_LIBRARY);
  if (throughMpi) return meetThroughMpi({ library, place, timeoutSeconds }, variables);
  const size = rankNumber(given.size ?? variables.WORLD_SIZE, "size", "WORLD_SIZE", 1);
  const rank = rankNumber(given.rank ?? variables.RANK, "rank", "RANK", 0);
  if (rank >= size) {
    throw tritterError("invalid_value", `rank must be below size (${size}), got ${rank}`);
  }
  const plan: NcclPlan = { library, place, rank, size, timeoutSeconds };
  if (idFile !== undefined) return meetThroughFile(plan, filePath(idFile, "idFile"));
  return new NcclCommunicator(plan, makeUniqueId(library, masterAddress(size, variables)));
}

function localRank(variables: Variables): string {
  const { LOCAL_RANK, OMPI_COMM_WORLD_LOCAL_RANK, MPI_LOCALRANKID } = variables;
  return LOCAL_RANK ?? OMPI_COMM_WORLD_LOCAL_RANK ?? MPI_LOCALRANKID ?? "0";
}

function rankNumber(value: unknown, name: string, variable: string, min: number): number {
  if (value === undefined) {
    throw tritterError(
      "invalid_option",
      `${name} must be given for NCCL, or the variable ${variable} be set`,
    );
  }
  return checkCount(typeof value === "string" ? Number(value) : value, name, { min, max: 2 ** 20 });
}

/** Where rank 0 listens: beside the port that the launcher itself uses. Nobody, in a world of one. */
function masterAddress(size: number, variables: Variables): string {
  const { MASTER_ADDR: host, MASTER_PORT: port } = variables;
  if (size === 1) return "";
  if (host === undefined || port === undefined) {
    throw tritterError(
      "invalid_option",
      "idFile must be given for NCCL, or the variables MASTER_ADDR and MASTER_PORT be set",
    );
  }
  const number = checkCount(Number(port), "MASTER_PORT", { min: 1, max: 65_534 });
  return `${host}:${number + 1}`;
}

function meetThroughMpi(
  plan: Pick<NcclPlan, "library" | "place" | "timeoutSeconds">,
  variables: Variables,
): Communicator {
  const bootstrap = new MpiCommunicator(variables.TRITTER_MPI_LIBRARY ?? "", plan.timeoutSeconds);
  try {
    const id = bootstrap.rank === 0 ? makeUniqueId(plan.library) : new Uint8Array(128);
    bootstrap.broadcast(id);
    const { rank, size } = bootstrap;
    return new NcclCommunicator({ ...plan, rank, size, bootstrap }, id);
  } catch (error) {
    bootstrap.abandon();
    bootstrap[Symbol.dispose]();
    throw error;
  }
}

function meetThroughFile(plan: NcclPlan, path: string): Communicator {
  if (plan.rank > 0) return new NcclCommunicator(plan, waitForFile(path, plan.timeoutSeconds));
  if (fs.existsSync(path)) {
    throw tritterError("invalid_option", `idFile must not be there yet, got ${path}`);
  }
  const id = makeUniqueId(plan.library);
  writeAtomically(path, [id]);
  try {
    return new NcclCommunicator(plan, id);
  } finally {
    // All ranks have met, or never will.
    fs.rmSync(path, { force: true });
  }
}

const POLL_MILLISECONDS = 20;

function waitForFile(path: string, timeoutSeconds: number): Uint8Array {
  const begun = performance.now();
  const cell = new Int32Array(new SharedArrayBuffer(4));
  while (!fs.existsSync(path)) {
    if (performance.now() - begun > 1000 * timeoutSeconds) {
      throw tritterError(
        "timeout",
        `Expected rank 0 to write ${path} within ${timeoutSeconds} s, it did not`,
      );
    }
    Atomics.wait(cell, 0, 0, POLL_MILLISECONDS);
  }
  return new Uint8Array(fs.readFileSync(path));
}
