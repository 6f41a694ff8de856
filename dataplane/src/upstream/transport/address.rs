//! The kinds of IP addresses, as far as a server can be abused to reach them. Ranges: the IANA special-purpose address
//! registries (RFC 6890 and successors).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kind of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Anybody's on the internet.
    Public,
    /// This machine's.
    Loopback,
    /// The organisation's: RFC 1918, unique local.
    Private,
    /// An address of the same link; clouds keep their metadata there.
    LinkLocal,
    /// The provider's: carrier-grade NAT.
    Shared,
    /// Nobody's to connect to: unspecified, multicast, reserved, documentation.
    Special,
}

impl Reach {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => v4(address),
            IpAddr::V6(address) => v6(address),
        }
    }
}

const fn v4(address: Ipv4Addr) -> Reach {
    match address.octets() {
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Reach::Private,
        [127, ..] => Reach::Loopback,
        [169, 254, ..] => Reach::LinkLocal,
        [100, 64..=127, ..] => Reach::Shared,
        [0, ..]
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [224..=255, ..] => Reach::Special,
        _ => Reach::Public,
    }
}

fn v6(address: Ipv6Addr) -> Reach {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return v4(mapped);
    }
    let embedded = |high: u16, low: u16| v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Reach::Loopback,
        // Translated to IPv4 on the way: NAT64, 6to4.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => embedded(high, low),
        [0x64, 0xff9b, 1, ..] | [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => Reach::Private,
        [0xfe80..=0xfebf, ..] => Reach::LinkLocal,
        // Teredo and other protocol assignments, documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Reach::Special,
        [0x2000..=0x3fff, ..] => Reach::Public,
        _ => Reach::Special,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart() {
        for (reach, addresses) in [
            (
                Reach::Public,
                "1.1.1.1 100.63.0.1 100.128.0.1 172.15.0.1 172.32.0.1 192.167.1.1 2606:4700::1 ::ffff:8.8.8.8",
            ),
            (Reach::Loopback, "127.0.0.1 127.255.0.9 ::1 ::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1::"),
            (Reach::Private, "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 fc00::1 fd12::1 fec0::1 ::ffff:10.0.0.1"),
            (Reach::LinkLocal, "169.254.169.254 fe80::1 ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe"),
            (Reach::Shared, "100.64.0.1 100.127.255.255"),
            (Reach::Special, "0.0.0.0 0.1.2.3 224.0.0.1 240.0.0.1 255.255.255.255 192.0.2.1 198.18.0.1 :: ff02::1"),
            (Reach::Special, "::127.0.0.1 2001::1 2001:db8::1 100::1"),
        ] {
            for address in addresses.split(' ') {
                assert_eq!(Reach::of(address.parse().unwrap()), reach, "{address}");
            }
        }
    }
}
