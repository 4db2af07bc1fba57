//! Texts to bundles of their n-grams, shared out to the threads by text and by block of dimensions.

const std = @import("std");
const encoders = @import("vsa_encoders_table.zig");
const parallel = @import("parallel.zig");
const table = @import("vsa_table.zig");
const threads = @import("threads.zig");
const vsa = @import("vsa_vectors.zig");

/// What becomes of a sum of 0, or of one that is not above the threshold.
pub const Tie = enum(u32) { zero, positive, random, first };

pub const Signs = struct {
    tie: Tie,
    seed: u64,
    threshold: u32,
};

pub const Texts = struct {
    kernels: *const table.Kernels,
    /// Row n * symbol + j stands for a symbol at place j.
    items: *const vsa.Vectors,
    n: u32,
    mode: encoders.Mode,
    symbols: []const u32,
    /// Symbols of each text; together, all.
    lengths: []const u32,

    fn blocks(self: *const Texts) usize {
        return self.items.words / table.block_words;
    }

    fn grams(self: *const Texts, first: usize, length: u32) encoders.Grams {
        return .{
            .items = self.items.row(0),
            .words = self.items.words,
            .n = self.n,
            .mode = self.mode,
            .symbols = self.symbols.ptr + first,
            .grams = if (length < self.n) 0 else length - self.n + 1,
        };
    }

    fn run(self: *const Texts, context: anytype, comptime unit: fn (@TypeOf(context), usize, usize, *const encoders.Grams) void) void {
        const Job = struct {
            texts: *const Texts,
            context: @TypeOf(context),

            fn work(job: *const @This(), part: u32, parts: u32) void {
                const texts = job.texts;
                const width = texts.blocks();
                const from, const to = threads.share(texts.lengths.len * width, part, parts);
                var text: usize = from / width;
                var first: usize = 0;
                for (texts.lengths[0..text]) |length| first += length;
                var index = from;
                while (index < to) : (text += 1) {
                    const windows = texts.grams(first, texts.lengths[text]);
                    const end = @min(to, (text + 1) * width);
                    while (index < end) : (index += 1) unit(job.context, text, index % width, &windows);
                    first += texts.lengths[text];
                }
            }
        };
        const job: Job = .{ .texts = self, .context = context };
        const bytes = @as(u64, self.symbols.len) * self.items.words * @sizeOf(u64) * self.n;
        parallel.run(bytes, self.lengths.len * self.blocks(), &job, Job.work);
    }

    /// Sums of all windows' trits: a row of `dim` counts for each text.
    pub fn count(self: *const Texts, counts: []i32) void {
        const Context = struct {
            texts: *const Texts,
            counts: []i32,

            fn unit(context: *const @This(), text: usize, block: usize, windows: *const encoders.Grams) void {
                var sums: [table.block_trits]i32 align(64) = undefined;
                context.texts.kernels.encoders.count_grams(windows, block, &sums);
                const dim = context.texts.items.dim;
                const start = block * table.block_trits;
                const length = @min(table.block_trits, dim - start);
                @memcpy(context.counts[text * dim + start ..][0..length], sums[0..length]);
            }
        };
        const context: Context = .{ .texts = self, .counts = counts };
        self.run(&context, Context.unit);
    }

    /// The signs of the sums: a row of `out` for each text.
    pub fn encode(self: *const Texts, out: *const vsa.Vectors, signs: Signs) void {
        const Context = struct {
            texts: *const Texts,
            out: *const vsa.Vectors,
            signs: Signs,

            fn unit(context: *const @This(), text: usize, block: usize, windows: *const encoders.Grams) void {
                context.texts.encodeBlock(context.out.row(text), text, block, windows, context.signs);
            }
        };
        const context: Context = .{ .texts = self, .out = out, .signs = signs };
        self.run(&context, Context.unit);
    }

    fn encodeBlock(self: *const Texts, out: table.Target, text: usize, block: usize, windows: *const encoders.Grams, signs: Signs) void {
        const from = block * table.block_words;
        const to = from + table.block_words;
        const words = self.items.words;
        self.signsOf(windows, block, signs.threshold, @alignCast(out + from));
        switch (signs.tie) {
            .zero => {},
            .positive, .random => if (windows.grams > 0) self.kernels.fill_ties(
                out,
                words,
                self.items.dim,
                from,
                to,
                text,
                signs.seed,
                @intFromBool(signs.tie == .random),
            ),
            .first => if (windows.grams > 0) {
                var one = windows.*;
                one.grams = 1;
                var first: [2 * table.block_words]u64 align(64) = undefined;
                self.signsOfInto(&one, block, 0, &first, table.block_words);
                for (from..to, 0..) |word, i| {
                    const tied = ~out[word];
                    out[word] |= first[i];
                    out[words + word] |= first[table.block_words + i] & tied;
                }
            },
        }
    }

    fn signsOf(self: *const Texts, windows: *const encoders.Grams, block: usize, threshold: u32, out: table.Target) void {
        self.signsOfInto(windows, block, threshold, out, self.items.words);
    }

    /// Both planes of a block, `words` words apart.
    fn signsOfInto(self: *const Texts, windows: *const encoders.Grams, block: usize, threshold: u32, out: table.Target, words: usize) void {
        var sums: [table.block_trits]i32 align(64) = undefined;
        self.kernels.encoders.count_grams(windows, block, &sums);
        const left = self.items.dim - block * table.block_trits;
        if (left < table.block_trits) @memset(sums[left..], 0);
        self.kernels.count_signs(&sums, threshold, out, words, 0, table.block_words);
    }
};
