//! Counts rows from batch to batch, over restarts.

const std = @import("std");
const sluice = @import("sluice");

const State = extern struct { layout: u32, rows: u32 };

var state: State = undefined;
var wrong = false;

pub fn init(json: []const u8) !sluice.Manifest {
    const config = try sluice.parseConfig(json);
    state = .{ .layout = 1, .rows = 0 };
    if (config.get("layout")) |layout| state.layout = sluice.number(u32, layout) orelse 0;
    if (config.get("wrong")) |value| wrong = value.bool;
    return .{
        .name = "stateful",
        .version = "0.1.0",
        .reads = &.{sluice.columns.bytes.number},
        .stateful = true,
        .tick_ms = 1000,
    };
}

pub fn process() !void {
    state.rows += sluice.rows();
    sluice.gauge("rows", @floatFromInt(state.rows));
}

pub fn tick(now_ms: u64) !void {
    if (wrong) return sluice.fail("a tick that fails is logged", .{});
    sluice.log(.info, "tick after {d} rows at {d}", .{ state.rows, now_ms });
}

pub fn snapshot() ![]const u8 {
    return std.mem.asBytes(&state);
}

pub fn restore(data: []const u8) !bool {
    if (data.len != @sizeOf(State)) return false;
    const given = std.mem.bytesToValue(State, data[0..@sizeOf(State)]);
    if (given.layout != 1) return false;
    state = given;
    return true;
}

pub const panic = sluice.panic;

comptime {
    sluice.exportPlugin(@This());
}
