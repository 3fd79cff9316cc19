//! The result of the plugins before (`prevResult`): read in the version that it was written in, printed in the
//! configuration's.
//!
//! Three forms exist (CNI's conventions, "Changes in CNI"): up to 0.2.0 `ip4` and `ip6`, each with its routes; up to 0.4.0
//! `ips` whose members have a `version`; from 1.0.0 on without that.

use std::net::IpAddr;

use meshwire::mesh::value::network;
use meshwire::nft_ruleset::IpPrefix;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::object::{Object, compact, raw};
use super::version::Version;

/// Why a result cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// It is not a result
    #[error("could not parse prevResult: {0}")]
    Decode(serde_json::Error),
    /// It is of an unknown version
    #[error("could not parse prevResult: cniVersion {0:?} is not supported")]
    Version(String),
    /// A text in it is not an address
    #[error("could not parse prevResult: {text:?} is not {what}")]
    Address {
        /// The text
        text: String,
        /// What it should be
        what: &'static str,
    },
    /// Versions before 0.3.0 have at least one address
    #[error(
        "could not convert prevResult to the configuration's version: it has no address, and that version needs one"
    )]
    NoAddress,
}

/// The result of the plugins before.
#[derive(Clone, Debug)]
pub struct Previous {
    object: Object,
    version: Version,
}

/// One address of the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Which of the result's interfaces has it
    pub interface: Option<u64>,
    /// The address and its network's prefix length
    pub address: IpPrefix,
    /// Its gateway
    pub gateway: Option<IpAddr>,
}

/// The three forms.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `ip4` and `ip6`
    OneOfEach,
    /// `ips` with `version`
    Versioned,
    /// `ips`
    Plain,
}

impl Form {
    fn of(version: Version) -> Self {
        match version {
            Version::V0_1_0 | Version::V0_2_0 => Self::OneOfEach,
            Version::V0_3_0 | Version::V0_3_1 | Version::V0_4_0 => Self::Versioned,
            Version::V1_0_0 | Version::V1_1_0 => Self::Plain,
        }
    }
}

/// A result without anything in it.
#[must_use]
pub fn empty(version: Version) -> String {
    let mut object = Object::default();
    object.push("cniVersion", raw(&version.as_str()));
    if Form::of(version) != Form::Plain {
        object.push("dns", raw(&Object::default()));
    }
    compact(&object)
}

impl Previous {
    /// The configuration's `prevResult`, if it has one.
    ///
    /// # Errors
    /// See [`ResultError`].
    pub fn of_config(config: &[u8], config_version: Version) -> Result<Option<Self>, ResultError> {
        #[derive(Deserialize)]
        struct Config<'a> {
            #[serde(borrow, rename = "prevResult")]
            previous: Option<&'a RawValue>,
        }
        let config: Config<'_> = serde_json::from_slice(config).map_err(ResultError::Decode)?;
        let Some(text) = config.previous.filter(|previous| previous.get() != "null") else {
            return Ok(None);
        };
        let object: Object = serde_json::from_str(text.get()).map_err(ResultError::Decode)?;
        let version = match member::<String>(&object, "cniVersion")? {
            Some(text) if !text.is_empty() => Version::parse(&text).ok_or(ResultError::Version(text))?,
            _ => config_version,
        };
        let previous = Self { object, version };
        previous.addresses()?;
        Ok(Some(previous))
    }

    /// The pod's addresses.
    ///
    /// # Errors
    /// Something in it is not an address.
    pub fn addresses(&self) -> Result<Vec<Address>, ResultError> {
        let ips: Vec<Ip> = member(&self.in_form(Form::Plain)?, "ips")?.unwrap_or_default();
        ips.iter().map(Ip::read).collect()
    }

    /// Its text in a version: every member is where it was, but for those that the versions have differently.
    ///
    /// # Errors
    /// It has no address, and the version needs one.
    pub fn in_version(&self, version: Version) -> Result<String, ResultError> {
        let mut object = self.in_form(Form::of(version))?;
        object.set("cniVersion", raw(&version.as_str()));
        Ok(compact(&object))
    }

    fn in_form(&self, form: Form) -> Result<Object, ResultError> {
        let own = Form::of(self.version);
        if own == form {
            return Ok(self.object.clone());
        }
        let mut object = self.object.clone();
        if own == Form::OneOfEach {
            to_list(&mut object)?;
        }
        match form {
            Form::OneOfEach => to_one_of_each(&mut object)?,
            Form::Versioned => each_ip(&mut object, |ip| {
                let address: String = member(ip, "address")?.unwrap_or_default();
                ip.set("version", raw(if is_ipv4(&address) { &"4" } else { &"6" }));
                Ok(())
            })?,
            Form::Plain => each_ip(&mut object, |ip| {
                ip.remove("version");
                Ok(())
            })?,
        }
        Ok(object)
    }
}

