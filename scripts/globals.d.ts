// What both runtimes offer, for tsc. It stands here and not in tsconfig.json, which Deno reads too.
/// <reference types="bun" />
/// <reference types="deno" />
