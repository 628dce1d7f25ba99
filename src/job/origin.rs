//! Origins: where a job may send HTTP requests. A scheme, a host and a port, as users write them: `https://api.example.com`,
//! `http://127.0.0.1:8080`, `https://*.example.com`.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::is_public;

/// What a request is allowed by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin {
    pub scheme: Scheme,
    pub host: OriginHost,
    /// The scheme's own, where none was written.
    pub port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    Http,
    Https,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OriginHost {
    /// This name, or this address.
    Exactly(Host),
    /// Every name below this one, at any depth, but not itself.
    Below(String),
}

/// In lower case; never an address in disguise.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    Name(String),
    /// Never one of IPv4 in the clothes of IPv6.
    Address(IpAddr),
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub scheme: Scheme,
    pub host: Host,
    pub port: u16,
}

/// Why a text is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{typed:?} is no origin: {why}")]
pub struct OriginError {
    pub typed: String,
    pub why: &'static str,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    fn split(text: &str) -> Result<(Self, &str), &'static str> {
        [Self::Http, Self::Https]
            .into_iter()
            .find_map(|scheme| Some((scheme, text.strip_prefix(scheme.as_str())?.strip_prefix("://")?)))
            .ok_or("it begins with http:// or https://")
    }
}

impl Origin {
    /// Whether requests to `target` are allowed by this.
    pub fn allows(&self, target: &Target) -> bool {
        let host = match (&self.host, &target.host) {
            (OriginHost::Exactly(host), asked) => host == asked,
            (OriginHost::Below(domain), Host::Name(name)) => name.strip_suffix(&**domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            (OriginHost::Below(_), Host::Address(_)) => false,
        };
        host && self.scheme == target.scheme && self.port == target.port
    }

    /// Whether it names an address that is not on the public internet.
    pub fn is_private(&self) -> bool {
        match &self.host {
            OriginHost::Exactly(Host::Address(named)) => !is_public(*named),
            OriginHost::Exactly(Host::Name(name)) => name == "localhost",
            OriginHost::Below(_) => false,
        }
    }

    /// Whether it names this very address; the name `localhost` stands for the machine's own.
    pub fn names(&self, scheme: Scheme, address: IpAddr, port: u16) -> bool {
        let named = match &self.host {
            OriginHost::Exactly(Host::Address(named)) => *named == address.to_canonical(),
            OriginHost::Exactly(Host::Name(name)) => name == "localhost" && address.to_canonical().is_loopback(),
            OriginHost::Below(_) => false,
        };
        named && self.scheme == scheme && self.port == port
    }
}

impl Target {
    /// From a request's scheme and authority.
    pub fn parse(scheme: &str, authority: &str) -> Option<Self> {
        let scheme = [Scheme::Http, Scheme::Https].into_iter().find(|known| known.as_str().eq_ignore_ascii_case(scheme))?;
        let (host, port) = split_port(authority).ok()?;
        Some(Self { scheme, host: Host::parse(host).ok()?, port: port.unwrap_or(scheme.port()) })
    }
}

impl Host {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(inside) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address: Ipv6Addr = inside.parse().map_err(|_| "what stands in [ ] is no IPv6 address")?;
            return Ok(Self::Address(IpAddr::from(address).to_canonical()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Address(address.into()));
        }
        let name = text.to_ascii_lowercase();
        let label = |label: &str| {
            let well = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            (1..=63).contains(&label.len()) && label.chars().all(well) && !label.starts_with('-') && !label.ends_with('-')
        };
        if name.len() > 253 || !name.split('.').all(label) {
            return Err("its host is no name in ASCII and no address (an international name is written xn--…)");
        }
        // Resolvers take 2130706433, 0x7f.1 and 127.1 for addresses.
        let last = name.rsplit('.').next().unwrap_or_default();
        if last.starts_with(|c: char| c.is_ascii_digit()) {
            return Err("its host ends in a number, but is no address such as 192.0.2.1");
        }
        Ok(Self::Name(name))
    }
}

/// The host, and the port where there is one.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    let end = authority.rfind(']').map_or(0, |at| at + 1);
    let Some(colon) = authority[end..].find(':') else { return Ok((authority, None)) };
    let digits = &authority[end + colon + 1..];
    let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let port = digits.parse().ok().filter(|port| all_digits && *port > 0).ok_or("its port is no number from 1 to 65535")?;
    Ok((&authority[..end + colon], Some(port)))
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(typed: &str) -> Result<Self, OriginError> {
        let wrong = |why| OriginError { typed: typed.chars().take(300).collect(), why };
        let (scheme, authority) = Scheme::split(typed).map_err(wrong)?;
        if authority.contains(['/', '?', '#', '@']) {
            return Err(wrong("it has nothing after the host and its port, and nothing before"));
        }
        let (host, port) = split_port(authority).map_err(wrong)?;
        let host = match host.strip_prefix("*.") {
            None if host.contains('*') => return Err(wrong("a * stands for names below a domain, first of all: *.example.com")),
            None => OriginHost::Exactly(Host::parse(host).map_err(wrong)?),
            Some(domain) => match Host::parse(domain).map_err(wrong)? {
                Host::Name(name) if name.contains('.') => OriginHost::Below(name),
                _ => return Err(wrong("after *. stands a domain of two labels at least: *.example.com")),
            },
        };
        Ok(Self { scheme, host, port: port.unwrap_or(scheme.port()) })
    }
}

