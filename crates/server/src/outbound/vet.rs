//! Which addresses Hilum connects to: public unicast ones, and private ones for hosts that configuration names (NEG-140).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far a host name is trusted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trust {
    /// Any host: public unicast addresses only.
    Public,
    /// A host named in `outbound.allow_private`: private and loopback addresses too.
    Private,
}

/// Whether a connection to `address` is allowed for a host of this trust.
///
/// Link-local, multicast, unspecified and IPv4-in-IPv6 forms are refused for every host: no server stands there, and cloud
/// metadata services do.
#[must_use]
pub fn allowed(address: IpAddr, trust: Trust) -> bool {
    match (address, trust) {
        (IpAddr::V4(v4), Trust::Public) => public_v4(v4),
        (IpAddr::V6(v6), Trust::Public) => public_v6(v6),
        (IpAddr::V4(v4), Trust::Private) => public_v4(v4) || v4.is_loopback() || v4.is_private() || shared_v4(v4),
        (IpAddr::V6(v6), Trust::Private) => public_v6(v6) || v6.is_loopback() || v6.is_unique_local(),
    }
}

/// 100.64.0.0/10 (RFC 6598).
fn shared_v4(v4: Ipv4Addr) -> bool {
    matches!(v4.octets(), [100, second, ..] if (64..128).contains(&second))
}

/// Globally reachable by the IANA special-purpose registry (RFC 6890).
fn public_v4(v4: Ipv4Addr) -> bool {
    let special = match v4.octets() {
        [0 | 10 | 127 | 224..=255, ..] => true,
        [169, 254, ..] | [192, 168, ..] | [192, 0, 0 | 2, _] | [192, 88, 99, _] => true,
        [172, second, ..] => (16..32).contains(&second),
        [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => true,
        _ => shared_v4(v4),
    };
    !special
}

/// 2000::/3 without the parts that embed IPv4 or are reserved: mapped, NAT64, ULA and link-local lie outside of it already.
fn public_v6(v6: Ipv6Addr) -> bool {
    let [first, second, ..] = v6.segments();
    let global = first & 0xe000 == 0x2000;
    // 2001::/23 (Teredo, ORCHID …), 2001:db8::/32, 2002::/16 (6to4), 3fff::/20 (documentation).
    let special = (first == 0x2001 && (second < 0x0200 || second == 0x0db8))
        || first == 0x2002
        || (first == 0x3fff && second < 0x1000);
    global && !special
}

#[test]
fn neg_140_addresses_are_judged() {
    for (text, public, private) in [
        ("93.184.216.34", true, true),
        ("127.0.0.1", false, true),
        ("127.9.9.9", false, true),
        ("10.0.0.1", false, true),
        ("172.16.0.1", false, true),
        ("172.32.0.1", true, true),
        ("192.168.1.1", false, true),
        ("100.64.0.1", false, true),
        ("100.128.0.1", true, true),
        ("169.254.169.254", false, false),
        ("0.0.0.0", false, false),
        ("0.1.2.3", false, false),
        ("198.18.0.1", false, false),
        ("192.0.2.1", false, false),
        ("224.0.0.1", false, false),
        ("255.255.255.255", false, false),
        ("2606:2800:220:1::1", true, true),
        ("::1", false, true),
        ("::", false, false),
        ("fd00::1", false, true),
        ("fe80::1", false, false),
        ("ff02::1", false, false),
        ("::ffff:10.0.0.1", false, false),
        ("::ffff:93.184.216.34", false, false),
        ("64:ff9b::a00:1", false, false),
        ("64:ff9b:1::1", false, false),
        ("2002:a00:1::", false, false),
        ("2001::1", false, false),
        ("2001:db8::1", false, false),
    ] {
        let address: IpAddr = text.parse().unwrap();
        assert_eq!(allowed(address, Trust::Public), public, "public {text}");
        assert_eq!(allowed(address, Trust::Private), private, "private {text}");
    }
}
