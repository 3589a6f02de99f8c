//! The one table of what a column's protobuf number is in each dialect.
//!
//! `docs/reference/dialects.md` is checked against it, and so are the `.proto` files.

#![allow(clippy::indexing_slicing, reason = "of constants, and by dialect, of which each has a place")]

use sluice_flow::{ColumnId, FIELDS, Width, col};

/// A numbering of the fields of a flow message. All are proto3, have the same numbers for most of
/// what an exporter sends (6, the source address; 9, bytes), and give a few numbers other meanings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// goflow2 v2 and v3, `flowpb.FlowMessage`, and what sluice adds to it: enrichments under the
    /// numbers of flowpipeline, its own columns from 10000. Times in nanoseconds.
    Goflow2,
    /// flowpipeline v2, `flowpb.EnrichedFlow`. goflow2's numbers, and times in seconds and milliseconds as well.
    Flowpipeline,
    /// What bwNetFlow's programs and flowpipeline's `legacy` mode use, `flowmessageenriched.FlowMessage`;
    /// up to 64 it is goflow v3. Times in seconds; enrichments from 1000.
    Bwnetflow,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Dialect; 3] = [Dialect::Goflow2, Dialect::Flowpipeline, Dialect::Bwnetflow];

    /// The name in TOML: `goflow2`, `flowpipeline` or `bwnetflow`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Goflow2 => "goflow2",
            Dialect::Flowpipeline => "flowpipeline",
            Dialect::Bwnetflow => "bwnetflow",
        }
    }

    /// The dialect called `name`.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Dialect> {
        Dialect::ALL.into_iter().find(|dialect| dialect.name() == name)
    }

    /// The fields of this dialect that are columns; of several for one column the first that a message has counts.
    pub(crate) fn fields(self) -> impl Iterator<Item = Mapped> {
        TABLE.iter().filter_map(move |row| {
            let number = row.numbers[self as usize];
            (number > 0).then_some(Mapped { number, column: row.column, form: row.form })
        })
    }
}

/// How messages follow one another in a value of Kafka or in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Any number of messages, each after its length as a varint: goflow2's `bin`, flowpipeline,
    /// ClickHouse's `Protobuf`.
    Delimited,
    /// One message and nothing else: goflow, bwNetFlow, ClickHouse's `ProtobufSingle`.
    Bare,
}

impl Framing {
    /// Both framings.
    pub const ALL: [Framing; 2] = [Framing::Delimited, Framing::Bare];

    /// The name in TOML: `delimited` or `bare`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Framing::Delimited => "delimited",
            Framing::Bare => "bare",
        }
    }

    /// The framing called `name`.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Framing> {
        Framing::ALL.into_iter().find(|framing| framing.name() == name)
    }
}

/// How the value of a column is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A varint; 0 is absent.
    Number(Width),
    /// A varint, the column minus one: 0 is "absent" in the column and "ingress" in the message.
    MinusOne,
    /// A varint, the column divided by so many: nanoseconds as milliseconds or seconds.
    Divided(u64),
    /// 4 or 16 bytes; this column and the next are the halves.
    Address,
    /// A string.
    Text,
    /// Packed varints.
    List,
}

/// One field of a dialect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapped {
    /// Its protobuf number.
    pub(crate) number: u32,
    /// The column; the high half of an address.
    pub(crate) column: ColumnId,
    pub(crate) form: Form,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) column: ColumnId,
    pub(crate) form: Form,
    /// By dialect, in the order of [`Dialect::ALL`]; 0 where it has none.
    pub(crate) numbers: [u32; 3],
}

/// Nanoseconds in a millisecond and in a second.
pub(crate) const MILLI: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000_000_000;

/// The form that follows from what the column holds.
const fn natural(column: ColumnId) -> Form {
    let mut at = 0;
    while at < FIELDS.len() {
        let field = &FIELDS[at];
        if field.number == column {
            return match field.width {
                Width::Text => Form::Text,
                Width::Lists => Form::List,
                width if is_high_half(field.name) => {
                    assert!(matches!(width, Width::U64), "halves have eight bytes");
                    Form::Address
                }
                width => Form::Number(width),
            };
        }
        at += 1;
    }
    panic!("the table names a column that does not exist")
}

const fn is_high_half(name: &str) -> bool {
    matches!(name.as_bytes(), [.., b'_', b'h', b'i'])
}

macro_rules! table {
    ($($column:ident $([$form:expr])? $goflow2:literal $flowpipeline:literal $bwnetflow:literal;)*) => {
        /// The table. Within a dialect all fields of a column are written, and the first of them that a
        /// message has is read: the more precise stands before the less precise.
        pub(crate) const TABLE: &[Row] = &[$(Row {
            column: col::$column,
            form: table!(@form $column $($form)?),
            numbers: [$goflow2, $flowpipeline, $bwnetflow],
        }),*];
    };
    (@form $column:ident) => { natural(col::$column) };
    (@form $column:ident $form:expr) => { $form };
}

