//! The contract of wit/ as the canonical ABI spells it: imports, and the layout of what crosses. Used by sluice.zig.

const nothing: u64 = 0;

/// Where `items` begin. Nothing has an address within memory too: the collector looks at it.
pub fn at(comptime T: type, items: []const T) [*]const T {
    return if (items.len == 0) @ptrCast(&nothing) else items.ptr;
}

/// A list or text: where it is and how many.
pub const List = extern struct {
    ptr: usize,
    len: usize,

    pub fn of(comptime T: type, items: []const T) List {
        return .{ .ptr = @intFromPtr(at(T, items)), .len = items.len };
    }

    pub fn slice(list: List, comptime T: type) []T {
        return if (list.len == 0) &.{} else @as([*]T, @ptrFromInt(list.ptr))[0..list.len];
    }
};

pub const Pair = extern struct { first: List, second: List };
pub const OptionColumn = extern struct { is_some: u8, value: u16 };
pub const OptionText = extern struct { is_some: u8, value: List };

pub const Denied = extern struct {
    tag: enum(u8) { no_batch, not_granted, wrong_width, absent, wrong_length, out_of_range, _ },
    detail: u32,
};

/// `result<T, denied>`
pub fn Result(comptime T: type) type {
    return extern struct {
        is_error: u8,
        value: extern union { ok: if (T == void) u8 else T, denied: Denied },
    };
}

/// `result<table, string>`
pub const Opened = extern struct { is_error: u8, value: extern union { handle: i32, message: List } };

/// `result<manifest, string>`
pub const InitResult = extern struct {
    is_error: u8,
    value: extern union { manifest: Manifest, message: List },
};

pub const Manifest = extern struct {
    name: List,
    version: List,
    reads: List,
    writes: List,
    stateful: u8,
    has_tick_ms: u8 align(4),
    tick_ms: u32,
};

/// `result<_, failure>`
pub const ProcessResult = extern struct {
    is_error: u8,
    failure: enum(u8) { retry_later, fatal } align(4),
    message: List,
};

/// `result<bool, string>`
pub const RestoreResult = extern struct { is_error: u8, value: extern union { understood: u8, message: List } };

pub const Level = enum(u32) { @"error", warn, info, debug };

/// The name of an export: `sluice:plugin/stage@0.1.0#init`.
pub fn exported(comptime interface: []const u8, comptime name: []const u8) []const u8 {
    return "sluice:plugin/" ++ interface ++ "@0.1.0#" ++ name;
}

fn import(comptime T: type, comptime interface: []const u8, comptime name: []const u8) *const T {
    return @extern(*const T, .{ .name = name, .library_name = "sluice:plugin/" ++ interface ++ "@0.1.0" });
}

// Each is imported by a plugin that calls it, and by no other.

const Any = *anyopaque;

pub const rows = import(fn () callconv(.c) u32, "batch", "rows");
pub const nowMs = import(fn () callconv(.c) u64, "batch", "now-ms");
pub const has = import(fn (u16) callconv(.c) u32, "batch", "has");
pub const columnOf = import(fn ([*]const u8, usize, *OptionColumn) callconv(.c) void, "batch", "column-of");
pub const texts = import(fn (u16, Any) callconv(.c) void, "batch", "texts");
pub const lists = import(fn (u16, Any) callconv(.c) void, "batch", "u32-lists");
pub const setTexts = import(fn (u16, [*]const List, usize, [*]const u32, usize, Any) callconv(.c) void, "batch", "set-texts");
pub const setLists = import(fn (u16, [*]const u32, usize, [*]const u32, usize, Any) callconv(.c) void, "batch", "set-u32-lists");
pub const clear = import(fn (u16, Any) callconv(.c) void, "batch", "clear");
pub const keep = import(fn ([*]const u32, usize, Any) callconv(.c) void, "batch", "keep");
pub const route = import(fn ([*]const List, usize, [*]const u16, usize, Any) callconv(.c) void, "batch", "route");
pub const log = import(fn (Level, [*]const u8, usize) callconv(.c) void, "log", "log");
pub const count = import(fn ([*]const u8, usize, u32) callconv(.c) void, "metrics", "count");
pub const gauge = import(fn ([*]const u8, usize, f64) callconv(.c) void, "metrics", "gauge");
pub const emit = import(
    fn ([*]const u8, usize, u8, [*]const u8, usize, f64, f64, [*]const u8, usize) callconv(.c) void,
    "events",
    "emit",
);
pub const openTable = import(fn ([*]const u8, usize, *Opened) callconv(.c) void, "tables", "open");
pub const lookupColumns = import(fn (i32, u16, u16, Any) callconv(.c) void, "tables", "[method]table.lookup-columns");
pub const lookupInto = import(
    fn (i32, u16, u16, u16, u32, [*]const u32, usize, u32, Any) callconv(.c) void,
    "tables",
    "[method]table.lookup-into",
);
pub const tableValue = import(fn (i32, u32, *OptionText) callconv(.c) void, "tables", "[method]table.value");
pub const tableGeneration = import(fn (i32) callconv(.c) u64, "tables", "[method]table.generation");

/// `batch.u16s` for `u16`, and so on.
pub fn get(comptime T: type) *const fn (u16, Any) callconv(.c) void {
    return import(fn (u16, Any) callconv(.c) void, "batch", @typeName(T) ++ "s");
}

/// `batch.set-u16s` for `u16`, and so on.
pub fn set(comptime T: type) *const fn (u16, [*]const T, usize, Any) callconv(.c) void {
    return import(fn (u16, [*]const T, usize, Any) callconv(.c) void, "batch", "set-" ++ @typeName(T) ++ "s");
}
