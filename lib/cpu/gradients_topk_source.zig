//! Where gradients that the codec `topk` encodes are: in memory, or elsewhere, such as on a GPU, with a
//! sample and the candidates coming here. What is written is the same.

const abi = @import("../abi.zig");
const choice_file = @import("gradients_topk_choice.zig");
const finite = @import("gradients_finite.zig");
const kernels_table = @import("table.zig");
const memory = @import("../memory.zig");

const Candidates = choice_file.Candidates;
const Sample = choice_file.Sample;

/// Parts of the gradients that are encoded to see how many bytes they take.
pub const pieces = 16;
pub const piece_values = 1 << 14;

/// Where a piece begins, of more gradients than a piece has.
fn pieceAt(total: usize, piece: usize) usize {
    return piece * (total - piece_values) / (pieces - 1);
}

/// What gradients that are elsewhere can be asked for.
pub const Away = struct {
    context: *anyopaque,
    len: usize,
    /// The magnitudes of choice_file.Runs.
    sample: *const fn (context: *anyopaque, runs: choice_file.Runs, bits: []u32) abi.Failure!void,
    /// All pieces, one after the other.
    pieces: *const fn (context: *anyopaque, values: []f32) abi.Failure!void,
    /// Fails where gradients are not finite.
    collect: *const fn (context: *anyopaque, least: u32) abi.Failure!Candidates,
    /// The failure that names the first one that is not finite.
    refuse: *const fn (context: *anyopaque) abi.Failure,
};

pub const Source = union(enum) {
    here: []const f32,
    away: Away,

    pub fn len(self: *const Source) usize {
        return switch (self.*) {
            inline else => |gradients| gradients.len,
        };
    }

    pub fn sample(self: *const Source) abi.Failure!Sample {
        const runs: choice_file.Runs = .init(self.len());
        const bits = try memory.alloc(u32, runs.values());
        errdefer memory.free(u32, bits);
        switch (self.*) {
            .here => |gradients| runs.read(gradients, bits),
            .away => |away| try away.sample(away.context, runs, bits),
        }
        return .{ .bits = bits, .total = self.len() };
    }

    pub fn readPieces(self: *const Source, values: []f32) abi.Failure!void {
        const gradients = switch (self.*) {
            .here => |gradients| gradients,
            .away => |away| return away.pieces(away.context, values),
        };
        for (0..pieces) |i| {
            @memcpy(values[i * piece_values ..][0..piece_values], gradients[pieceAt(gradients.len, i)..][0..piece_values]);
        }
    }

    pub fn collect(self: *const Source, kernels: *const kernels_table.Kernels, least: u32, parts: usize) abi.Failure!Candidates {
        return switch (self.*) {
            .here => |gradients| .collect(kernels, gradients, least, parts),
            .away => |away| away.collect(away.context, least),
        };
    }

    pub fn refuse(self: *const Source) abi.Failure {
        return switch (self.*) {
            .here => |gradients| finite.refuse(gradients),
            .away => |away| away.refuse(away.context),
        };
    }
};
