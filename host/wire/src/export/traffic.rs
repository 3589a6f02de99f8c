//! Made-up traffic at the border of a network with customers: mostly web, some mail, names and time,
//! some IPv6, a heavy tail of large flows; and, if asked for, an attack on one address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Flow;

/// Interface to the rest of the world: odd flows use the first, even ones the second.
const UPLINKS: [u32; 2] = [1, 2];

/// Interface of the first customer; the next customers follow.
const FIRST_CUSTOMER_IF: u32 = 101;

/// AS of the network itself (RFC 5398 sets it aside for documentation).
const OWN_AS: u32 = 64496;

/// Hosts of a customer that have most of the traffic.
const BUSY_HOSTS: u64 = 16;

/// An attack: many sources, one victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attack {
    /// Begin, in milliseconds since the Unix epoch.
    pub from_ms: u64,
    /// End, in milliseconds since the Unix epoch.
    pub to_ms: u64,
    /// The address that is attacked.
    pub victim: IpAddr,
    /// What it is attacked with.
    pub flood: Flood,
    /// How many of 100 flows belong to the attack while it lasts.
    pub percent: u8,
}

/// What an attack consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// Large answers of open name servers to questions nobody asked: UDP from port 53.
    UdpReflection,
    /// TCP connections that are never completed: small packets to port 443 with only SYN set.
    TcpSyn,
}

/// What the traffic is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficSettings {
    /// Where the randomness starts: equal seeds make equal flows.
    pub seed: u64,
    /// Prefixes of customers, each an interface of its own: address and length. None: no traffic.
    pub customers: Vec<(IpAddr, u8)>,
    /// Prefixes of the rest of the world, each an AS of its own.
    pub remotes: Vec<(IpAddr, u8)>,
    /// N of "1 in N packets": flows have the packets that are left after sampling, at least one.
    pub sampling_rate: u32,
    /// An attack, if any.
    pub attack: Option<Attack>,
}

impl Default for TrafficSettings {
    /// Six customers in the prefixes for documentation (RFC 5737, RFC 3849), the rest of the world in
    /// those for benchmarks (RFC 2544, RFC 5180) in eight parts; no sampling and no attack.
    fn default() -> TrafficSettings {
        let v4 = |a, b, c, bits| (IpAddr::V4(Ipv4Addr::new(a, b, c, 0)), bits);
        let v6 = |a, b, c, bits| (IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)), bits);
        let mut remotes: Vec<_> = (0..8).map(|part: u8| v4(198, 18 + part / 4, part % 4 * 64, 18)).collect();
        remotes.extend((0..4).map(|part| v6(0x2001, 2, part, 48)));
        TrafficSettings {
            seed: 1,
            customers: vec![
                v4(192, 0, 2, 25),
                (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 128)), 25),
                v4(198, 51, 100, 24),
                v4(203, 0, 113, 24),
                v6(0x2001, 0xdb8, 1, 48),
                v6(0x2001, 0xdb8, 2, 48),
            ],
            remotes,
            sampling_rate: 1,
            attack: None,
        }
    }
}

/// Makes flows, one after another.
#[derive(Clone, Debug)]
pub struct Traffic {
    settings: TrafficSettings,
    random: Random,
    /// Indices of customers and remotes by family: IPv4, IPv6.
    customers: [Vec<usize>; 2],
    remotes: [Vec<usize>; 2],
}

/// A service that is used: what share of 100 flows it has, protocol, port and bytes a packet.
struct Service {
    percent: u64,
    proto: u8,
    port: u16,
    packet_bytes: u64,
    /// Packets of a flow are spread up to two to the power of this, small ones most often.
    packets_log2: u64,
}

const fn service(percent: u64, proto: u8, port: u16, packet_bytes: u64, packets_log2: u64) -> Service {
    Service { percent, proto, port, packet_bytes, packets_log2 }
}

/// The mix, summing up to 100. The last one takes what is left.
const SERVICES: &[Service] = &[
    service(46, 6, 443, 1200, 14),
    service(18, 17, 443, 1250, 14),
    service(9, 6, 80, 1000, 12),
    service(11, 17, 53, 120, 2),
    service(4, 6, 25, 700, 9),
    service(3, 6, 22, 180, 10),
    service(3, 17, 123, 76, 1),
    service(2, 6, 993, 600, 9),
    service(2, 1, 0, 84, 4),
    service(2, 17, 51820, 1100, 13),
];

