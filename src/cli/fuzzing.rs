//! Entry points for the fuzz targets; compiled only with `cfg(fuzzing)`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;

use super::flag::Given;
use super::flag::value;
use super::{accounts, drop_log_flags, in_one_line, istio_iptables, parse, proxy_init, resolv_conf, verify};
use crate::interception::Interception;
use crate::mesh::value::ValueError;

/// What a command line and its environment want of the kernel, if they are a profile's; or the complaint.
///
/// # Errors
/// What a user would read.
pub fn command(
    mut arguments: Vec<OsString>,
    environment: BTreeMap<String, String>,
) -> Result<Option<Interception>, String> {
    drop_log_flags(&mut arguments);
    let matches = parse(arguments).map_err(|(error, _)| in_one_line(&error.to_string()))?;
    let of_profile = match matches.subcommand() {
        Some((verify::NAME, matches)) => matches.subcommand(),
        command => command,
    };
    match of_profile {
        Some((istio_iptables::NAME, matches)) => istio_iptables::desired(matches, environment).map(Some),
        Some((proxy_init::NAME, matches)) => proxy_init::desired(matches, environment).map(Some),
        _ => Ok(None),
    }
}

/// The name servers in a text that should be `resolv.conf`.
#[must_use]
pub fn name_servers(text: &str) -> Vec<IpAddr> {
    resolv_conf::name_servers_in(text)
}

/// The number of a name in a text that should be `passwd` or `group`.
#[must_use]
pub fn account(text: &str, name: &str) -> Option<u32> {
    accounts::id_in(text, name)
}

/// A list of values, read as each kind of list that there is. Whatever is read is read again when it was written.
pub fn lists(text: &str) {
    let given = Given::new("--list".to_owned(), text.to_owned());
    again(&given, value::port);
    again(&given, value::listening_port);
    again(&given, value::number);
    again(&given, value::network);
    let _ = (given.list(value::port_range), given.full_list(value::port_range));
    for item in text.split(',') {
        if let Ok(duration) = value::duration(item) {
            assert_eq!(value::duration(&humantime::format_duration(duration).to_string()), Ok(duration));
        }
    }
}

fn again<T: PartialEq + std::fmt::Debug + ToString>(given: &Given, parse: fn(&str) -> Result<T, ValueError>) {
    let _ = given.one(parse).map_err(|error| error.to_string());
    match given.list(parse) {
        Ok(items) => {
            let text = items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            assert_eq!(Given::new("--list".to_owned(), text).list(parse), Ok(items));
        }
        Err(error) => assert!(error.to_string().starts_with("--list: ")),
    }
}