/// A member of a list of addresses, of any form.
#[derive(Deserialize)]
struct Ip {
    interface: Option<u64>,
    address: String,
    gateway: Option<String>,
}

impl Ip {
    fn read(&self) -> Result<Address, ResultError> {
        let fault = |text: &str, what| ResultError::Address { text: text.to_owned(), what };
        let address =
            network(&self.address).map_err(|_| fault(&self.address, "an address with its prefix length"))?;
        let gateway = self.gateway.as_deref().filter(|text| !text.is_empty());
        let gateway = gateway.map(|text| text.parse().map_err(|_| fault(text, "an address"))).transpose()?;
        Ok(Address { interface: self.interface, address, gateway })
    }
}

/// An address of the oldest form.
#[derive(Default, Deserialize, Serialize)]
struct OldIp {
    ip: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Object>,
}

/// From `ip4` and `ip6` to `ips` and `routes`.
fn to_list(object: &mut Object) -> Result<(), ResultError> {
    let (mut ips, mut routes, mut place) = (Vec::new(), Vec::new(), usize::MAX);
    for (name, version) in [("ip4", "4"), ("ip6", "6")] {
        let old: Option<OldIp> = member(object, name)?;
        place = place.min(object.remove(name).unwrap_or(usize::MAX));
        let Some(old) = old else { continue };
        let mut ip = Object::default();
        ip.push("version", raw(&version));
        ip.push("address", raw(&old.ip));
        if let Some(gateway) = &old.gateway {
            ip.push("gateway", raw(gateway));
        }
        ips.push(ip);
        routes.extend(old.routes);
    }
    if !ips.is_empty() {
        object.insert(place, "ips", raw(&ips));
        object.insert(place.saturating_add(1), "routes", raw(&routes));
    }
    Ok(())
}

/// From `ips` and `routes` to `ip4` and `ip6`: the first address of each family.
fn to_one_of_each(object: &mut Object) -> Result<(), ResultError> {
    let ips: Vec<Ip> = member(object, "ips")?.unwrap_or_default();
    let routes: Vec<Object> = member(object, "routes")?.unwrap_or_default();
    object.remove("interfaces");
    object.remove("routes");
    let place = object.remove("ips").unwrap_or(usize::MAX);
    let mut found = Vec::new();
    for (name, v4) in [("ip4", true), ("ip6", false)] {
        let Some(ip) = ips.iter().find(|ip| is_ipv4(&ip.address) == v4) else { continue };
        let mut old = OldIp { ip: ip.address.clone(), gateway: ip.gateway.clone(), routes: Vec::new() };
        for route in &routes {
            if is_ipv4(&member::<String>(route, "dst")?.unwrap_or_default()) == v4 {
                old.routes.push(old_route(route));
            }
        }
        found.push((name, raw(&old)));
    }
    if found.is_empty() {
        return Err(ResultError::NoAddress);
    }
    for (name, ip) in found.into_iter().rev() {
        object.insert(place, name, ip);
    }
    Ok(())
}

/// What a route of the oldest form has.
fn old_route(route: &Object) -> Object {
    let mut old = Object::default();
    for name in ["dst", "gw"] {
        if let Some(value) = route.get(name) {
            old.push(name, value.to_owned());
        }
    }
    old
}

fn each_ip(
    object: &mut Object,
    change: impl Fn(&mut Object) -> Result<(), ResultError>,
) -> Result<(), ResultError> {
    let Some(mut ips) = member::<Vec<Object>>(object, "ips")? else { return Ok(()) };
    ips.iter_mut().try_for_each(change)?;
    object.set("ips", raw(&ips));
    Ok(())
}

/// A member, decoded.
fn member<T: for<'de> Deserialize<'de>>(object: &Object, name: &str) -> Result<Option<T>, ResultError> {
    object.get(name).map(|value| serde_json::from_str(value.get())).transpose().map_err(ResultError::Decode)
}

fn is_ipv4(network: &str) -> bool {
    !network.contains(':')
}
