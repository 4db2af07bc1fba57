//! Tokens in flight: while the host takes a chosen token, the device is already at the next one, because
//! the choice itself never leaves it.
//!
//!     device   [ token n ][ token n + 1 ][ token n + 2 ]
//!     host       ask n, n + 1   take n, ask n + 2   take n + 1 ...
//!
//! A token that was begun and then is not asked for (the text ends, or goes on otherwise) has written
//! keys and values behind the end of the sequence, where the next token's come anyway.

const std = @import("std");
const abi = @import("../abi.zig");
const backend = @import("backend.zig");
const driver = @import("driver.zig");
const kernels = @import("model_kernels.zig");

pub const Flight = struct {
    device: *backend.Device,
    /// Pinned memory: the answers of two tokens, in turn.
    answers: *[2]kernels.Choice,
    landed: [2]driver.Event,
    next: u1 = 0,
    /// The position of a token that was begun and not asked for yet, and its stream.
    begun: ?Begun = null,

    const Begun = struct { position: u64, stream: *backend.Stream };

    pub fn create(device: *backend.Device) abi.Failure!Flight {
        var memory: ?*anyopaque = null;
        try device.check(device.driver.cuMemHostAlloc(&memory, @sizeOf([2]kernels.Choice), 0), "allocate pinned memory");
        errdefer _ = device.driver.cuMemFreeHost(memory.?);
        var landed: [2]driver.Event = undefined;
        try device.check(device.driver.cuEventCreate(&landed[0], driver.event_disable_timing), "create an event");
        errdefer _ = device.driver.cuEventDestroy_v2(landed[0]);
        try device.check(device.driver.cuEventCreate(&landed[1], driver.event_disable_timing), "create an event");
        return .{ .device = device, .answers = @ptrCast(@alignCast(memory.?)), .landed = landed };
    }

    /// Waits for what is in flight, which writes to the pinned memory.
    pub fn destroy(self: *Flight) void {
        const cuda = self.device.driver;
        _ = cuda.cuCtxSetCurrent(self.device.context);
        for (self.landed) |event| {
            _ = cuda.cuEventSynchronize(event);
            _ = cuda.cuEventDestroy_v2(event);
        }
        _ = cuda.cuMemFreeHost(self.answers);
    }

    /// Asks for the choice that the stream's work so far makes; gives the place of the answer.
    pub fn ask(self: *Flight, stream: *backend.Stream, choice: driver.Pointer) abi.Failure!u1 {
        const place = self.next;
        const cuda = self.device.driver;
        try self.device.check(cuda.cuMemcpyDtoHAsync_v2(&self.answers[place], choice, @sizeOf(kernels.Choice), stream.handle), "copy to the host");
        try self.device.check(cuda.cuEventRecord(self.landed[place], stream.handle), "record an event");
        self.next ^= 1;
        return place;
    }

    pub fn take(self: *const Flight, place: u1) abi.Failure!kernels.Choice {
        try self.device.check(self.device.driver.cuEventSynchronize(self.landed[place]), "finish its work");
        return self.answers[place];
    }
};