impl Traffic {
    /// Traffic as described.
    #[must_use]
    pub fn new(settings: TrafficSettings) -> Traffic {
        let by_family = |prefixes: &[(IpAddr, u8)]| {
            [true, false].map(|is_ipv4| {
                let of_family = prefixes.iter().enumerate().filter(|(_, (addr, _))| addr.is_ipv4() == is_ipv4);
                of_family.map(|(index, _)| index).collect()
            })
        };
        let (customers, remotes) = (by_family(&settings.customers), by_family(&settings.remotes));
        let random = Random(settings.seed);
        Traffic { settings, random, customers, remotes }
    }

    /// Replaces `flows` by the next `count` flows, which end about `now_ms` (milliseconds since the Unix
    /// epoch). With no customer or no remote prefix of either family there are none.
    pub fn fill(&mut self, now_ms: u64, count: usize, flows: &mut Vec<Flow>) {
        flows.clear();
        for _ in 0..count {
            let Some(flow) = self.flow(now_ms) else { break };
            flows.push(flow);
        }
    }

    /// The next flow.
    fn flow(&mut self, now_ms: u64) -> Option<Flow> {
        let attack = self.settings.attack.filter(|attack| (attack.from_ms..attack.to_ms).contains(&now_ms));
        if let Some(attack) = attack
            && self.random.below(100) < u64::from(attack.percent)
            && let Some(flow) = self.attack(&attack, now_ms)
        {
            return Some(flow);
        }
        // One flow of six is IPv6, if both families are there.
        let preferred = usize::from(self.random.below(6) == 0);
        let usable = |family: &usize| !self.customers[*family].is_empty() && !self.remotes[*family].is_empty();
        let family = Some(preferred).filter(usable).or(Some(1 - preferred).filter(usable))?;
        let customer = self.random.skewed_of(&self.customers[family])?;
        let remote = self.random.skewed_of(&self.remotes[family])?;
        let is_busy = self.random.below(4) > 0;
        let local_addr = self.host(self.settings.customers[customer], is_busy);
        let remote_addr = self.host(self.settings.remotes[remote], false);
        let (local, remote) = ((customer, local_addr), (remote, remote_addr));
        Some(self.conversation(local, remote, now_ms))
    }

    /// One direction of something ordinary between a customer's host and another.
    fn conversation(&mut self, local: (usize, IpAddr), remote: (usize, IpAddr), now_ms: u64) -> Flow {
        let service = self.service();
        let (proto, port) = match (service.proto, remote.1) {
            (1, IpAddr::V6(_)) => (58, 0),
            (proto, _) => (proto, service.port),
        };
        // Customers are mostly clients, and most bytes come in.
        let is_inbound = self.random.below(5) < 3;
        let is_local_server = self.random.below(5) == 0;
        let ephemeral = if port == 0 { 0 } else { 32_768 + self.random.below(28_232) as u16 };
        let (local_port, remote_port) = if is_local_server { (port, ephemeral) } else { (ephemeral, port) };
        let is_data = is_inbound != is_local_server;
        let packets = 1 + self.random.tail(service.packets_log2);
        let packet_bytes = if is_data { service.packet_bytes } else { service.packet_bytes.min(72) };
        let mut flow = self.between(local, remote, is_inbound, now_ms);
        flow.proto = proto;
        (flow.src_port, flow.dst_port) = if is_inbound { (remote_port, local_port) } else { (local_port, remote_port) };
        match proto {
            6 => flow.tcp_flags = if packets > 2 { 0x1b } else { 0x12 },
            1 => flow.icmp_type = if is_data { 0 } else { 8 },
            58 => flow.icmp_type = if is_data { 129 } else { 128 },
            _ => {}
        }
        flow.packets = packets;
        flow.bytes = packets * (packet_bytes + self.random.below(packet_bytes / 4));
        self.sampled(flow)
    }

    /// One of the many flows of an attack; none if no remote prefix has the victim's family.
    fn attack(&mut self, attack: &Attack, now_ms: u64) -> Option<Flow> {
        let family = usize::from(attack.victim.is_ipv6());
        let remote = *self.random.pick(&self.remotes[family])?;
        let source = self.host(self.settings.remotes[remote], false);
        let customers = &self.settings.customers;
        let customer = customers.iter().position(|prefix| contains(*prefix, attack.victim)).unwrap_or(0);
        let mut flow = self.between((customer, attack.victim), (remote, source), true, now_ms);
        let packet_bytes;
        match attack.flood {
            Flood::UdpReflection => {
                (flow.proto, flow.src_port, packet_bytes) = (17, 53, 1400);
                flow.dst_port = 1024 + self.random.below(64_512) as u16;
            }
            Flood::TcpSyn => {
                (flow.proto, flow.tcp_flags, flow.dst_port, packet_bytes) = (6, 2, 443, 60);
                flow.src_port = 1024 + self.random.below(64_512) as u16;
            }
        }
        flow.packets = 200 + self.random.below(400);
        flow.bytes = flow.packets * packet_bytes;
        Some(self.sampled(flow))
    }

