/**
 * The npm package that carries the prebuilt libraries, `tritter-accel-native`, where it is installed.
 *
 * @module
 */

/** What the package found out when it was imported. */
export interface PackagedLibraries {
  /** Paths of the libraries that are installed for this platform, the likeliest first. */
  readonly libraries: readonly string[];
  /** Why a package of this platform could not be used, a sentence each. */
  readonly failures: readonly string[];
}

/**
 * Imports the package by its bare name: npm's rules find it, or an import map, which is how it is named
 * by Deno projects and on JSR. The name is written out so that bundlers see it; the package is part of no
 * dependency list here, because a checkout has its libraries in prebuilt/.
 */
export async function findPackaged(): Promise<PackagedLibraries> {
  try {
    // @ts-ignore: it is there only where it has been installed.
    const { libraries, failures } = await import("tritter-accel-native");
    return { libraries, failures };
  } catch (error) {
    const [reason] = (error instanceof Error ? error.message : String(error)).split("\n");
    return { libraries: [], failures: [`npm package tritter-accel-native: ${reason}`] };
  }
}
