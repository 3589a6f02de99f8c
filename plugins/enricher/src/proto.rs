//! Names of IP protocols.

/// Keywords of the assigned Internet protocol numbers (IANA, "Protocol Numbers"; the description where there is no
/// keyword), by number. 0 is empty here: a 0 in `proto` means that the protocol is not known.
const ASSIGNED: &[&str] = &[
    "",
    "ICMP",
    "IGMP",
    "GGP",
    "IPv4",
    "ST",
    "TCP",
    "CBT",
    "EGP",
    "IGP",
    "BBN-RCC-MON",
    "NVP-II",
    "PUP",
    "ARGUS",
    "EMCON",
    "XNET",
    "CHAOS",
    "UDP",
    "MUX",
    "DCN-MEAS",
    "HMP",
    "PRM",
    "XNS-IDP",
    "TRUNK-1",
    "TRUNK-2",
    "LEAF-1",
    "LEAF-2",
    "RDP",
    "IRTP",
    "ISO-TP4",
    "NETBLT",
    "MFE-NSP",
    "MERIT-INP",
    "DCCP",
    "3PC",
    "IDPR",
    "XTP",
    "DDP",
    "IDPR-CMTP",
    "TP++",
    "IL",
    "IPv6",
    "SDRP",
    "IPv6-Route",
    "IPv6-Frag",
    "IDRP",
    "RSVP",
    "GRE",
    "DSR",
    "BNA",
    "ESP",
    "AH",
    "I-NLSP",
    "SWIPE",
    "NARP",
    "Min-IPv4",
    "TLSP",
    "SKIP",
    "IPv6-ICMP",
    "IPv6-NoNxt",
    "IPv6-Opts",
    "any host internal protocol",
    "CFTP",
    "any local network",
    "SAT-EXPAK",
    "KRYPTOLAN",
    "RVD",
    "IPPC",
    "any distributed file system",
    "SAT-MON",
    "VISA",
    "IPCV",
    "CPNX",
    "CPHB",
    "WSN",
    "PVP",
    "BR-SAT-MON",
    "SUN-ND",
    "WB-MON",
    "WB-EXPAK",
    "ISO-IP",
    "VMTP",
    "SECURE-VMTP",
    "VINES",
    "IPTM",
    "NSFNET-IGP",
    "DGP",
    "TCF",
    "EIGRP",
    "OSPFIGP",
    "Sprite-RPC",
    "LARP",
    "MTP",
    "AX.25",
    "IPIP",
    "MICP",
    "SCC-SP",
    "ETHERIP",
    "ENCAP",
    "any private encryption scheme",
    "GMTP",
    "IFMP",
    "PNNI",
    "PIM",
    "ARIS",
    "SCPS",
    "QNX",
    "A/N",
    "IPComp",
    "SNP",
    "Compaq-Peer",
    "IPX-in-IP",
    "VRRP",
    "PGM",
    "any 0-hop protocol",
    "L2TP",
    "DDX",
    "IATP",
    "STP",
    "SRP",
    "UTI",
    "SMP",
    "SM",
    "PTP",
    "ISIS over IPv4",
    "FIRE",
    "CRTP",
    "CRUDP",
    "SSCOPMCE",
    "IPLT",
    "SPS",
    "PIPE",
    "SCTP",
    "FC",
    "RSVP-E2E-IGNORE",
    "Mobility Header",
    "UDPLite",
    "MPLS-in-IP",
    "manet",
    "Shim6",
    "WESP",
    "ROHC",
    "Ethernet",
    "AGGFRAG",
    "NSH",
    "Homa",
    "BIT-EMU",
];

/// Numbers for experiments (RFC 3692).
const EXPERIMENTAL: [u8; 2] = [253, 254];

/// The name of a protocol, `""` for what is not assigned.
pub(crate) fn name(proto: u8) -> &'static str {
    if EXPERIMENTAL.contains(&proto) {
        return "experimental";
    }
    ASSIGNED.get(usize::from(proto)).copied().unwrap_or_default()
}

/// The dictionary of a batch: only the names that occur in it.
#[derive(Debug)]
pub(crate) struct Names {
    all: Vec<String>,
}

impl Default for Names {
    fn default() -> Names {
        Names { all: (0..=u8::MAX).map(|proto| name(proto).to_owned()).collect() }
    }
}

/// In place of a code: the batch has not had the protocol yet. No code has as many bits.
const UNSEEN: u32 = u32::MAX;

impl Names {
    /// Words and codes for a column of protocols.
    #[inline(never)]
    pub(crate) fn of(&self, protos: &[u8]) -> (Vec<String>, Vec<u32>) {
        let mut words = vec![String::new()];
        let mut known = [UNSEEN; 256];
        let mut learn = |proto: u8, known: &mut u32| {
            if *known == UNSEEN {
                let name = self.all.get(usize::from(proto)).filter(|name| !name.is_empty());
                *known = name.map_or(0, |name| {
                    words.push(name.clone());
                    words.len() as u32 - 1
                });
            }
            *known
        };
        let mut codes = Vec::with_capacity(protos.len());
        let (eights, rest) = protos.as_chunks::<8>();
        for protos in eights {
            let mut found = protos.map(|proto| known[usize::from(proto)]);
            // One question for all of them: hardly ever has one not been seen before.
            if found.iter().fold(0, |all, code| all | code) == UNSEEN {
                found = protos.map(|proto| learn(proto, &mut known[usize::from(proto)]));
            }
            codes.extend_from_slice(&found);
        }
        codes.extend(rest.iter().map(|proto| learn(*proto, &mut known[usize::from(*proto)])));
        (words, codes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_have_the_names_of_the_registry() {
        let numbers = [1, 6, 17, 41, 47, 50, 58, 89, 112, 115, 132, 136, 142, 146, 253];
        let names = numbers.map(name);
        let expected = [
            "ICMP",
            "TCP",
            "UDP",
            "IPv6",
            "GRE",
            "ESP",
            "IPv6-ICMP",
            "OSPFIGP",
            "VRRP",
            "L2TP",
            "SCTP",
            "UDPLite",
            "Ethernet",
            "BIT-EMU",
            "experimental",
        ];
        assert_eq!(names, expected);
        assert_eq!([0, 147, 252, 255].map(name), [""; 4]);
    }
}
