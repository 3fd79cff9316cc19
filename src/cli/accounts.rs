//! Users, groups and services by name, out of /etc/passwd, /etc/group and /etc/services (passwd(5), group(5),
//! services(5)).
//!
//! The files are read here, and not by the C library: in a static binary its name service would load shared objects
//! that an empty image does not have. Go's os/user, through which Istio looks them up, does the same.

use std::io;

use nftwire::io_text;

use crate::text_file;

/// Bytes of either file: more than a hundred thousand entries.
const LIMIT: u64 = 16 << 20;

/// The uid of a user; `None` if there is no such user, or no such file.
pub(super) fn uid(name: &str) -> io::Result<Option<u32>> {
    look_up("/etc/passwd", name)
}

/// The gid of a group; `None` if there is no such group, or no such file.
pub(super) fn gid(name: &str) -> io::Result<Option<u32>> {
    look_up("/etc/group", name)
}

/// The TCP port of a service (services(5)); `None` if there is no such service, or the file cannot be read.
pub(super) fn service(name: &str) -> Option<u16> {
    port_in(&text_file::read("/etc/services", LIMIT).ok()?, name)
}

/// A line has the name, port and protocol, and other names.
fn port_in(text: &str, name: &str) -> Option<u16> {
    text.lines().find_map(|line| {
        let line = line.split('#').next()?;
        let mut words = line.split_whitespace();
        let (first, port) = (words.next()?, words.next()?);
        let port = port.strip_suffix("/tcp")?;
        (first == name || words.any(|word| word == name)).then(|| port.parse().ok())?
    })
}

fn look_up(path: &str, name: &str) -> io::Result<Option<u32>> {
    match text_file::read(path, LIMIT) {
        Ok(text) => Ok(id_in(&text, name)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io::Error::new(error.kind(), format!("{path}: {}", io_text(&error)))),
    }
}

/// Both files have the name in the first field and the number in the third; a line that has not is skipped.
pub(super) fn id_in(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        fields.nth(1)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_number_beside_the_name() {
        let text = "# comment\n\nroot:x:0:0:root:/root:/bin/sh\nistio-proxy:x:1337:1337::/:/bin/false\n";
        assert_eq!(id_in(text, "istio-proxy"), Some(1337));
        assert_eq!(id_in(text, "root"), Some(0));
        assert_eq!(id_in(text, "nobody"), None);
        assert_eq!(id_in("ftp:x:50:", "ftp"), Some(50));
    }

    #[test]
    fn a_services_port_by_any_of_its_names() {
        let text = "# services\ndomain 53/udp\nhttp\t80/tcp\twww # WorldWideWeb HTTP\nbad x/tcp\n";
        assert_eq!((port_in(text, "http"), port_in(text, "www")), (Some(80), Some(80)));
        for none in ["domain", "bad", "WorldWideWeb", ""] {
            assert_eq!(port_in(text, none), None, "{none}");
        }
    }

    #[test]
    fn skips_lines_that_are_not_entries() {
        assert_eq!(id_in("a\na:\na:x:\na:x:-1:\na:x:4294967296:\na:x:7", "a"), Some(7));
        assert_eq!(id_in("", ""), None);
    }
}
