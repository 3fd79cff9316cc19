//! Which kernel this is.

use std::fmt;

use nix::sys::utsname::uname;

/// A kernel's version, as far as features go by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 6 of 6.18
    pub major: u16,
    /// 18 of 6.18
    pub minor: u16,
}

impl Version {
    /// 6, 18 for 6.18.
    #[must_use]
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// The first two numbers of a release such as `6.12.43+deb13-amd64`.
    #[must_use]
    pub fn of_release(release: &str) -> Option<Self> {
        let (major, rest) = release.split_once('.')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        Some(Self { major: major.parse().ok()?, minor: rest[..digits].parse().ok()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The running kernel's release, as `uname -r` prints it; empty where the system call is forbidden.
#[must_use]
pub fn release() -> String {
    uname().map_or_else(|_| String::new(), |names| names.release().to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_begin_with_a_version() {
        for (release, version) in [
            ("6.12.43+deb13-amd64", Some(Version::new(6, 12))),
            ("5.13-rc1", Some(Version::new(5, 13))),
            ("7.2", Some(Version::new(7, 2))),
            ("", None),
            ("six.one", None),
            ("6.", None),
        ] {
            assert_eq!(Version::of_release(release), version, "{release}");
        }
        assert!(Version::new(5, 9) < Version::new(5, 13) && Version::new(5, 13) < Version::new(6, 1));
        assert!(Version::of_release(&release()).is_some());
    }
}
