//! What the kernels of hypervectors share: a block of a plane as a vector, functions of three bits, and
//! counts of bits.

const simd = @import("simd.zig");
const table = @import("vsa_table.zig");

/// One block of a plane.
pub const Block = @Vector(table.block_words, u64);

pub const none: Block = @splat(0);
pub const all: Block = ~none;

pub inline fn load(plane: [*]align(64) const u64) Block {
    const pointer: *const Block = @ptrCast(plane);
    return pointer.*;
}

pub inline fn store(plane: [*]align(64) u64, block: Block) void {
    const pointer: *Block = @ptrCast(plane);
    pointer.* = block;
}

/// AVX-512's function of three bits: bit 4a + 2b + c of `truth` is the result.
pub inline fn ternary(comptime truth: u8, a: Block, b: Block, c: Block) Block {
    comptime if (!simd.has_avx512) @compileError("only AVX-512 has it");
    return asm ("vpternlogq %[truth], %[c], %[b], %[result]"
        : [result] "=v" (-> Block),
        : [a] "0" (a),
          [b] "v" (b),
          [c] "v" (c),
          [truth] "i" (truth),
    );
}

/// a & (b ^ c)
pub inline fn andXor(a: Block, b: Block, c: Block) Block {
    return if (simd.has_avx512) ternary(0x60, a, b, c) else a & (b ^ c);
}

/// a | (b ^ c)
pub inline fn orXor(a: Block, b: Block, c: Block) Block {
    return if (simd.has_avx512) ternary(0xf6, a, b, c) else a | (b ^ c);
}

pub inline fn xor3(a: Block, b: Block, c: Block) Block {
    return if (simd.has_avx512) ternary(0x96, a, b, c) else a ^ b ^ c;
}

/// The bits that two or three of them have.
pub inline fn majority(a: Block, b: Block, c: Block) Block {
    return if (simd.has_avx512) ternary(0xe8, a, b, c) else (a & b) | (c & (a ^ b));
}

/// The ones of the block's bits below `count`, which may be beyond the block.
pub fn lowBits(count: usize) Block {
    var words: [table.block_words]u64 = undefined;
    for (&words, 0..) |*word, i| {
        const left = count -| i * 64;
        word.* = if (left >= 64) ~@as(u64, 0) else (@as(u64, 1) << @intCast(left)) - 1;
    }
    return words;
}
