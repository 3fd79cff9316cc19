//! Errors of the system in nft's words.

use std::io;

use nftwire::errno_text;

/// An errno in the words of glibc's strerror(3): nft's own where distributions build it. Whoever calls nft may look for them, and
/// other C libraries have others.
pub(super) fn strerror(errno: i32) -> String {
    let own = match errno {
        5 => "Input/output error",
        9 => "Bad file descriptor",
        11 => "Resource temporarily unavailable",
        12 => "Cannot allocate memory",
        18 => "Invalid cross-device link",
        23 => "Too many open files in system",
        25 => "Inappropriate ioctl for device",
        33 => "Numerical argument out of domain",
        34 => "Numerical result out of range",
        35 => "Resource deadlock avoided",
        37 => "No locks available",
        40 => "Too many levels of symbolic links",
        74 => "Bad message",
        84 => "Invalid or incomplete multibyte or wide character",
        95 => "Operation not supported",
        102 => "Network dropped connection on reset",
        122 => "Disk quota exceeded",
        // All others are the kernel's (include/uapi/asm-generic/errno.h), behind the error's name.
        _ => {
            let text = errno_text(errno);
            let words = text.split_once(": ").map(|(_, words)| words.to_owned());
            return words.unwrap_or_else(|| format!("Unknown error {errno}"));
        }
    };
    own.to_owned()
}

/// What a system call said; in its own words where there is no errno.
pub(super) fn of_io(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), strerror)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_env = "gnu")]
    #[test]
    fn words_are_glibcs() {
        // The last one is EHWPOISON.
        for errno in 1..=133 {
            let glibcs = io::Error::from_raw_os_error(errno).to_string();
            assert_eq!(Some(strerror(errno).as_str()), glibcs.strip_suffix(&format!(" (os error {errno})")));
        }
    }

    #[test]
    fn an_error_without_an_errno_speaks_for_itself() {
        assert_eq!(of_io(&io::Error::other("it is odd")), "it is odd");
        assert_eq!(of_io(&io::Error::from_raw_os_error(16)), "Device or resource busy");
    }
}
