//! Keeps TCP flows to port 443 of more than `min_bytes` bytes, and writes the customer into them.

const std = @import("std");
const sluice = @import("sluice");
const columns = sluice.columns;

var customer_id: u32 = 0;
var min_bytes: u64 = 0;

pub fn init(json: []const u8) !sluice.Manifest {
    const config = try sluice.parseConfig(json);
    customer_id = 0;
    min_bytes = 10_000;
    for (config.keys(), config.values()) |key, value| {
        if (std.mem.eql(u8, key, "customer_id")) {
            customer_id = sluice.number(u32, value) orelse 0;
            if (customer_id == 0) return sluice.fail("customer_id must be a number from 1 to 4294967295", .{});
        } else if (std.mem.eql(u8, key, "min_bytes")) {
            min_bytes = sluice.number(u64, value) orelse return sluice.fail("min_bytes must be a number, 0 or more", .{});
        } else {
            return sluice.fail("unknown key `{s}`, expected `customer_id` or `min_bytes`", .{key});
        }
    }
    if (customer_id == 0) return sluice.fail("customer_id is missing: add config = {{ customer_id = 7 }} to the stage", .{});

    return .{
        .name = "tenant-filter",
        .version = "0.1.0",
        .reads = &.{ columns.proto.number, columns.dst_port.number, columns.bytes.number },
        .writes = &.{columns.customer_id.number},
    };
}

pub fn process() !void {
    const all_proto = try sluice.read(columns.proto);
    const all_dst_port = try sluice.read(columns.dst_port);
    const all_bytes = try sluice.read(columns.bytes);
    const keep = try sluice.zeros(bool);
    const customer = try sluice.zeros(u32);

    // Rows that are dropped get the customer too: it is less work than to leave them out.
    @memset(customer, customer_id);
    choose(keep, all_proto, all_dst_port, all_bytes, min_bytes);
    sluice.count("kept", try sluice.keep(keep));
    try sluice.write(columns.customer_id, customer);
}

/// Which rows to keep. A function of its own, and eight rows a turn: a turn has a check for the deadline, and in a long
/// function the variables of a loop do not stay in registers.
noinline fn choose(keep: []bool, proto: []const u8, dst_port: []const u16, bytes: []const u64, min: u64) void {
    var row: usize = 0;
    while (row + 8 <= keep.len) : (row += 8) {
        const eight = .{ proto[row..][0..8], dst_port[row..][0..8], bytes[row..][0..8] };
        inline for (keep[row..][0..8], eight[0], eight[1], eight[2]) |*stays, p, port, b| stays.* = stay(p, port, b, min);
    }
    for (keep[row..], proto[row..], dst_port[row..], bytes[row..]) |*stays, p, port, b| stays.* = stay(p, port, b, min);
}

/// `&`, not `and`: a branch that cannot be foreseen costs more than a comparison.
inline fn stay(proto: u8, dst_port: u16, bytes: u64, min: u64) bool {
    return (proto == 6) & (dst_port == 443) & (bytes > min);
}

pub const panic = sluice.panic;

comptime {
    sluice.exportPlugin(@This());
}
