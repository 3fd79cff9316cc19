//! The values that flags and variables may have, from texts.

use std::net::IpAddr;
use std::time::Duration;

pub(in crate::cli) use crate::mesh::value::{listening_port, network, number, port, port_range};

/// An address, in its usual form.
pub(in crate::cli) fn address(text: &str) -> Result<IpAddr, String> {
    let address = text.parse().map(|address: IpAddr| address.to_canonical());
    address.map_err(|_| format!("{text:?} is not an IP address"))
}

/// A duration as Go writes it: `5s`, `1m30s`, `500ms`.
pub(in crate::cli) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| format!("{text:?} is not a duration (such as 5s, 1m30s or 500ms)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, milliseconds) in
            [("5s", 5000), ("1m30s", 90_000), ("500ms", 500), ("1.5s", 1500), ("0", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for wrong in ["", "5", "-5s", "five", "5 parsecs"] {
            let fault = format!("{wrong:?} is not a duration (such as 5s, 1m30s or 500ms)");
            assert_eq!(duration(wrong), Err(fault));
        }
    }
}