table! {
    // What an exporter sends:         goflow2 flowpipeline bwnetflow
    FLOW_TYPE                                1     1     1;
    RECEIVED_NS                            110   110     0;
    RECEIVED_NS [Form::Divided(SECOND)]      0     2     2;
    FIRST_NS                               111   111     0;
    FIRST_NS [Form::Divided(MILLI)]          0    63     0;
    FIRST_NS [Form::Divided(SECOND)]         0  2538    38;
    LAST_NS                                112   112     0;
    LAST_NS [Form::Divided(MILLI)]           0    64     0;
    LAST_NS [Form::Divided(SECOND)]          0     5     5;
    SAMPLING_RATE                            3     3     3;
    SEQUENCE                                 4     4     4;
    OBSERVATION_DOMAIN                      70    70     0;
    OBSERVATION_POINT                       71    71     0;
    EXPORTER_ADDR_HI                        11    11    11;
    SRC_ADDR_HI                              6     6     6;
    DST_ADDR_HI                              7     7     7;
    NEXT_HOP_HI                             12    12    12;
    BGP_NEXT_HOP_HI                        100   100     0;
    BYTES                                    9     9     9;
    PACKETS                                 10    10    10;
    SRC_AS                                  14    14    14;
    DST_AS                                  15    15    15;
    NEXT_HOP_AS                             13    13    13;
    SRC_NET                                 16    16    16;
    DST_NET                                 17    17    17;
    IN_IF                                   18    18    18;
    OUT_IF                                  19    19    19;
    PROTO                                   20    20    20;
    SRC_PORT                                21    21    21;
    DST_PORT                                22    22    22;
    TOS                                     23    23    23;
    FORWARDING_STATUS                       24    24    24;
    TTL                                     25    25    25;
    TCP_FLAGS                               26    26    26;
    SRC_MAC                                 27    27    27;
    DST_MAC                                 28    28    28;
    VLAN_ID                                 29    29    29;
    ETYPE                                   30    30    30;
    ICMP_TYPE                               31    31    31;
    ICMP_CODE                               32    32    32;
    SRC_VLAN                                33    33    33;
    DST_VLAN                                34    34    34;
    FRAGMENT_ID                             35    35    35;
    FRAGMENT_OFFSET                         36    36    36;
    IPV6_FLOW_LABEL                         37    37    37;
    // 38 is the time of the first packet in bwnetflow.
    IP_FLAGS                                38    38     0;
    INGRESS_VRF                             39    39    39;
    INGRESS_VRF                              0  2539     0;
    EGRESS_VRF                              40    40    40;
    EGRESS_VRF                               0  2540     0;
    BIFLOW_DIRECTION                        41    41    41;
    FLOW_DIRECTION [Form::MinusOne]         42    42    42;
    // bwnetflow and flowpipeline also have the stack as fields 53 to 62, which no column holds.
    MPLS_LABELS                             81    81     0;
    MPLS_TTLS                               80    80     0;
    AS_PATH                                102   102  1171;
    BGP_COMMUNITIES                        101   101     0;
    LAYER_STACK                            103   103     0;
    LAYER_SIZES                            104   104     0;

    // What programs add. flowpipeline moved the numbers of bwnetflow by 1000, except for the countries.
    CUSTOMER_ID                           2000  2000  1000;
    NORMALIZED                            2002  2002  1002;
    SRC_IF_NAME                           2003  2003  1003;
    SRC_IF_DESC                           2004  2004  1004;
    SRC_IF_SPEED                          2005  2005  1005;
    DST_IF_NAME                           2006  2006  1006;
    DST_IF_DESC                           2007  2007  1007;
    DST_IF_SPEED                          2008  2008  1008;
    PROTO_NAME                            2009  2009  1009;
    REMOTE_COUNTRY                        2010  2010  1010;
    REMOTE_SIDE                           2011  2011  1011;
    SRC_CUSTOMER_ID                       2012  2012  1012;
    DST_CUSTOMER_ID                       2013  2013  1013;
    SRC_COUNTRY                           1000  1000  1014;
    SRC_COUNTRY                              0  2014     0;
    DST_COUNTRY                           1001  1001  1015;
    DST_COUNTRY                              0  2015     0;
    NOTE                                  2016  2016  1016;
    SRC_ADDR_ANON                         2160  2160  1160;
    DST_ADDR_ANON                         2161  2161  1161;
    SRC_ADDR_PRESERVED                    2162  2162  1162;
    DST_ADDR_PRESERVED                    2163  2163  1163;
    EXPORTER_ADDR_ANON                    2164  2164  1164;
    EXPORTER_ADDR_PRESERVED               2165  2165  1165;
    NEXT_HOP_ANON                         2166  2166     0;
    NEXT_HOP_PRESERVED                    2167  2167     0;
    SRC_AS_NAME                           2183  2183  1183;
    DST_AS_NAME                           2184  2184  1184;

    // sluice's own, which no dialect has another meaning for.
    SAMPLER_ID                           10000 10000 10000;
    NAT_SRC_ADDR_HI                      10010 10010 10010;
    NAT_DST_ADDR_HI                      10011 10011 10011;
    NAT_SRC_PORT                         10012 10012 10012;
    NAT_DST_PORT                         10013 10013 10013;
    NAT_EVENT                            10014 10014 10014;
    FIREWALL_EVENT                       10015 10015 10015;
    FLOW_END_REASON                      10016 10016 10016;
    DIRECTION                            10020 10020 10020;
    SCALED_BYTES                         10021 10021 10021;
    SCALED_PACKETS                       10022 10022 10022;
    BGP_NEXT_HOP_ANON                    10030 10030 10030;
    BGP_NEXT_HOP_PRESERVED               10031 10031 10031;
    NAT_SRC_ADDR_ANON                    10032 10032 10032;
    NAT_SRC_ADDR_PRESERVED               10033 10033 10033;
    NAT_DST_ADDR_ANON                    10034 10034 10034;
    NAT_DST_ADDR_PRESERVED               10035 10035 10035;
}