    /// What is the same for everything between two places.
    fn between(&mut self, local: (usize, IpAddr), remote: (usize, IpAddr), is_inbound: bool, now_ms: u64) -> Flow {
        let uplink = UPLINKS[remote.0 % UPLINKS.len()];
        let customer_if = FIRST_CUSTOMER_IF + local.0 as u32;
        let remote_as = OWN_AS + 1 + remote.0 as u32 % 14;
        let bits = |prefixes: &[(IpAddr, u8)], index: usize| prefixes.get(index).map_or(0, |(_, bits)| *bits);
        let local_net = bits(&self.settings.customers, local.0);
        let remote_net = bits(&self.settings.remotes, remote.0);
        let last_ms = now_ms.saturating_sub(self.random.below(1000));
        let ends = if is_inbound { (remote, local) } else { (local, remote) };
        let mut flow = Flow {
            src_addr: ends.0.1,
            dst_addr: ends.1.1,
            next_hop: Some(router(is_inbound, local.1.is_ipv4())),
            first_ms: last_ms.saturating_sub(self.random.tail(16)),
            last_ms,
            vlan_id: if is_inbound { 0 } else { 100 + local.0 as u16 },
            direction: u8::from(!is_inbound),
            ..Flow::default()
        };
        (flow.in_if, flow.out_if) = if is_inbound { (uplink, customer_if) } else { (customer_if, uplink) };
        (flow.src_as, flow.dst_as) = if is_inbound { (remote_as, OWN_AS) } else { (OWN_AS, remote_as) };
        (flow.src_net, flow.dst_net) = if is_inbound { (remote_net, local_net) } else { (local_net, remote_net) };
        flow
    }

    /// What is left of a flow after sampling: at least one packet, as it would not be there otherwise.
    fn sampled(&mut self, mut flow: Flow) -> Flow {
        let rate = u64::from(self.settings.sampling_rate.max(1));
        let packet_bytes = flow.bytes / flow.packets.max(1);
        flow.packets = ((flow.packets + self.random.below(rate)) / rate).max(1);
        flow.bytes = if rate == 1 { flow.bytes } else { flow.packets * packet_bytes };
        flow
    }

    fn service(&mut self) -> &'static Service {
        let mut share = self.random.below(100);
        for service in SERVICES {
            match share.checked_sub(service.percent) {
                None => return service,
                Some(left) => share = left,
            }
        }
        SERVICES.last().expect("there are services")
    }

    /// A host of a prefix: one of the busy ones or any.
    fn host(&mut self, (network, bits): (IpAddr, u8), is_busy: bool) -> IpAddr {
        let wanted = if is_busy { 1 + self.random.below(BUSY_HOSTS) } else { self.random.next() };
        match network {
            IpAddr::V4(addr) => {
                let free = u32::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits((addr.to_bits() & !free) | (wanted as u32 & free)))
            }
            IpAddr::V6(addr) => {
                let free = u128::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits((addr.to_bits() & !free) | (u128::from(wanted) & free)))
            }
        }
    }
}

fn contains((network, bits): (IpAddr, u8), addr: IpAddr) -> bool {
    match (network, addr) {
        (IpAddr::V4(network), IpAddr::V4(addr)) => {
            (network.to_bits() ^ addr.to_bits()).leading_zeros() >= u32::from(bits)
        }
        (IpAddr::V6(network), IpAddr::V6(addr)) => {
            (network.to_bits() ^ addr.to_bits()).leading_zeros() >= u32::from(bits)
        }
        _ => false,
    }
}

/// The next hop: a router of the network itself, or one of the rest of the world.
fn router(is_inbound: bool, is_ipv4: bool) -> IpAddr {
    let host = if is_inbound { 1 } else { 2 };
    if is_ipv4 {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, host))
    } else {
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, u16::from(host)))
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast, and good enough for traffic.
#[derive(Clone, Copy, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A number below `end`, which is small; 0 if `end` is 0.
    fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// A number from 0 to about two to the power of `log2`, evenly spread over the orders of magnitude and so
    /// with a heavy tail.
    fn tail(&mut self, log2: u64) -> u64 {
        let scale = self.below(log2 + 1);
        self.below(1 << scale)
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len() as u64) as usize)
    }

    /// One of `of`, the first ones more often.
    fn skewed_of(&mut self, of: &[usize]) -> Option<usize> {
        let end = 1 + self.below(of.len() as u64);
        of.get(self.below(end) as usize).copied()
    }
}
