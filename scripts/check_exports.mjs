// Checks that every prebuilt library exports every function, by reading the files: most cannot run on this machine.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fail, root } from "./shell.mjs";

function cString(bytes, start) {
  return bytes.toString("latin1", start, bytes.indexOf(0, start));
}

/** Names in the dynamic symbol table of a 64-bit ELF file that are defined there. */
function elfExports(bytes) {
  const sections = Number(bytes.readBigUInt64LE(0x28));
  const size = bytes.readUInt16LE(0x3a);
  const count = bytes.readUInt16LE(0x3c);
  const section = (index) => {
    const at = sections + index * size;
    return {
      type: bytes.readUInt32LE(at + 4),
      offset: Number(bytes.readBigUInt64LE(at + 24)),
      size: Number(bytes.readBigUInt64LE(at + 32)),
      link: bytes.readUInt32LE(at + 40),
    };
  };
  const DYNSYM = 11;
  const table = Array.from({ length: count }, (_, index) => section(index))
    .find(({ type }) => type === DYNSYM);
  const strings = section(table.link).offset;
  const names = [];
  for (let at = table.offset; at < table.offset + table.size; at += 24) {
    const isDefined = bytes.readUInt16LE(at + 6) !== 0;
    if (isDefined) names.push(cString(bytes, strings + bytes.readUInt32LE(at)));
  }
  return names;
}

/** Names in the export trie of a 64-bit Mach-O file, without their leading underscore. */
function machoExports(bytes) {
  const DYLD_INFO_ONLY = 0x80000022;
  const EXPORTS_TRIE = 0x80000033;
  let trie;
  let at = 32;
  for (let left = bytes.readUInt32LE(16); left > 0; left -= 1) {
    const command = bytes.readUInt32LE(at);
    if (command === EXPORTS_TRIE) trie = bytes.readUInt32LE(at + 8);
    if (command === DYLD_INFO_ONLY) trie = bytes.readUInt32LE(at + 40);
    at += bytes.readUInt32LE(at + 4);
  }
  const names = [];
  const readUleb = (start) => {
    let value = 0;
    let end = start;
    do value += (bytes[end] & 0x7f) * 2 ** (7 * (end - start)); while (bytes[end++] & 0x80);
    return [value, end];
  };
  const visit = (node, prefix) => {
    const [terminalSize, body] = readUleb(node);
    if (terminalSize > 0) names.push(prefix.slice(1));
    let edge = body + terminalSize + 1;
    for (let left = bytes[body + terminalSize]; left > 0; left -= 1) {
      const label = cString(bytes, edge);
      const [child, next] = readUleb(edge + label.length + 1);
      visit(trie + child, prefix + label);
      edge = next;
    }
  };
  visit(trie, "");
  return names;
}

/** Names in the export directory of a PE32+ file. */
function peExports(bytes) {
  const header = bytes.readUInt32LE(0x3c);
  const sectionCount = bytes.readUInt16LE(header + 6);
  const optional = header + 24;
  const sections = optional + bytes.readUInt16LE(header + 20);
  const offsetOf = (address) => {
    for (let index = 0; index < sectionCount; index += 1) {
      const at = sections + index * 40;
      const start = bytes.readUInt32LE(at + 12);
      if (address >= start && address < start + bytes.readUInt32LE(at + 16)) {
        return address - start + bytes.readUInt32LE(at + 20);
      }
    }
    return fail(`the address ${address} is in no section`);
  };
  const directory = offsetOf(bytes.readUInt32LE(optional + 112));
  const names = offsetOf(bytes.readUInt32LE(directory + 32));
  return Array.from(
    { length: bytes.readUInt32LE(directory + 24) },
    (_, index) => cString(bytes, offsetOf(bytes.readUInt32LE(names + index * 4))),
  );
}

const readers = { linux: elfExports, darwin: machoExports, windows: peExports };

/** Fails when a prebuilt library lacks a function of symbols.ts, or exports anything else of ours. */
export function checkExports() {
  const source = readFileSync(join(root, "src", "native", "symbols.ts"), "utf8");
  const table = source.slice(source.indexOf("export const symbols"), source.indexOf("} as const"));
  const expected = [...table.matchAll(/^ {2}(\w+): \{/gm)].map(([, name]) => `tritter_${name}`)
    .sort();
  if (expected.length === 0) fail("src/native/symbols.ts names no function");
  const { libraries } = JSON.parse(readFileSync(join(root, "prebuilt", "manifest.json"), "utf8"));
  for (const [platform, { file }] of Object.entries(libraries)) {
    const bytes = readFileSync(join(root, "prebuilt", platform, file));
    const names = readers[platform.split("-")[0]](bytes)
      .filter((name) => name.startsWith("tritter_")).sort();
    if (names.join() !== expected.join()) {
      const missing = expected.filter((name) => !names.includes(name));
      const surplus = names.filter((name) => !expected.includes(name));
      fail(`${platform}/${file}: missing [${missing}], not declared [${surplus}]`);
    }
    console.log(`${platform}/${file} exports all ${expected.length} functions`);
  }
}