impl TryFrom<String> for Origin {
    type Error = OriginError;

    fn try_from(typed: String) -> Result<Self, OriginError> {
        typed.parse()
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.to_string()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.host)?;
        if self.port == self.scheme.port() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            OriginHost::Exactly(host) => write!(f, "{}://{host}", self.scheme.as_str())?,
            OriginHost::Below(domain) => write!(f, "{}://*.{domain}", self.scheme.as_str())?,
        }
        if self.port == self.scheme.port() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(typed: &str) -> Origin {
        typed.parse().unwrap_or_else(|e| panic!("{e}"))
    }

    fn target(url: &str) -> Target {
        let (scheme, authority) = url.split_once("://").expect("a URL");
        Target::parse(scheme, authority).unwrap_or_else(|| panic!("{url}"))
    }

    #[test]
    fn an_origin_is_written_as_it_was_typed_but_for_case_and_default_ports() {
        for (typed, written) in [
            ("https://API.example.com", "https://api.example.com"),
            ("https://api.example.com:443", "https://api.example.com"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://[::ffff:127.0.0.1]", "http://127.0.0.1"),
            ("https://*.example.com", "https://*.example.com"),
        ] {
            assert_eq!(origin(typed).to_string(), written);
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for typed in [
            "api.example.com",
            "ftp://example.com",
            "https://",
            "https://example.com/",
            "https://example.com/v1",
            "https://user@example.com",
            "https://example.com:0",
            "https://example.com:65536",
            "https://example.com:+80",
            "https://*",
            "https://*.com",
            "https://*.10.0.0.1",
            "https://api.*.com",
            "https://a*.example.com",
            "https://münchen.de",
            "https://example..com",
            "https://example.com.",
            "http://2130706433",
            "http://0x7f.1",
            "http://127.1",
            "http://127.0.0.01",
            "http://[::1",
        ] {
            assert!(typed.parse::<Origin>().is_err(), "{typed}");
        }
    }

    #[test]
    fn scheme_host_and_port_must_be_the_same() {
        let granted = origin("https://api.example.com");
        assert!(granted.allows(&target("https://API.example.com:443")));
        for other in ["http://api.example.com", "https://api.example.com:8443", "https://example.com", "https://x.api.example.com", "https://192.0.2.1"] {
            assert!(!granted.allows(&target(other)), "{other}");
        }
    }

    #[test]
    fn a_star_is_for_names_below_the_domain_only() {
        let granted = origin("https://*.example.com");
        assert!(granted.allows(&target("https://a.example.com")) && granted.allows(&target("https://a.b.example.com")));
        for other in ["https://example.com", "https://badexample.com", "https://example.com.evil.org", "http://a.example.com"] {
            assert!(!granted.allows(&target(other)), "{other}");
        }
    }

    #[test]
    fn a_request_to_an_address_in_disguise_has_no_target() {
        for authority in ["", "2130706433", "0x7f.1", "127.1", "user@example.com", "example.com:", "example.com:99999", "[::1", "a b", "*.example.com"] {
            assert_eq!(Target::parse("http", authority), None, "{authority}");
        }
        assert_eq!(target("http://[::ffff:10.0.0.1]").host, Host::Address("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn an_address_is_named_by_itself_and_the_own_machine_by_localhost() {
        let names = |typed: &str, address: &str| origin(typed).names(Scheme::Http, address.parse().unwrap(), 80);
        assert!(names("http://10.0.0.1", "10.0.0.1") && names("http://localhost", "127.0.0.1") && names("http://localhost", "::1"));
        assert!(!names("http://10.0.0.1", "10.0.0.2") && !names("http://example.com", "127.0.0.1") && !names("http://localhost", "10.0.0.1"));
        for (typed, private) in
            [("http://10.0.0.1", true), ("http://[::1]", true), ("https://localhost", true), ("http://1.1.1.1", false), ("http://a.b", false)]
        {
            assert_eq!(origin(typed).is_private(), private, "{typed}");
        }
        assert!(!names("https://10.0.0.1", "10.0.0.1") && !names("http://10.0.0.1:81", "10.0.0.1"));
    }
}
